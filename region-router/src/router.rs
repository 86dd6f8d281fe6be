//! The router: one worker for each partition of a log. Owns their tasks and starts failed ones again;
//! never looks into a record.

use std::collections::HashMap;
use std::sync::Arc;

use meridian_core::seams::{Backplane, History, Log};
use meridian_core::vocabulary::{Partition, Stream};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::partition::{self, Backoff, Seams, Worker};
use crate::{Halt, Options, PartitionState, Pause, RouterStatus};

/// Routes all partitions of one log into one region's backplane and history.
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
    backoffs: HashMap<Partition, Backoff>,
    /// Ends the workers; not the router.
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

    /// Routes until it is asked to stop. A reason to halt stops every worker, and the router stays,
    /// saying so; a partition that another router took stays with that one.
    pub async fn run(self, shutdown: CancellationToken) -> Outcome {
        let mut workers = Workers {
            router: &self,
            tasks: JoinSet::new(),
            partitions: HashMap::new(),
            backoffs: HashMap::new(),
            stop: shutdown.child_token(),
        };
        for partition in 0..self.seams.log.incarnation().partitions {
            workers.start(Partition(partition), None);
        }
        while let Some(ended) = workers.tasks.join_next_with_id().await {
            workers.ended(ended);
        }
        shutdown.cancelled().await;
        match self.status.halted().borrow().clone() {
            Some((partition, reason)) => Outcome::Halted { partition, reason },
            None => Outcome::Stopped,
        }
    }

    fn stream(&self, partition: Partition) -> Stream {
        let incarnation = self.seams.log.incarnation();
        Stream { log: incarnation.log.clone(), epoch: incarnation.epoch, partition }
    }
}

impl Workers<'_> {
    fn start(&mut self, partition: Partition, wait: Option<std::time::Duration>) {
        let router = self.router;
        let stream = router.stream(partition);
        let Some(status) = router.status.reporter(&stream) else { return };
        let worker = Worker::new(router.seams.clone(), stream, Arc::clone(&router.options), status);
        let stop = self.stop.clone();
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
        match ended {
            Ok((_, partition::Outcome::Stopped)) => {}
            Ok((_, partition::Outcome::Fenced)) => {
                tracing::warn!(partition = partition.0, "another router owns the partition");
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

    fn halt(&self, partition: Partition, reason: Halt) {
        tracing::error!(partition = partition.0, %reason, "the log is halted");
        self.router.status.halt(partition, reason);
        self.stop.cancel();
    }

    fn restart(&mut self, partition: Partition) {
        if self.stop.is_cancelled() {
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
