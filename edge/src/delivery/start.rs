//! Where a subscription starts: from now, from a cursor, with the newest events, or from what its
//! subscriber acknowledged. A feed starts with its snapshot, where no position is named.

use std::sync::Arc;

use meridian_core::protocol::{Code, ReplyError};
use meridian_core::seams::{AcknowledgedKey, HistoryRead, Log, ReadBounds, ReadFrom};
use meridian_core::vocabulary::{ChannelKey, Cursor, Position, Prev, Stream};

use super::Stores;
use crate::clock::now_ms;

/// No more of the newest events are looked for: a reader that wants more has a cursor.
const NEWEST_MOST: usize = 1000;

/// What the client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum From {
    Now,
    Cursor(Cursor),
    Last(usize),
    /// The acknowledged position, else the newest N.
    Acked {
        key: AcknowledgedKey,
        last: usize,
    },
}

impl From {
    /// The name in metrics.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            From::Now => "now",
            From::Cursor(_) => "cursor",
            From::Last(_) => "last",
            From::Acked { .. } => "acked",
        }
    }
}

/// Where it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) position: Position,
}

/// Finds the start position of a subscription to a followed channel.
pub(crate) async fn resolve(
    stores: &Stores,
    key: &ChannelKey,
    stream: &Stream,
    from: From,
) -> Result<Start, ReplyError> {
    let is_feed = stores.is_feed(key);
    let position = match from {
        From::Now | From::Last(_) if is_feed => Position::BEGINNING,
        From::Now => log_end(log_of(stores, stream)?, stream),
        From::Cursor(cursor) => checked(stores, stream, &cursor).await?,
        From::Last(count) => newest(stores, key, stream, count).await?,
        From::Acked { key: subscriber, last } => {
            match stores.history.acknowledged(&subscriber).await {
                Err(_) => return Err(ReplyError::of(Code::Unavailable)),
                Ok(Some(acknowledged)) => checked(stores, stream, &acknowledged.cursor).await?,
                Ok(None) if is_feed => Position::BEGINNING,
                Ok(None) => newest(stores, key, stream, last).await?,
            }
        }
    };
    Ok(Start { position })
}

fn log_of<'a>(stores: &'a Stores, stream: &Stream) -> Result<&'a Arc<dyn Log>, ReplyError> {
    stores.logs.get(&stream.log).ok_or_else(|| ReplyError::of(Code::WrongRegion))
}

/// The log's end as it is known here, minus one.
fn log_end(log: &Arc<dyn Log>, stream: &Stream) -> Position {
    Position::before(stream.epoch, log.known_end(stream.partition))
}

/// A cursor's position, if it can be one of this channel. Beyond the end is an error only if the end
/// was fetched after the request came.
async fn checked(
    stores: &Stores,
    stream: &Stream,
    cursor: &Cursor,
) -> Result<Position, ReplyError> {
    if cursor.log != stream.log || cursor.partition != stream.partition {
        return Err(ReplyError::of(Code::ForeignCursor));
    }
    let position = cursor.position;
    let log = log_of(stores, stream)?;
    if position <= log_end(log, stream) {
        return Ok(position);
    }
    match log.end(stream.partition).await {
        Ok(end) if position > Position::before(stream.epoch, end) => {
            Err(ReplyError::of(Code::CursorBeyondEnd))
        }
        // Nobody can tell where the log ends: the cursor may be another region's, which knows more.
        Ok(_) | Err(_) => Ok(position),
    }
}

/// The position before the newest `count` events.
async fn newest(
    stores: &Stores,
    key: &ChannelKey,
    stream: &Stream,
    count: usize,
) -> Result<Position, ReplyError> {
    if count == 0 {
        return Ok(log_end(log_of(stores, stream)?, stream));
    }
    let count = count.min(NEWEST_MOST);
    // Hot history is bounded to fewer events than this.
    const ALL: usize = 1 << 20;
    let start = Position::start_of(stream.epoch);
    let mut hot = stores.backplane.read(key, stream, start, ALL).await.unwrap_or_default();
    let oldest_time_ms = stores.oldest_time_ms(key, now_ms());
    hot.events.retain(|event| event.time_ms >= oldest_time_ms);
    if let Some(first) = hot.events.len().checked_sub(count).map(|at| &hot.events[at]) {
        return Ok(Position::before(first.stream.epoch, first.offset));
    }
    let oldest_hot =
        hot.events.first().map(|event| Position::before(event.stream.epoch, event.offset));
    if let (Some(oldest), Some(Prev::None)) = (oldest_hot, hot.oldest_prev) {
        return Ok(oldest);
    }
    let bounds = ReadBounds { max_events: count, max_bytes: usize::MAX, oldest_time_ms };
    let stored = stores.history.read(key, stream, ReadFrom::Last(count), bounds).await;
    let Ok(HistoryRead::Events { events, position: applied, .. }) = stored else {
        return Err(ReplyError::of(Code::Unavailable));
    };
    let older: Vec<_> = events
        .iter()
        .filter(|event| oldest_hot.is_none_or(|oldest| event.position() <= oldest))
        .collect();
    let wanted = count - hot.events.len();
    let first = older.len().saturating_sub(wanted);
    let position = older.get(first).map(|event| Position::before(event.stream.epoch, event.offset));
    // Without any event: what the region has not applied yet is still to come.
    Ok(position.or(oldest_hot).unwrap_or(applied))
}
