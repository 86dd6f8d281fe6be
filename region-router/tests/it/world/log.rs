//! A log in memory that can be unavailable, be truncated and lose its tail.

use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use meridian_core::seams::{AppendError, Appended, Incarnation, Log, LogError, LogRecord};
use meridian_core::vocabulary::{Epoch, LogName, Offset, Partition, Record};
use tokio::sync::watch;

use super::{Changes, WINDOW_MS, WINDOW_RECORDS};

pub(crate) struct TestLog {
    incarnation: Incarnation,
    state: Mutex<State>,
    end: watch::Sender<u64>,
    changes: Changes,
}

struct State {
    records: Vec<LogRecord>,
    earliest: u64,
    now_ms: u64,
    down: bool,
}

impl TestLog {
    pub(crate) fn new(changes: Changes) -> Self {
        let incarnation = Incarnation {
            log: LogName::parse("global").unwrap(),
            epoch: Epoch(1),
            identity: "test".to_owned(),
            partitions: 1,
            window_records: WINDOW_RECORDS,
            window_ms: WINDOW_MS,
        };
        let state = State { records: Vec::new(), earliest: 0, now_ms: 1_000_000, down: false };
        Self { incarnation, state: Mutex::new(state), end: watch::Sender::new(0), changes }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn write(&self, stored: Bytes) -> i64 {
        let mut state = self.state();
        let offset = state.records.len() as u64;
        let time_ms = state.now_ms;
        state.records.push(LogRecord { offset: Offset(offset), time_ms, stored });
        drop(state);
        self.end.send_replace(offset + 1);
        offset as i64
    }

    pub(crate) fn advance_ms(&self, ms: u64) {
        self.state().now_ms += ms;
    }

    /// How many records were ever written.
    pub(crate) fn len(&self) -> usize {
        self.state().records.len()
    }

    pub(crate) fn records(&self) -> Vec<LogRecord> {
        self.state().records.clone()
    }

    pub(crate) fn truncate_before(&self, earliest: i64) {
        self.state().earliest = earliest as u64;
    }

    /// Forgets everything from `offset` on, as no log should.
    pub(crate) fn lose_from(&self, offset: i64) {
        self.state().records.truncate(offset as usize);
        self.end.send_replace(offset as u64);
    }

    pub(crate) fn down(&self, down: bool) {
        self.state().down = down;
        self.end.send_modify(|_| {});
        self.changes.tell();
    }
}

#[async_trait]
impl Log for TestLog {
    fn incarnation(&self) -> &Incarnation {
        &self.incarnation
    }

    async fn append(&self, records: Vec<Record>) -> Vec<Result<Appended, AppendError>> {
        panic!("routers never write: {records:?}")
    }

    async fn end(&self, _: Partition) -> Result<Offset, LogError> {
        let state = self.state();
        if state.down {
            return Err(LogError::Unavailable);
        }
        Ok(Offset(state.records.len() as u64))
    }

    fn known_end(&self, _: Partition) -> Offset {
        Offset(*self.end.borrow())
    }

    async fn read(
        &self,
        _: Partition,
        from: Offset,
        max_records: usize,
        _: usize,
    ) -> Result<Vec<LogRecord>, LogError> {
        let state = self.state();
        if state.down {
            return Err(LogError::Unavailable);
        }
        if from.0 < state.earliest {
            return Err(LogError::Truncated { earliest: Offset(state.earliest) });
        }
        if from.0 > state.records.len() as u64 {
            return Err(LogError::BeyondEnd { end: Offset(state.records.len() as u64) });
        }
        Ok(state.records[from.0 as usize..].iter().take(max_records).cloned().collect())
    }

    async fn wait_for(&self, _: Partition, offset: Offset) -> Result<(), LogError> {
        let mut end = self.end.subscribe();
        let waited = end.wait_for(|end| *end > offset.0 || self.state().down).await;
        waited.map(|_| ()).map_err(|_| LogError::Unavailable)
    }
}
