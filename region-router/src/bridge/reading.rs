//! One route: a worker for each partition of its source that this process owns. Owns their tasks, ends
//! those of partitions that moved elsewhere and starts failed ones again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::handle::Desk;
use super::worker::Worker;
use super::{Bridged, Options};

/// A route at work.
pub(super) struct Reading {
    pub(super) bridged: Bridged,
    pub(super) options: Arc<Options>,
    pub(super) desk: Arc<Desk>,
}

/// The running workers.
struct Workers<'a> {
    reading: &'a Reading,
    tasks: JoinSet<()>,
    partitions: HashMap<Id, u32>,
    /// What ends the worker of each partition that has one.
    running: HashMap<u32, CancellationToken>,
    owned: BTreeSet<u32>,
    stop: CancellationToken,
}

impl Reading {
    /// Reads the partitions that the source gives to this process, until it is asked to stop.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        let mut owned = self.bridged.source.owned();
        let mut workers = Workers {
            reading: &self,
            tasks: JoinSet::new(),
            partitions: HashMap::new(),
            running: HashMap::new(),
            owned: BTreeSet::new(),
            stop: shutdown.child_token(),
        };
        let first = owned.borrow_and_update().clone();
        workers.assign(first);
        let mut assigned = true;
        loop {
            tokio::select! {
                Some(ended) = workers.tasks.join_next_with_id() => workers.ended(ended),
                changed = owned.changed(), if assigned => {
                    assigned = changed.is_ok();
                    let now = owned.borrow_and_update().clone();
                    workers.assign(if assigned { now } else { BTreeSet::new() });
                }
                () = shutdown.cancelled() => break,
            }
        }
        while let Some(ended) = workers.tasks.join_next_with_id().await {
            workers.ended(ended);
        }
    }

    fn worker(&self, partition: u32) -> Worker {
        let extension = self.desk.connect(partition);
        Worker::new(self.bridged.clone(), self.options.clone(), extension)
    }
}

impl Workers<'_> {
    /// Ends the workers of partitions that moved away, and starts those of new ones. One that ends
    /// while its partition comes back is started again when it has ended.
    fn assign(&mut self, owned: BTreeSet<u32>) {
        for (partition, stop) in &self.running {
            if !owned.contains(partition) {
                stop.cancel();
            }
        }
        self.owned = owned;
        let new = self.owned.iter().filter(|partition| !self.running.contains_key(partition));
        for partition in new.copied().collect::<Vec<_>>() {
            self.start(partition, Duration::ZERO);
        }
    }

    fn start(&mut self, partition: u32, wait: Duration) {
        if self.stop.is_cancelled() {
            return;
        }
        let stop = self.stop.child_token();
        self.running.insert(partition, stop.clone());
        let worker = self.reading.worker(partition);
        let task = self.tasks.spawn(async move {
            let work = async {
                tokio::time::sleep(wait).await;
                worker.run().await;
            };
            // Anywhere: what is not committed is read again.
            let _ = stop.run_until_cancelled(work).await;
        });
        self.partitions.insert(task.id(), partition);
    }

    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let (id, failed) = match &ended {
            Ok((id, ())) => (*id, false),
            Err(error) => (error.id(), true),
        };
        let Some(partition) = self.partitions.remove(&id) else { return };
        self.running.remove(&partition);
        self.reading.desk.disconnect(partition);
        let route = &self.reading.bridged.route.name;
        if let Err(error) = ended {
            tracing::error!(%route, partition, %error, "a bridge's worker failed");
        }
        if self.owned.contains(&partition) {
            // Either it failed, or the partition came back while it ended, or the source refused it.
            let wait = if failed { self.reading.options.retry_most } else { Duration::ZERO };
            self.start(partition, wait.max(self.reading.options.retry_first));
        }
    }
}
