//! Stores in the history what went out live, in order, one transaction at a time. Never sends
//! anything out, and never waits for the live half.

use std::collections::HashMap;
use std::sync::Arc;

use meridian_core::seams::{Batch, CommitError};
use meridian_core::vocabulary::{ChannelKey, Event, Position, Prev};
use tokio::time::{Instant, timeout};

use super::backlog::{Backlog, Group};
use super::context::Context;
use super::coverage::Coverage;
use super::{Backoff, Outcome};

/// The half of a worker that writes.
pub(super) struct Committer<'a> {
    context: &'a Context,
    backlog: &'a Backlog,
    fence: u64,
    coverage: Coverage,
    /// Taken from the backlog. Repeated as it is, until it is known to be stored.
    under_way: Option<(Group, usize)>,
    backoff: Backoff,
}

impl<'a> Committer<'a> {
    pub(super) fn new(
        context: &'a Context,
        backlog: &'a Backlog,
        fence: u64,
        coverage: Coverage,
    ) -> Self {
        let backoff = Backoff::new(&context.options);
        Self { context, backlog, fence, coverage, under_way: None, backoff }
    }

    /// Stores what comes, until another router owns the partition.
    pub(super) async fn follow(&mut self) -> Outcome {
        loop {
            self.backlog.wait_until(|level| level.groups > 0).await;
            self.linger().await;
            if let Err(outcome) = self.store_next().await {
                return outcome;
            }
        }
    }

    /// Stores what is there.
    pub(super) async fn flush(&mut self) -> Result<(), Outcome> {
        while self.backlog.level().groups > 0 {
            self.store_next().await?;
        }
        Ok(())
    }

    /// Lets others share the transaction; not when it is large or somebody waits for it.
    async fn linger(&self) {
        let options = &self.context.options;
        let enough =
            self.backlog.wait_until(|level| level.hurry || level.bytes >= options.commit_bytes);
        let _ = timeout(options.commit_linger, enough).await;
    }

    async fn store_next(&mut self) -> Result<(), Outcome> {
        if self.under_way.is_none() {
            self.under_way = self.backlog.take(self.context.options.commit_bytes);
        }
        loop {
            match self.try_store().await {
                Ok(()) => break,
                Err(CommitError::Fenced) => return Err(Outcome::Fenced),
                Err(CommitError::Unavailable) => {
                    self.context.metering.history_failures.increment(1);
                    self.backlog.history_down(true);
                    self.backoff.wait().await;
                }
            }
        }
        self.backoff.reset();
        self.backlog.history_down(false);
        if let Some((group, groups)) = self.under_way.take() {
            self.stored(&group, groups).await;
        }
        Ok(())
    }

    async fn try_store(&mut self) -> Result<(), CommitError> {
        self.resolve_prevs().await?;
        let Some((group, _)) = &self.under_way else { return Ok(()) };
        let began = Instant::now();
        let batch = Batch {
            fence: self.fence,
            checkpoint: group.checkpoint.clone(),
            events: group.events.clone(),
            window: group.rows.clone(),
            marks: group.marks.clone(),
        };
        self.context.history.commit(&self.context.stream, batch).await?;
        self.context.metering.commit_seconds.record(began.elapsed().as_secs_f64());
        self.context.metering.commit_batch.record(group.rows.len() as f64);
        Ok(())
    }

    /// An event that went out while no store could tell its predecessor: now the history can, as it
    /// holds everything before this batch.
    async fn resolve_prevs(&mut self) -> Result<(), CommitError> {
        let Some((group, _)) = &mut self.under_way else { return Ok(()) };
        let unknown: Vec<ChannelKey> =
            group.events.iter().filter(|e| is_unknown(e)).map(|e| e.key.clone()).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let heads = self.context.history.heads(&self.context.stream.log, &unknown).await;
        let heads = heads.map_err(|_| CommitError::Unavailable)?;
        resolve(&mut group.events, &heads, self.coverage);
        Ok(())
    }

    async fn stored(&self, group: &Group, groups: usize) {
        self.backlog.settle(group, groups);
        let checkpoint = group.checkpoint.position;
        self.context.stored(Some(checkpoint), self.backlog.level().bytes);
        // If it fails, the next commit's covers it.
        if self.context.backplane.trim_below(&self.context.stream, checkpoint).await.is_err() {
            self.context.metering.backplane_failures.increment(1);
        }
    }
}

fn is_unknown(event: &Arc<Event>) -> bool {
    event.prev == Prev::Unknown
}

/// Only a channel's first unstored event can be unknown: later ones follow it in memory.
fn resolve(events: &mut [Arc<Event>], heads: &HashMap<ChannelKey, Position>, coverage: Coverage) {
    for event in events.iter_mut().filter(|event| is_unknown(event)) {
        let position = event.position();
        match heads.get(&event.key) {
            // At or above: stored before, by another router; its commit will tell.
            Some(head) if *head >= position => {}
            head => Arc::make_mut(event).prev = coverage.prev(head.copied()),
        }
    }
}
