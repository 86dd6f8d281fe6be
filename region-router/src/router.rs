//! The router: one worker for each partition that it owns. Owns their tasks, ends those of partitions
//! that moved elsewhere and starts failed ones again; never looks into a record.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use meridian_core::seams::{Backplane, History, Log};
use meridian_core::vocabulary::{Partition, Stream};
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::metering::LagMetering;
use crate::partition::{self, Backoff, Seams, Worker};
use crate::{Halt, Options, PartitionState, Pause, RouterStatus};

/// How often it is looked how far each partition is behind.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Routes partitions of one log into one region's backplane and history.
pub struct Router {
    seams: Seams,
    options: Arc<Options>,
    status: RouterStatus,
}

/// Why a router ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Asked to.
    Stopped,
    /// Asked to, after the log had been halted.
    Halted { partition: Partition, reason: Halt },
}

/// The running workers.
struct Workers<'a> {
    router: &'a Router,
    tasks: JoinSet<partition::Outcome>,
    partitions: HashMap<Id, Partition>,
    /// What ends the worker of each partition that has one.
    running: HashMap<Partition, CancellationToken>,
    owned: BTreeSet<Partition>,
    backoffs: HashMap<Partition, Backoff>,
    /// Ends all workers; not the router.
    stop: CancellationToken,
}

impl Router {
    pub fn new(
        log: Arc<dyn Log>,
        history: Arc<dyn History>,
        backplane: Arc<dyn Backplane>,
        options: Options,
    ) -> Self {
        let status = RouterStatus::new(Arc::clone(&log));
        Self { seams: Seams { log, history, backplane }, options: Arc::new(options), status }
    }

    /// Where each partition stands; good for the router's whole life.
    pub fn status(&self) -> RouterStatus {
        self.status.clone()
    }

    /// Routes every partition, until it is asked to stop.
    pub async fn run(self, shutdown: CancellationToken) -> Outcome {
        let partitions = self.seams.log.incarnation().partitions;
        let (_all, owned) = watch::channel((0..partitions).map(Partition).collect());
        self.run_owned(owned, shutdown).await
    }

    /// Routes the partitions that `owned` names at the time, until it is asked to stop. A reason to
    /// halt stops every worker, and the router stays, saying so. Where two routers believe to own a
    /// partition, the one that claimed it last works, and the other one waits a while.
    pub async fn run_owned(
        self,
        mut owned: watch::Receiver<BTreeSet<Partition>>,
        shutdown: CancellationToken,
    ) -> Outcome {
        let mut workers = Workers {
            router: &self,
            tasks: JoinSet::new(),
            partitions: HashMap::new(),
            running: HashMap::new(),
            owned: BTreeSet::new(),
            backoffs: HashMap::new(),
            stop: shutdown.child_token(),
        };
        self.status.all_elsewhere();
        let first = owned.borrow_and_update().clone();
        workers.assign(first);
        let (mut assigned, mut halted) = (true, self.status.halted());
        let lags: Vec<LagMetering> = (0..self.seams.log.incarnation().partitions)
            .map(|partition| LagMetering::new(&self.stream(Partition(partition))))
            .collect();
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => self.look(&lags),
                Some(ended) = workers.tasks.join_next_with_id() => workers.ended(ended),
                changed = owned.changed(), if assigned => {
                    assigned = changed.is_ok();
                    let now = owned.borrow_and_update().clone();
                    workers.assign(if assigned { now } else { BTreeSet::new() });
                }
                Ok(()) = halted.changed() => workers.stop.cancel(),
                () = shutdown.cancelled() => break,
            }
        }
        while let Some(ended) = workers.tasks.join_next_with_id().await {
            workers.ended(ended);
        }
        match self.status.halted().borrow().clone() {
            Some((partition, reason)) => Outcome::Halted { partition, reason },
            None => Outcome::Stopped,
        }
    }

    /// Also while nothing moves: that is when it matters how far it is behind.
    fn look(&self, metering: &[LagMetering]) {
        for (partition, metering) in self.status.partitions().iter().zip(metering) {
            metering.tell(partition.lag);
        }
    }

    fn stream(&self, partition: Partition) -> Stream {
        let incarnation = self.seams.log.incarnation();
        Stream { log: incarnation.log.clone(), epoch: incarnation.epoch, partition }
    }
}

