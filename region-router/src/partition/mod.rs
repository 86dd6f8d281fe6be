//! One partition's worker: takes the partition over, applies the log's records live, stores them in
//! the history behind that, and keeps the backplane's marker honest. Owns the order of these steps;
//! what becomes of a record is `apply`'s decision, and which partitions there are the router's.

mod backlog;
mod backoff;
mod committer;
mod context;
mod coverage;
mod live;
mod lookup;
mod outage;
mod reader;
mod repair;
mod takeover;

use std::sync::Arc;

use meridian_core::seams::{Backplane, History, Log};
use meridian_core::vocabulary::{Offset, Stream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{Halt, Options, PartitionState, PartitionStatus};
use backlog::Backlog;
pub(crate) use backoff::Backoff;
use committer::Committer;
use context::Context;
use coverage::Coverage;
use live::Live;

/// The stores that a worker works on.
#[derive(Clone)]
pub struct Seams {
    pub log: Arc<dyn Log>,
    pub history: Arc<dyn History>,
    pub backplane: Arc<dyn Backplane>,
}

/// Why a worker ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Asked to.
    Stopped,
    /// Another router owns the partition: it was assigned elsewhere, or will be.
    Fenced,
    /// The log must not be followed, on any partition.
    Halted(Halt),
    /// Retention removed records that were not applied. A new worker begins at what is left; first
    /// events say `prev: unknown`.
    Truncated { earliest: Offset },
}

/// A partition's worker.
pub struct Worker {
    context: Context,
}

impl Worker {
    /// A worker that reports to `status`.
    pub fn new(
        seams: Seams,
        stream: Stream,
        options: Arc<Options>,
        status: watch::Sender<PartitionStatus>,
    ) -> Self {
        Self { context: Context::new(seams, stream, options, status) }
    }

    /// Works until it is asked to stop or must. Dropping it anywhere loses nothing: what is not in the
    /// history is applied again by the next worker.
    pub async fn run(self, shutdown: CancellationToken) -> Outcome {
        let outcome = self.work(&shutdown).await;
        self.context.ended(match &outcome {
            Outcome::Stopped | Outcome::Truncated { .. } => PartitionState::Stopped,
            Outcome::Fenced => PartitionState::Fenced,
            Outcome::Halted(halt) => PartitionState::Halted(halt.clone()),
        });
        outcome
    }

    async fn work(&self, shutdown: &CancellationToken) -> Outcome {
        let context = &self.context;
        let taken = shutdown.run_until_cancelled(takeover::take_over(context)).await;
        let owned = match taken {
            None => return Outcome::Stopped,
            Some(Err(outcome)) => return outcome,
            Some(Ok(owned)) => owned,
        };
        let backlog = Backlog::new(owned.checkpoint.clone());
        let coverage = Coverage::of(owned.checkpoint.as_ref());
        let mut committer = Committer::new(context, &backlog, owned.fence, coverage);
        let outcome = {
            let mut live = Live::new(context, &backlog, owned);
            tokio::select! {
                outcome = live.follow() => outcome,
                outcome = committer.follow() => outcome,
                () = shutdown.cancelled() => Outcome::Stopped,
            }
        };
        if outcome != Outcome::Fenced {
            // What does not make it in time is applied again by the next worker.
            let _ = timeout(context.options.flush_timeout, committer.flush()).await;
        }
        outcome
    }
}
