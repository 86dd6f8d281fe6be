//! What a reader of a feed gets below the ring: the newest value or removal of each key, from the history.

use meridian_core::seams::{ChangesFrom, ChangesRead, Gone, HistoryError, ReadBounds};
use meridian_core::vocabulary::{ChannelKey, Position, Stream};

use super::Stores;
use super::read::PAGE_BYTES;
use crate::frame::{EncodedEvents, chunks};
use crate::hub::{Page, Values};

/// A page's rows, where they are small.
const PAGE_ROWS: usize = 128;

/// Reads a page of a feed; a reader that missed removals gets a gap and a snapshot. `None`: there is no
/// progress yet.
pub(super) async fn read_values(
    stores: &Stores,
    key: &ChannelKey,
    stream: &Stream,
    from: ChangesFrom,
) -> Option<Page> {
    match try_read(stores, key, stream, from).await {
        Ok(page) => page,
        Err(HistoryError) => {
            tracing::warn!(channel = ?key, "history does not answer; a reader of a feed waits");
            None
        }
    }
}

async fn try_read(
    stores: &Stores,
    key: &ChannelKey,
    stream: &Stream,
    from: ChangesFrom,
) -> Result<Option<Page>, HistoryError> {
    let bounds = ReadBounds { max_events: PAGE_ROWS, max_bytes: PAGE_BYTES, oldest_time_ms: 0 };
    let read = |from| stores.history.changes(key, stream, from, bounds);
    let (gone, read) = match read(from).await? {
        ChangesRead::Gone { reason } => {
            let gone = Gone { reason, through: Position::BEGINNING };
            (Some(gone), read(ChangesFrom::Start).await?)
        }
        changes => (None, changes),
    };
    let ChangesRead::Changes { rows, position, since, more } = read else { return Ok(None) };
    let progress = match from {
        ChangesFrom::After { after, .. } => gone.is_some() || position > after,
        ChangesFrom::Start => position > Position::BEGINNING,
    };
    let values = Some(Values { since, more });
    let page = || Page { gone, chunks: chunks(rows, EncodedEvents::values), position, values };
    Ok(progress.then(page))
}
