//! A log, a history and a backplane in memory, each with its ways to fail, and workers upon them.

mod backplane;
mod history;
mod log;
mod truth;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use meridian_core::lag::Lag;
use meridian_core::seams::Backplane;
use meridian_core::vocabulary::{
    Body, Channel, ChannelKey, Epoch, EventId, LogName, Offset, Partition, Position, Record, Scope,
    Stream, Tenant,
};
use meridian_region_router::partition::{Outcome, Seams, Worker};
use meridian_region_router::{Options, PartitionState, PartitionStatus};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use backplane::TestBackplane;
pub(crate) use history::TestHistory;
pub(crate) use log::TestLog;

/// W and D of the test's logs.
pub(crate) const WINDOW_RECORDS: u32 = 8;
pub(crate) const WINDOW_MS: u64 = 1_000;

/// Tells tests that some store changed.
#[derive(Clone)]
pub(crate) struct Changes(watch::Sender<()>);

pub(crate) struct World {
    pub(crate) log: Arc<TestLog>,
    pub(crate) history: Arc<TestHistory>,
    pub(crate) backplane: Arc<TestBackplane>,
    pub(crate) options: Options,
    changes: Changes,
}

/// A worker under way.
pub(crate) struct Running {
    task: JoinHandle<Outcome>,
    stop: CancellationToken,
    pub(crate) status: watch::Receiver<PartitionStatus>,
}

impl Changes {
    pub(crate) fn tell(&self) {
        self.0.send_replace(());
    }
}

pub(crate) fn stream() -> Stream {
    Stream { log: LogName::parse("global").unwrap(), epoch: Epoch(1), partition: Partition(0) }
}

pub(crate) fn key(channel: &str) -> ChannelKey {
    ChannelKey {
        tenant: Tenant::parse("demo").unwrap(),
        channel: Channel::parse(&format!("n:{channel}")).unwrap(),
    }
}

pub(crate) fn at(passed: i64) -> Position {
    Position { epoch: Epoch(1), passed }
}

pub(crate) fn record(channel: &str, id: &str) -> Record {
    let body = Body { data: Bytes::from(id.to_owned()), ..Body::default() };
    Record {
        key: key(channel),
        scope: Scope::of_token("meridian", "ann"),
        id: EventId::parse(id).unwrap(),
        epoch: Epoch(1),
        body: body.encode(),
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let changes = Changes(watch::Sender::new(()));
        Self {
            log: Arc::new(TestLog::new(changes.clone())),
            history: Arc::new(TestHistory::new(changes.clone())),
            backplane: Arc::new(TestBackplane::new(changes.clone())),
            options: Options::default(),
            changes,
        }
    }

    pub(crate) fn seams(&self) -> Seams {
        Seams {
            log: self.log.clone(),
            history: self.history.clone(),
            backplane: self.backplane.clone(),
        }
    }

    /// Appends a record; answers its offset.
    pub(crate) fn publish(&self, channel: &str, id: &str) -> i64 {
        self.log.write(record(channel, id).encode())
    }

    /// Appends `count` records with ids of their own; answers the last offset.
    pub(crate) fn publish_many(&self, channel: &str, count: usize) -> i64 {
        for n in 0..count {
            self.publish(channel, &format!("{channel}-{}-{n}", self.log.len()));
        }
        self.log.len() as i64 - 1
    }

    /// Starts a worker.
    pub(crate) fn start(&self) -> Running {
        let (report, status) = watch::channel(PartitionStatus {
            state: PartitionState::Claiming,
            applied: at(-1),
            checkpoint: None,
            applied_time_ms: None,
            unwritten_bytes: 0,
            lag: Lag::NONE,
        });
        let options = Arc::new(self.options.clone());
        let worker = Worker::new(self.seams(), stream(), options, report);
        let stop = CancellationToken::new();
        Running { task: tokio::spawn(worker.run(stop.clone())), stop, status }
    }

    /// Waits until the stores are as asked.
    pub(crate) async fn until(&self, what: &str, mut reached: impl FnMut(&Self) -> bool) {
        let mut changed = self.changes.0.subscribe();
        let waiting = async {
            while !reached(self) {
                changed.changed().await.unwrap();
            }
        };
        in_time(what, waiting).await;
    }

    /// Waits until everything in the log is in the history.
    pub(crate) async fn until_stored(&self) {
        let last = self.log.len() as i64 - 1;
        self.until("all stored", |world| world.history.position() == at(last)).await;
    }

    /// Waits until the backplane's marker is there.
    pub(crate) async fn until_marked(&self, passed: i64) {
        let marked = |world: &Self| world.backplane.state().marker == Some(at(passed));
        self.until(&format!("marker {passed}"), marked).await;
    }

    /// The history holds just what the rules make of the log; hot history vouches for nothing that
    /// it lacks.
    pub(crate) fn check(&self) {
        let truth = truth::of(&self.log.records());
        self.history.check(&truth);
        self.backplane.check(&truth);
    }

    /// What must hold at any moment: what is stored is the truth's beginning, and hot history is what
    /// its marker says.
    pub(crate) fn check_midway(&self) {
        let mut truth = truth::of(&self.log.records());
        self.backplane.check(&truth);
        truth.retain(|position, _| *position <= self.history.position());
        self.history.check(&truth);
    }

    /// Whether the backplane knows a head, and vouches for it.
    pub(crate) async fn hot_head(&self, channel: &str) -> (Option<Position>, Option<Position>) {
        let hot = self.backplane.heads(&stream(), &[key(channel)]).await.unwrap()[0];
        (hot.head, hot.marker)
    }
}

impl Running {
    /// `kill -9`; it may have been told before that another owns the partition.
    pub(crate) async fn kill(self) {
        self.task.abort();
        match self.task.await {
            Ok(outcome) => assert_eq!(outcome, Outcome::Fenced),
            Err(error) => assert!(error.is_cancelled(), "{error}"),
        }
    }

    /// Asks it to stop.
    pub(crate) async fn stop(self) -> Outcome {
        self.stop.cancel();
        self.ended().await
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(self) -> Outcome {
        in_time("end", self.task).await.unwrap()
    }

    /// Waits for a state.
    pub(crate) async fn until(&mut self, what: &str, reached: impl Fn(&PartitionStatus) -> bool) {
        in_time(what, self.status.wait_for(|status| reached(status))).await.unwrap();
    }

    pub(crate) async fn until_state(&mut self, state: PartitionState) {
        self.until(&format!("{state:?}"), |status| status.state == state).await;
    }

    pub(crate) async fn until_applied(&mut self, passed: i64) {
        self.until(&format!("applied {passed}"), |status| status.applied == at(passed)).await;
    }
}

async fn in_time<F: Future>(what: &str, waiting: F) -> F::Output {
    let waited = tokio::time::timeout(Duration::from_secs(120), waiting).await;
    waited.unwrap_or_else(|_| panic!("in vain: {what}"))
}

/// An offset as a log has it.
pub(crate) fn offset(passed: i64) -> Offset {
    Offset(passed as u64)
}
