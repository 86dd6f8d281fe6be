//! What a reader gets after a position: hot history where it reaches back that far, else the
//! history. Checks the chain; says `gone` only where the history says so.

use std::sync::Arc;
use std::time::Instant;

use meridian_core::seams::{Gone, HistoryRead, ReadBounds, ReadFrom};
use meridian_core::vocabulary::{ChannelKey, Event, Position, Stream};

use super::Stores;
use crate::clock::now_ms;
use crate::metrics::backplane_read;

/// A read's bounds: about one socket buffer's worth.
pub(crate) const PAGE_EVENTS: usize = 256;
pub(crate) const PAGE_BYTES: usize = 256 * 1024;

/// What was read after a position.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    /// Lies before `events`.
    pub(crate) gone: Option<Gone>,
    /// Oldest first, chained; of one epoch.
    pub(crate) events: Vec<Arc<Event>>,
    /// Where a reader stands after all this.
    pub(crate) position: Position,
    /// More is known to follow.
    pub(crate) more: bool,
}

/// Why nothing could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the region has applied the log up to {applied} only")]
    NotYet { applied: Position },
    #[error("the store that may hold this does not answer")]
    Unavailable,
}

/// Reads a page after `after`.
pub(crate) async fn read_after(
    stores: &Stores,
    key: &ChannelKey,
    stream: &Stream,
    after: Position,
    max_events: usize,
) -> Result<Read, ReadError> {
    if let Some(read) = read_hot(stores, key, stream, after, max_events).await {
        return Ok(read);
    }
    let read = read_history(stores, key, stream, after, max_events).await?;
    Ok(if read.more { read } else { go_on_hot(stores, key, stream, read, max_events).await })
}

/// The history may be behind: what it ended with goes on with what only hot history has by now.
async fn go_on_hot(
    stores: &Stores,
    key: &ChannelKey,
    stream: &Stream,
    mut read: Read,
    max_events: usize,
) -> Read {
    let left = max_events.saturating_sub(read.events.len());
    let hot = read_hot(stores, key, stream, read.position, left.max(1)).await;
    let Some(hot) = hot.filter(|hot| !hot.events.is_empty()) else { return read };
    let of_epoch = read.events.last().is_none_or(|last| last.stream.epoch == stream.epoch);
    if left == 0 || !of_epoch {
        read.more = true;
        return read;
    }
    read.events.extend(hot.events);
    (read.position, read.more) = (hot.position, hot.more);
    read
}

/// Reads a page after `after`, for who must get to `towards`: a backplane that does not get there has
/// lost something.
pub(super) async fn read_towards(
    stores: &Stores,
    key: &ChannelKey,
    stream: &Stream,
    after: Position,
    towards: Option<Position>,
) -> Result<Read, ReadError> {
    let hot = read_hot(stores, key, stream, after, PAGE_EVENTS).await;
    match hot.filter(|read| read.more || Some(read.position) >= towards) {
        Some(read) => Ok(read),
        None => read_history(stores, key, stream, after, PAGE_EVENTS).await,
    }
}

async fn read_history(
    stores: &Stores,
    key: &ChannelKey,
    stream: &Stream,
    after: Position,
    max_events: usize,
) -> Result<Read, ReadError> {
    let bounds = ReadBounds {
        max_events,
        max_bytes: PAGE_BYTES,
        oldest_time_ms: stores.oldest_time_ms(key, now_ms()),
    };
    let answer = stores.history.read(key, stream, ReadFrom::After(after), bounds).await;
    match answer.map_err(|_| ReadError::Unavailable)? {
        HistoryRead::NotYet { applied } => Err(ReadError::NotYet { applied }),
        HistoryRead::Events { gone, events, position, more } => {
            Ok(one_epoch(Read { gone, events, position, more }))
        }
    }
}

/// Hot history's answer, if it reaches back to `after`.
async fn read_hot(
    stores: &Stores,
    key: &ChannelKey,
    stream: &Stream,
    after: Position,
    max_events: usize,
) -> Option<Read> {
    if after.epoch != stream.epoch {
        return None;
    }
    let began = Instant::now();
    let hot = stores.backplane.read(key, stream, after, max_events).await.ok()?;
    backplane_read(began.elapsed());
    // A position above the marker is ahead of the region, or the backplane lost something.
    if !hot.oldest_prev?.is_within(after) || hot.marker? < after {
        return None;
    }
    // What is older than its policy's age is the history's to tell.
    let oldest_time_ms = stores.oldest_time_ms(key, now_ms());
    if hot.events.first().is_some_and(|event| event.time_ms < oldest_time_ms) {
        return None;
    }
    let more = hot.events.len() == max_events;
    let last = hot.events.last().map(|event| event.position());
    let position = match last {
        Some(last) if more => last,
        _ => after.max(last.unwrap_or(after)).max(hot.marker.unwrap_or(after)),
    };
    Some(Read { gone: None, events: hot.events, position, more })
}

/// Cuts what was read where the epoch changes: a frame carries one stream.
fn one_epoch(mut read: Read) -> Read {
    let Some(epoch) = read.events.first().map(|event| event.stream.epoch) else { return read };
    let cut = read.events.iter().position(|event| event.stream.epoch != epoch);
    if let Some(cut) = cut {
        read.events.truncate(cut);
        read.more = true;
        read.position = read.events.last().map_or(read.position, |event| event.position());
    }
    read
}
