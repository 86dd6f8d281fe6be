//! A batch as the arrays that one statement takes. Pure.

use std::collections::HashMap;

use meridian_core::seams::{Batch, Marks, pack_window};
use meridian_core::vocabulary::{ChannelKey, Epoch, Event, Offset, Position, Prev};

/// What `prev_epoch` says besides an epoch; epochs count from 1.
const NO_PREV: i32 = 0;
const UNKNOWN_PREV: i32 = -1;

/// A batch's channels and events, an array a column.
#[derive(Debug, Default)]
pub(crate) struct Columns<'a> {
    /// The lowest offset of a record in the batch.
    pub(crate) first: i64,
    pub(crate) tenants: Vec<&'a str>,
    pub(crate) names: Vec<&'a str>,
    /// The newest event's offset in the batch.
    pub(crate) heads: Vec<i64>,
    /// The place in the channels' arrays, from 1.
    pub(crate) channels: Vec<i32>,
    pub(crate) offsets: Vec<i64>,
    pub(crate) times: Vec<i64>,
    pub(crate) prev_epochs: Vec<i32>,
    pub(crate) prev_passed: Vec<i64>,
    pub(crate) ids: Vec<&'a str>,
    pub(crate) bodies: Vec<Vec<u8>>,
    pub(crate) window: Vec<u8>,
}

impl<'a> Columns<'a> {
    pub(crate) fn of(batch: &'a Batch) -> Self {
        let first_event = batch.events.first().map(|event| event.offset);
        let first_row = batch.window.first().map(|row| row.offset);
        let first = first_event.into_iter().chain(first_row).map(signed).min();
        let mut columns = Self {
            first: first.unwrap_or(batch.checkpoint.position.passed),
            window: pack_window(&batch.window),
            ..Self::default()
        };
        let mut rows = columns.number_channels(batch);
        // Events of a channel side by side: who reads the channel touches fewer pages.
        rows.sort_by_key(|(channel, ..)| *channel);
        for (channel, event, prev) in rows {
            columns.push(channel, event, prev);
        }
        columns
    }

    /// The events with their channel's number and their predecessor, as far as this batch knows it.
    fn number_channels(&mut self, batch: &'a Batch) -> Vec<(i32, &'a Event, Prev)> {
        let uncovered = batch.checkpoint.uncovered();
        let mut numbers: HashMap<&ChannelKey, i32> = HashMap::new();
        let mut rows = Vec::with_capacity(batch.events.len());
        for event in &batch.events {
            let next = self.heads.len() as i32 + 1;
            let number = *numbers.entry(&event.key).or_insert(next);
            let mut prev = event.prev;
            if number == next {
                self.tenants.push(event.key.tenant.as_str());
                self.names.push(event.key.channel.as_str());
                self.heads.push(signed(event.offset));
            } else {
                let head = &mut self.heads[number as usize - 1];
                let before = Position { epoch: event.stream.epoch, passed: *head };
                if prev == Prev::Unknown && Some(before) > uncovered {
                    prev = Prev::At(before);
                }
                *head = signed(event.offset);
            }
            rows.push((number, &**event, prev));
        }
        rows
    }

    fn push(&mut self, channel: i32, event: &'a Event, prev: Prev) {
        let (prev_epoch, prev_passed) = match prev {
            Prev::None => (NO_PREV, -1),
            Prev::At(position) => (narrow(position.epoch.0), position.passed),
            Prev::Unknown => (UNKNOWN_PREV, -1),
        };
        self.channels.push(channel);
        self.offsets.push(signed(event.offset));
        self.times.push(i64::try_from(event.time_ms).unwrap_or(i64::MAX));
        self.prev_epochs.push(prev_epoch);
        self.prev_passed.push(prev_passed);
        self.ids.push(event.id.as_str());
        self.bodies.push(event.body.encode().into());
    }
}

/// A batch's source marks, an array a column.
#[derive(Debug, Default)]
pub(crate) struct MarkColumns<'a> {
    pub(crate) sources: Vec<&'a str>,
    pub(crate) partitions: Vec<i64>,
    pub(crate) generations: Vec<i64>,
    pub(crate) offsets: Vec<i64>,
    pub(crate) indexes: Vec<i64>,
}

impl<'a> MarkColumns<'a> {
    pub(crate) fn of(marks: &'a Marks) -> Self {
        let mut columns = Self::default();
        for (of, at) in marks {
            columns.sources.push(of.source.as_str());
            columns.partitions.push(i64::from(of.partition));
            columns.generations.push(i64::from(at.generation));
            columns.offsets.push(i64::try_from(at.offset).unwrap_or(i64::MAX));
            columns.indexes.push(i64::from(at.index));
        }
        columns
    }
}

/// A predecessor as it is stored.
pub(crate) fn prev(epoch: i32, passed: i64) -> Prev {
    match epoch {
        NO_PREV => Prev::None,
        UNKNOWN_PREV => Prev::Unknown,
        epoch => Prev::At(Position { epoch: Epoch(epoch as u32), passed }),
    }
}

/// Drops what is stored already, through an offset.
pub(crate) fn trim(batch: &mut Batch, through: i64) {
    batch.events.retain(|event| signed(event.offset) > through);
    batch.window.retain(|row| signed(row.offset) > through);
}

/// Epochs and partitions as the tables hold them. Above 2^31 nothing is ever stored, so that the
/// highest number stands for all of them.
pub(crate) fn narrow(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Offsets stay below 2^53.
pub(crate) fn signed(offset: Offset) -> i64 {
    offset.0 as i64
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use meridian_core::seams::conformance::{Samples, channel, stream};

    use super::*;

    #[test]
    fn events_stand_by_channel_and_know_their_predecessor() {
        let (mut samples, a, b) = (Samples::new(stream(2, 0)), channel("a"), channel("b"));
        samples.skip();
        let events = [
            samples.event_with_prev(&b, "1", Prev::Unknown),
            samples.event(&a, "2"),
            samples.event_with_prev(&b, "3", Prev::Unknown),
            samples.event(&a, "4"),
        ];
        let mut batch = samples.batch(1, &events);
        let columns = Columns::of(&batch);
        assert_eq!(columns.names, ["rooms:b", "rooms:a"]);
        assert_eq!((columns.first, &columns.heads[..]), (1, &[3, 4][..]));
        assert_eq!(
            (&columns.channels[..], &columns.offsets[..]),
            (&[1, 1, 2, 2][..], &[1, 3, 2, 4][..])
        );
        let prevs: Vec<Prev> = columns
            .prev_epochs
            .iter()
            .zip(&columns.prev_passed)
            .map(|(e, p)| prev(*e, *p))
            .collect();
        let at = |passed| Prev::At(Position { epoch: Epoch(2), passed });
        assert_eq!(prevs, [Prev::Unknown, at(1), Prev::None, at(2)]);

        trim(&mut batch, 2);
        let left: Vec<Arc<Event>> = events[2..].iter().map(|made| made.event.clone()).collect();
        assert_eq!((batch.events.clone(), batch.window.len()), (left, 2));
        assert_eq!(Columns::of(&batch).first, 3);
        trim(&mut batch, 4);
        assert_eq!(Columns::of(&batch).first, 4, "nothing left: the checkpoint's");
    }
}
