//! A log in memory that times out as a real one does: of a call, what is answered, what is stored and
//! what is stored later differ, but the stored is always a prefix. And the events that it makes.

use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use meridian_core::embedded::faulty::Chance;
use meridian_core::seams::{AppendError, Appended, Incarnation, Log, LogError, LogRecord};
use meridian_core::vocabulary::{
    Cursor, Epoch, Event, LogName, Offset, Partition, Position, Prev, Record, Stream,
};
use meridian_region_router::apply::{
    Decision, Feeds, Heads, Incoming, SourceMarks, Start, State as ApplyState, Window, WindowRules,
};
use tokio::sync::watch;

const PARTITIONS: u32 = 3;
/// So small that it tells hardly any repeat: the marks must.
const RULES: WindowRules = WindowRules { records: 2, ms: 1 };

pub(super) struct TestLog {
    incarnation: Incarnation,
    state: Mutex<State>,
    appends: watch::Sender<u64>,
}

struct State {
    partitions: Vec<Vec<LogRecord>>,
    /// Handed over and not acknowledged: stored before anything that comes later, or never.
    late: Vec<Record>,
    chance: Chance,
    fails: u32,
}

impl TestLog {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        let incarnation = Incarnation {
            log: LogName::parse("global").unwrap(),
            epoch: Epoch(1),
            identity: "test".to_owned(),
            partitions: PARTITIONS,
            window_records: RULES.records,
            window_ms: RULES.ms,
        };
        let partitions = vec![Vec::new(); PARTITIONS as usize];
        let state = State { partitions, late: Vec::new(), chance: Chance::new(seed), fails: 0 };
        Arc::new(Self { incarnation, state: Mutex::new(state), appends: watch::Sender::new(0) })
    }

    pub(super) fn fails(&self, per_mille: u32) {
        self.state().fails = per_mille;
    }

    /// Waits for so many calls from now on.
    pub(super) async fn appends(&self, count: u64) {
        let mut appends = self.appends.subscribe();
        let until = *appends.borrow() + count;
        appends.wait_for(|appends| *appends >= until).await.unwrap();
    }

    /// The events of each partition, as every region's router decides.
    pub(super) fn events(&self) -> Vec<Vec<Arc<Event>>> {
        let state = self.state();
        (0..).zip(&state.partitions).map(|(number, records)| self.decide(number, records)).collect()
    }

    fn decide(&self, number: u32, records: &[LogRecord]) -> Vec<Arc<Event>> {
        let log = self.incarnation.log.clone();
        let stream = Stream { log, epoch: self.incarnation.epoch, partition: Partition(number) };
        let start = Position::start_of(self.incarnation.epoch);
        let mut state = ApplyState::new(Start {
            stream,
            position: start,
            last_kept: start,
            window: Window::new(RULES),
            marks: SourceMarks::default(),
            heads: Heads::new(1 << 10),
            feeds: Feeds::default(),
        });
        let incoming: Vec<Incoming> = records.iter().cloned().map(Incoming::decode).collect();
        for key in state.missing_heads(&incoming, start) {
            state.learn(key, Prev::None).unwrap();
        }
        let kept = incoming.iter().filter_map(|incoming| match state.step(incoming) {
            Decision::Kept(applied) => Some(applied.event),
            _ => None,
        });
        kept.collect()
    }

    fn store(&self, state: &mut State, record: &Record) -> Appended {
        let partition = self.partition(&record.key);
        let records = &mut state.partitions[partition.0 as usize];
        let offset = Offset(records.len() as u64);
        records.push(LogRecord { offset, time_ms: 10 * offset.0, stored: record.encode() });
        let position = Position::at(self.incarnation.epoch, offset);
        Appended { cursor: Cursor { log: self.incarnation.log.clone(), partition, position } }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

#[async_trait]
impl Log for TestLog {
    fn incarnation(&self) -> &Incarnation {
        &self.incarnation
    }

    async fn append(&self, records: Vec<Record>) -> Vec<Result<Appended, AppendError>> {
        // A crash may fall before, between storing and answering, or behind it.
        tokio::task::yield_now().await;
        let answers = {
            let mut state = self.state();
            for late in std::mem::take(&mut state.late) {
                self.store(&mut state, &late);
            }
            let fails = state.fails;
            let failed = state.chance.happens(fails);
            let count = records.len() as u64;
            let stored = if failed { state.chance.below(count + 1) } else { count };
            let answered = if failed { state.chance.below(stored + 1) } else { count };
            let late = state.chance.happens(500);
            let answer = |(n, record): (u64, Record)| {
                let done = (n < stored).then(|| self.store(&mut state, &record));
                if n >= stored && late {
                    state.late.push(record);
                }
                done.filter(|_| n < answered).ok_or(AppendError::OutcomeUnknown)
            };
            (0..).zip(records).map(answer).collect()
        };
        self.appends.send_modify(|appends| *appends += 1);
        tokio::task::yield_now().await;
        answers
    }

    async fn end(&self, partition: Partition) -> Result<Offset, LogError> {
        Ok(self.known_end(partition))
    }

    fn known_end(&self, partition: Partition) -> Offset {
        Offset(self.state().partitions[partition.0 as usize].len() as u64)
    }

    async fn read(
        &self,
        _: Partition,
        _: Offset,
        _: usize,
        _: usize,
    ) -> Result<Vec<LogRecord>, LogError> {
        Err(LogError::Unavailable)
    }

    async fn wait_for(&self, _: Partition, _: Offset) -> Result<(), LogError> {
        Err(LogError::Unavailable)
    }
}
