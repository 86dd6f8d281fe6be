//! Looking at a bridge and steering it. Owns the way to each partition's worker; changes nothing itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use meridian_core::seams::SourceCommit;
use meridian_core::vocabulary::SourceName;
use tokio::sync::{mpsc, oneshot, watch};

use super::{Change, PartitionStatus, Refusal, RouteStatus};

/// Changes that wait for one worker.
const WAITING_MOST: usize = 4;

/// A running bridge, from outside.
#[derive(Clone)]
pub struct BridgeHandle {
    desks: Arc<[Arc<Desk>]>,
}

/// What can't be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    #[error("there is no such route")]
    NoRoute,
    #[error("this process does not read the partition")]
    NotHere,
}

/// A change on its way to a worker.
pub(super) struct Ask {
    pub(super) change: Change,
    pub(super) answer: oneshot::Sender<Result<SourceCommit, Refusal>>,
}

/// A route's workers.
pub(super) struct Desk {
    route: SourceName,
    workers: Mutex<BTreeMap<u32, Line>>,
}

/// The way to one worker.
struct Line {
    status: watch::Receiver<PartitionStatus>,
    asks: mpsc::Sender<Ask>,
}

/// A worker's end of its line.
pub(super) struct Extension {
    pub(super) status: watch::Sender<PartitionStatus>,
    pub(super) asks: mpsc::Receiver<Ask>,
}

impl BridgeHandle {
    pub(super) fn new(desks: impl Iterator<Item = Arc<Desk>>) -> Self {
        Self { desks: desks.collect() }
    }

    /// All routes, with the partitions that this process reads.
    pub fn status(&self) -> Vec<RouteStatus> {
        self.desks.iter().map(|desk| desk.status()).collect()
    }

    /// Asks for a change of one partition, or of all that this process reads; answers each.
    pub async fn ask(
        &self,
        route: &str,
        partition: Option<u32>,
        change: Change,
    ) -> Result<Vec<(u32, Result<SourceCommit, Refusal>)>, AskError> {
        let desk = self.desks.iter().find(|desk| desk.route.as_str() == route);
        let lines = desk.ok_or(AskError::NoRoute)?.lines(partition);
        if lines.is_empty() {
            return Err(AskError::NotHere);
        }
        let mut answers = Vec::with_capacity(lines.len());
        for (partition, asks) in lines {
            answers.push((partition, ask(&asks, change).await));
        }
        Ok(answers)
    }
}

impl Desk {
    pub(super) fn new(route: SourceName) -> Self {
        Self { route, workers: Mutex::default() }
    }

    /// A line for a new worker.
    pub(super) fn connect(&self, partition: u32) -> Extension {
        let (status, watched) = watch::channel(PartitionStatus::new(partition));
        let (sender, asks) = mpsc::channel(WAITING_MOST);
        self.workers().insert(partition, Line { status: watched, asks: sender });
        Extension { status, asks }
    }

    /// The partition's worker has ended, and none follows.
    pub(super) fn disconnect(&self, partition: u32) {
        self.workers().remove(&partition);
    }

    fn status(&self) -> RouteStatus {
        let workers = self.workers();
        let partitions = workers.values().map(|line| line.status.borrow().clone()).collect();
        RouteStatus { route: self.route.clone(), partitions }
    }

    fn lines(&self, partition: Option<u32>) -> Vec<(u32, mpsc::Sender<Ask>)> {
        let workers = self.workers();
        let wanted = workers.iter().filter(|(number, _)| partition.is_none_or(|p| p == **number));
        wanted.map(|(number, line)| (*number, line.asks.clone())).collect()
    }

    fn workers(&self) -> MutexGuard<'_, BTreeMap<u32, Line>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ask(asks: &mpsc::Sender<Ask>, change: Change) -> Result<SourceCommit, Refusal> {
    let (answer, answered) = oneshot::channel();
    asks.send(Ask { change, answer }).await.map_err(|_| Refusal::Ended)?;
    answered.await.map_err(|_| Refusal::Ended)?
}