impl Workers<'_> {
    /// Ends the workers of partitions that moved away, and starts those of new ones. One that ends
    /// while its partition comes back is started again when it has ended.
    fn assign(&mut self, owned: BTreeSet<Partition>) {
        for (partition, stop) in &self.running {
            if !owned.contains(partition) {
                stop.cancel();
            }
        }
        let new: Vec<Partition> = owned
            .iter()
            .filter(|partition| !self.running.contains_key(partition))
            .copied()
            .collect();
        self.owned = owned;
        for partition in new {
            self.start(partition, None);
        }
    }

    fn start(&mut self, partition: Partition, wait: Option<Duration>) {
        if self.stop.is_cancelled() {
            return;
        }
        let router = self.router;
        let stream = router.stream(partition);
        let Some(status) = router.status.reporter(&stream) else { return };
        if wait.is_none() {
            // Not elsewhere any more, even before the worker's first step.
            status.send_modify(|status| status.state = PartitionState::Claiming);
        }
        let worker = Worker::new(router.seams.clone(), stream, Arc::clone(&router.options), status);
        let stop = self.stop.child_token();
        self.running.insert(partition, stop.clone());
        let task = self.tasks.spawn(async move {
            if let Some(wait) = wait {
                let waited = stop.run_until_cancelled(tokio::time::sleep(wait)).await;
                if waited.is_none() {
                    return partition::Outcome::Stopped;
                }
            }
            worker.run(stop).await
        });
        self.partitions.insert(task.id(), partition);
    }

    fn ended(&mut self, ended: Result<(Id, partition::Outcome), JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some(partition) = self.partitions.remove(&id) else { return };
        self.running.remove(&partition);
        match ended {
            Ok((_, partition::Outcome::Stopped)) => self.moved(partition),
            Ok((_, partition::Outcome::Fenced)) => {
                tracing::warn!(partition = partition.0, "another router owns the partition");
                if self.owned.contains(&partition) {
                    self.start(partition, Some(self.router.options.fenced_retry));
                }
            }
            Ok((_, partition::Outcome::Halted(reason))) => self.halt(partition, reason),
            Ok((_, partition::Outcome::Truncated { earliest })) => {
                tracing::error!(partition = partition.0, earliest = earliest.0, "records are gone");
                self.restart(partition);
            }
            Err(error) => {
                tracing::error!(partition = partition.0, %error, "a partition's worker failed");
                self.restart(partition);
            }
        }
    }

    /// Stopped: because the router stops, or because the partition went elsewhere, perhaps only for
    /// a moment.
    fn moved(&mut self, partition: Partition) {
        if self.stop.is_cancelled() {
            return;
        }
        if self.owned.contains(&partition) {
            self.start(partition, None);
        } else {
            self.router.status.elsewhere(partition);
        }
    }

    fn halt(&self, partition: Partition, reason: Halt) {
        tracing::error!(partition = partition.0, %reason, "the log is halted");
        self.router.status.halt(partition, reason);
    }

    fn restart(&mut self, partition: Partition) {
        if self.stop.is_cancelled() || !self.owned.contains(&partition) {
            return;
        }
        let options = &self.router.options;
        let backoff = self.backoffs.entry(partition).or_insert_with(|| Backoff::new(options));
        let wait = backoff.step();
        if let Some(status) = self.router.status.reporter(&self.router.stream(partition)) {
            status.send_modify(|s| s.state = PartitionState::Paused(Pause::Restarting));
        }
        self.start(partition, Some(wait));
    }
}
