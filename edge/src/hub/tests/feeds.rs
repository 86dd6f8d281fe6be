//! Feeds: whoever reads, however slowly, ends with the newest value of every key.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use meridian_core::embedded::faulty::Chance;
use meridian_core::feed::{self, CurrentKeys};
use meridian_core::policy::DeliveryClass::Feed;
use meridian_core::seams::conformance::{Printed, seeds};
use meridian_core::seams::{ChangesFrom, ChangesRead, FeedState, Gone, ReadBounds, is_removal};
use meridian_core::vocabulary::{Body, Epoch, Event, EventKind, FeedBounds, Position};

use super::super::testing::{Probe, at, event, fan_out, opened};
use super::super::{Hub, Job, Page, Place, Values};
use super::hub;
use crate::frame::{EncodedEvents, chunks};

/// The router of a feed and its region's history, which is behind by what is not stored yet.
#[derive(Default)]
struct Region {
    keys: CurrentKeys,
    made: Vec<Arc<Event>>,
    stored: usize,
    floor: Option<Position>,
}

impl Region {
    fn publish(&mut self, key: u64, kind: EventKind) -> Arc<Event> {
        let offset = self.made.len() as u64;
        let mut made = Event::clone(&event(offset, offset.checked_sub(1).map(|prev| prev as i64)));
        let bounds = Some(FeedBounds { keys: 5, bytes: 1 << 20 });
        made.body = Body { kind, key: Some(format!("k{key}")), bounds, ..made.body };
        made.body.evicts = self.keys.apply(made.position(), &made.body);
        self.made.push(Arc::new(made));
        self.made[offset as usize].clone()
    }

    fn rows(&self, stored: usize) -> BTreeMap<String, Arc<Event>> {
        let rows = self.made[..stored].iter().flat_map(feed::rows);
        rows.map(|row| (row.body.key.clone().unwrap(), row)).collect()
    }

    fn current(&self) -> BTreeMap<String, Position> {
        let rows = self.rows(self.made.len()).into_iter().filter(|(_, row)| !is_removal(row));
        rows.map(|(key, row)| (key, row.position())).collect()
    }

    /// Forgets the removals that are stored.
    fn forget(&mut self) {
        self.floor = Some(at(1, self.stored as i64 - 1));
    }

    fn changes(&self, from: ChangesFrom, max_events: usize) -> ChangesRead {
        let applied = at(1, self.stored as i64 - 1);
        let (after, since) = match from {
            ChangesFrom::Start => (at(0, -1), applied),
            ChangesFrom::After { after, since } => (after, since),
        };
        let since = self.floor.map_or(since, |floor| floor.max(since));
        let mut rows: Vec<_> = self.rows(self.stored).into_values().collect();
        rows.retain(|row| row.position() > after && (!is_removal(row) || row.position() > since));
        rows.sort_by_key(|row| row.position());
        let (epoch, uncovered, floor) = (Epoch(1), None, self.floor);
        let state = FeedState { epoch, applied, uncovered, floor, rows, more: false };
        state.answer(from, ReadBounds { max_events, max_bytes: 1 << 20, oldest_time_ms: 0 })
    }

    /// Does the hub's jobs, as far as the history is.
    fn serve(&self, hub: &mut Hub, max_rows: usize, again: &mut Vec<Job>) {
        for job in std::mem::take(again).into_iter().chain(hub.take_jobs()) {
            let Job::Fetch { channel, place: Place::Values(from), .. } = job else { continue };
            let (gone, read) = match self.changes(from, max_rows) {
                ChangesRead::Gone { reason } => {
                    let gone = Gone { reason, through: Position::BEGINNING };
                    (Some(gone), self.changes(ChangesFrom::Start, max_rows))
                }
                read => (None, read),
            };
            let progress = |position| match from {
                ChangesFrom::After { after, .. } => gone.is_some() || position > after,
                ChangesFrom::Start => position > Position::BEGINNING,
            };
            match read {
                ChangesRead::Changes { rows, position, since, more } if progress(position) => {
                    let chunks = chunks(rows, EncodedEvents::values);
                    let values = Some(Values { since, more });
                    let page = Page { gone, chunks, position, values };
                    hub.paged(channel, Place::Values(from), page);
                }
                _ => again.push(job),
            }
        }
    }
}

fn reader(hub: &mut Hub, pinned: super::Pinned) -> Rc<Probe> {
    let probe = Probe::new(Position::BEGINNING);
    hub.attach(pinned, probe.clone(), 0, Position::BEGINNING);
    probe
}

#[test]
fn random_readers_end_with_the_newest_value_of_every_key() {
    for seed in seeds(40) {
        let _printed = Printed(seed);
        let mut chance = Chance::new(seed);
        let mut region = Region::default();
        let mut hub = hub(6);
        // The channel is opened when something is there already.
        for _ in 0..chance.below(12) {
            region.publish(chance.below(9), EventKind::Publish);
        }
        region.stored = region.made.len();
        let pinned = opened(&mut hub, Feed, region.made.len() as i64 - 1);
        let (mut readers, mut again) = (Vec::new(), Vec::new());
        for _ in 0..200 {
            match chance.below(12) {
                0 => readers.push(reader(&mut hub, pinned)),
                1..6 => {
                    let removes = chance.below(5) == 0;
                    let kind = if removes { EventKind::Remove } else { EventKind::Publish };
                    hub.on_event(&region.publish(chance.below(9), kind));
                }
                6 => fan_out(&mut hub),
                7 => region.stored = region.made.len(),
                8 => region.serve(&mut hub, 1 + chance.below(3) as usize, &mut again),
                9 if chance.below(4) == 0 => region.forget(),
                _ if readers.is_empty() => {}
                10 => {
                    let reader: &Rc<Probe> = &readers[chance.below(readers.len() as u64) as usize];
                    reader.room.set(chance.below(4) as usize);
                }
                _ => readers[chance.below(readers.len() as u64) as usize].pull(&mut hub),
            }
        }
        region.stored = region.made.len();
        for _ in 0..40 {
            fan_out(&mut hub);
            region.serve(&mut hub, 2, &mut again);
            readers.iter().for_each(|reader| reader.pull(&mut hub));
        }
        for reader in readers {
            assert_eq!(reader.chain.borrow().values, region.current());
            assert_eq!(reader.chain.borrow().position, at(1, region.made.len() as i64 - 1));
        }
    }
}

#[test]
fn a_slow_reader_gets_the_newest_value_out_of_the_ring() {
    let (mut region, mut hub) = (Region::default(), hub(64));
    let pinned = opened(&mut hub, Feed, -1);
    let slow = reader(&mut hub, pinned);
    slow.room.set(0);
    for _ in 0..30 {
        hub.on_event(&region.publish(1, EventKind::Publish));
    }
    fan_out(&mut hub);
    slow.pull(&mut hub);
    assert_eq!(slow.offsets(), [29], "one of thirty");
    assert_eq!(slow.chain.borrow().position, at(1, 29));
    slow.room.set(1);
    hub.on_event(&region.publish(1, EventKind::Publish));
    fan_out(&mut hub);
    assert_eq!(slow.offsets(), [29, 30], "the chain goes on from there");
}
