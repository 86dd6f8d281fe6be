//! What the rules make of a log, worked out naively.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use meridian_core::seams::LogRecord;
use meridian_core::vocabulary::{Body, Event, Position, Prev, Record};

use super::{WINDOW_MS, WINDOW_RECORDS, at, stream};

/// The events of a log.
pub(crate) fn of(log: &[LogRecord]) -> BTreeMap<Position, Arc<Event>> {
    let decoded: Vec<_> = log.iter().map(|r| (r, Record::decode(&r.stored).ok())).collect();
    let mut heads = HashMap::new();
    let mut events = BTreeMap::new();
    for (n, (held, record)) in decoded.iter().enumerate() {
        let Some(record) = record.as_ref().filter(|r| r.epoch == at(0).epoch) else { continue };
        let before = &decoded[n.saturating_sub(WINDOW_RECORDS as usize)..n];
        let repeats = before.iter().any(|(earlier, other)| {
            held.time_ms - earlier.time_ms <= WINDOW_MS
                && other.as_ref().is_some_and(|other| {
                    (&other.key, &other.scope, &other.id)
                        == (&record.key, &record.scope, &record.id)
                })
        });
        if repeats {
            continue;
        }
        let position = at(held.offset.0 as i64);
        let prev = heads.insert(record.key.clone(), position).map_or(Prev::None, Prev::At);
        let event = Event {
            key: record.key.clone(),
            stream: stream(),
            offset: held.offset,
            prev,
            time_ms: held.time_ms,
            id: record.id.clone(),
            body: Body::decode(&record.body).unwrap_or_else(|_| Body::unreadable()),
        };
        events.insert(position, Arc::new(event));
    }
    events
}
