//! The history's suite.

mod acknowledged;
mod feeds;
mod model;
mod reads;
mod writes;

use std::sync::Arc;

use async_trait::async_trait;

use super::Samples;
use crate::seams::{Applied, Claim, Gone, History, HistoryRead, ReadBounds, ReadFrom};
use crate::vocabulary::{ChannelKey, Event, Position};

pub use acknowledged::*;
pub use feeds::*;
pub use model::*;
pub use reads::*;
pub use writes::*;

/// How the suite gets at one kind of history. Each fixture is one history, empty at first.
#[async_trait]
pub trait HistoryFixture: Send + Sync {
    type History: History;

    /// Opens the history, also after `shut`, with what it held.
    async fn open(&self) -> Self::History;

    /// Ends a handle, as a process that stops.
    async fn shut(&self, history: Self::History);

    /// Removes a channel's events by retention, all but the newest `keep`, and removals of their age.
    async fn retain(&self, history: &Self::History, key: &ChannelKey, keep: u64);
}

/// Every check of this suite; `fixture` makes an empty history each time.
pub async fn all<F: HistoryFixture>(fixture: impl Fn() -> F) {
    a_claim_fences_the_owner_before(&fixture()).await;
    a_commit_is_whole(&fixture()).await;
    repeated_commits_are_harmless(&fixture()).await;
    a_claim_returns_the_newest_window(&fixture()).await;
    marks_are_kept_with_the_checkpoint(&fixture()).await;
    commits_outlive_the_handle(&fixture()).await;
    heads_outlive_events(&fixture()).await;
    changed_channels_are_found(&fixture()).await;
    partitions_commit_side_by_side(&fixture()).await;
    reads_are_chained(&fixture()).await;
    reads_keep_their_bounds(&fixture()).await;
    an_idle_channel_is_no_gap(&fixture()).await;
    ahead_of_the_checkpoint_is_not_yet(&fixture()).await;
    what_retention_removed_is_gone(&fixture()).await;
    what_is_too_old_counts_as_removed(&fixture()).await;
    another_epoch_is_a_gap(&fixture()).await;
    an_unknown_predecessor_is_vouched_for_or_a_gap(&fixture()).await;
    what_lies_before_the_view_is_unknown(&fixture()).await;
    the_newest_events_are_read(&fixture()).await;
    readers_of_a_feed_converge(&fixture(), 1).await;
    a_forgotten_removal_is_a_gap(&fixture()).await;
    values_outlive_an_epoch(&fixture()).await;
    acknowledged_positions_merge(&fixture()).await;
    acknowledged_positions_outlive_the_handle(&fixture()).await;
}

/// Bounds that bind nothing.
const ALL: ReadBounds = ReadBounds { max_events: 10_000, max_bytes: usize::MAX, oldest_time_ms: 0 };

/// A read's answer without its type's noise.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    gone: Option<Gone>,
    events: Vec<Arc<Event>>,
    position: Position,
    more: bool,
}

async fn read(
    history: &impl History,
    samples: &Samples,
    key: &ChannelKey,
    from: ReadFrom,
    bounds: ReadBounds,
) -> Read {
    match history.read(key, samples.stream(), from, bounds).await.unwrap() {
        HistoryRead::Events { gone, events, position, more } => {
            Read { gone, events, position, more }
        }
        HistoryRead::NotYet { applied } => panic!("not yet, applied is {applied}"),
    }
}

async fn read_after(
    history: &impl History,
    samples: &Samples,
    key: &ChannelKey,
    after: Position,
) -> Read {
    read(history, samples, key, ReadFrom::After(after), ALL).await
}

async fn claim(history: &impl History, samples: &Samples) -> Claim {
    history.claim(samples.stream(), 1 << 17).await.unwrap()
}

async fn commit(history: &impl History, samples: &Samples, fence: u64, events: &[Applied]) {
    history.commit(samples.stream(), samples.batch(fence, events)).await.unwrap();
}

fn plain(events: &[Applied]) -> Vec<Arc<Event>> {
    events.iter().map(|applied| applied.event.clone()).collect()
}
