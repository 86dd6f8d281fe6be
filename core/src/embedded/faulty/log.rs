//! A log that loses acknowledgements and stores twice.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::Chance;
use crate::seams::{AppendError, Appended, Incarnation, Log, LogError, LogRecord};
use crate::vocabulary::{Offset, Partition, Record};

/// How often an append call fails, in thousandths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogFaults {
    /// Stored, but answered `OutcomeUnknown`.
    pub lost_acknowledgement: u32,
    /// Not stored, and answered `OutcomeUnknown`.
    pub lost_request: u32,
    /// Stored twice; answered with the second place.
    pub doubled: u32,
    /// Not stored, and answered `Overloaded`.
    pub overloaded: u32,
}

/// A log between a caller and `L` that fails as `LogFaults` says.
pub struct FaultyLog<L> {
    inner: L,
    state: Mutex<State>,
}

struct State {
    chance: Chance,
    faults: LogFaults,
}

/// What befalls one call.
#[derive(Debug, Default)]
struct Fate {
    lost_acknowledgement: bool,
    lost_request: bool,
    doubled: bool,
    overloaded: bool,
}

impl<L> FaultyLog<L> {
    pub fn new(inner: L, seed: u64, faults: LogFaults) -> Self {
        Self { inner, state: Mutex::new(State { chance: Chance::new(seed), faults }) }
    }

    /// Other faults from now on.
    pub fn set_faults(&self, faults: LogFaults) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).faults = faults;
    }

    /// The log behind the faults.
    pub fn inner(&self) -> &L {
        &self.inner
    }

    /// Takes the faults away.
    pub fn into_inner(self) -> L {
        self.inner
    }

    fn fate(&self) -> Fate {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let faults = state.faults;
        Fate {
            lost_acknowledgement: state.chance.happens(faults.lost_acknowledgement),
            lost_request: state.chance.happens(faults.lost_request),
            doubled: state.chance.happens(faults.doubled),
            overloaded: state.chance.happens(faults.overloaded),
        }
    }
}

#[async_trait]
impl<L: Log> Log for FaultyLog<L> {
    fn incarnation(&self) -> &Incarnation {
        self.inner.incarnation()
    }

    async fn append(&self, records: Vec<Record>) -> Vec<Result<Appended, AppendError>> {
        let (fate, count) = (self.fate(), records.len());
        if fate.overloaded {
            return vec![Err(AppendError::Overloaded { retry_after_ms: 1 }); count];
        }
        if fate.lost_request {
            return vec![Err(AppendError::OutcomeUnknown); count];
        }
        if fate.doubled {
            self.inner.append(records.clone()).await;
        }
        let mut answers = self.inner.append(records).await;
        if fate.lost_acknowledgement {
            for answer in answers.iter_mut().filter(|answer| answer.is_ok()) {
                *answer = Err(AppendError::OutcomeUnknown);
            }
        }
        answers
    }

    async fn end(&self, partition: Partition) -> Result<Offset, LogError> {
        self.inner.end(partition).await
    }

    fn known_end(&self, partition: Partition) -> Offset {
        self.inner.known_end(partition)
    }

    async fn read(
        &self,
        partition: Partition,
        from: Offset,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<LogRecord>, LogError> {
        self.inner.read(partition, from, max_records, max_bytes).await
    }

    async fn wait_for(&self, partition: Partition, offset: Offset) -> Result<(), LogError> {
        self.inner.wait_for(partition, offset).await
    }
}
