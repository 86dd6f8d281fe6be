//! The apply step: what becomes of each record of a partition, decided from the log alone. Pure: it
//! never reads a clock, a store or the network; whoever drives it looks up the heads that it lacks.

mod feeds;
mod filling;
mod heads;
mod incoming;
mod key;
mod marks;
mod window;

use std::sync::Arc;

use meridian_core::seams::{Applied, Marks, WindowRow};
use meridian_core::vocabulary::{Body, ChannelKey, Epoch, Event, Position, Prev, Record, Stream};

pub use feeds::Feeds;
pub use filling::{Filled, Filling, Fills};
pub use heads::Heads;
pub use incoming::Incoming;
pub use key::{NO_KEY, fingerprint, record_key};
pub use marks::SourceMarks;
pub use window::{Window, WindowRules};

/// What becomes of a record.
#[derive(Debug)]
pub enum Decision {
    /// It is an event; its body is `unreadable` where this version cannot read it.
    Kept(Applied),
    /// It repeats a record of the window, or one that a bridge made before, however long ago.
    Duplicate,
    /// Its envelope cannot be read, so it belongs to no channel. It counts in the window.
    NoEnvelope,
    /// Another epoch wrote it. Nothing was changed; the log must not be followed.
    Foreign(ForeignEpoch),
}

/// A record is stamped with another epoch than its log's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record at offset {} is stamped with epoch {}", at.passed, stamped.0)]
pub struct ForeignEpoch {
    pub at: Position,
    pub stamped: Epoch,
}

/// A store's head lies above what was applied here: another router owns the partition by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the history is ahead of this router")]
pub struct Overtaken;

/// Where to go on.
#[derive(Debug)]
pub struct Start {
    pub stream: Stream,
    /// The last record worked off.
    pub position: Position,
    /// The last event kept.
    pub last_kept: Position,
    pub window: Window,
    pub marks: SourceMarks,
    pub heads: Heads,
    pub feeds: Feeds,
}

/// One partition's state: a function of the log up to `position`, except for which heads it
/// remembers.
#[derive(Debug)]
pub struct State(Start);

impl State {
    pub fn new(start: Start) -> Self {
        Self(start)
    }

    /// The last record worked off.
    pub fn position(&self) -> Position {
        self.0.position
    }

    /// The last event kept.
    pub fn last_kept(&self) -> Position {
        self.0.last_kept
    }

    /// The window of duplicates.
    pub fn window(&self) -> &Window {
        &self.0.window
    }

    /// The source marks that were raised since this was asked last.
    pub fn take_raised_marks(&mut self) -> Marks {
        self.0.marks.take_raised()
    }

    /// Begins a batch: the channels whose heads must be learned before it is stepped, each once.
    /// `settled` is what the history holds surely.
    pub fn missing_heads(&mut self, batch: &[Incoming], settled: Position) -> Vec<ChannelKey> {
        let heads = &mut self.0.heads;
        heads.make_room(settled);
        let mut missing: Vec<ChannelKey> = batch
            .iter()
            .filter_map(Incoming::channel)
            .filter(|key| !heads.hold(key))
            .cloned()
            .collect();
        missing.sort_unstable();
        missing.dedup();
        missing
    }

    /// Takes in a head from a store. A channel whose head is not learned gets `prev: unknown`.
    pub fn learn(&mut self, key: ChannelKey, head: Prev) -> Result<(), Overtaken> {
        if matches!(head, Prev::At(position) if position > self.0.position) {
            return Err(Overtaken);
        }
        self.0.heads.learn(key, head);
        Ok(())
    }

    /// Works off the partition's next record.
    pub fn step(&mut self, incoming: &Incoming) -> Decision {
        let state = &mut self.0;
        let at = Position::at(state.stream.epoch, incoming.offset);
        if let Err(foreign) = incoming.check_epoch(at) {
            return Decision::Foreign(foreign);
        }
        state.position = at;
        let in_window = state.window.pass(incoming.key, incoming.time_ms);
        let repeats =
            incoming.mark.as_ref().is_some_and(|mark| state.marks.pass(mark)) || in_window;
        match &incoming.record {
            None => Decision::NoEnvelope,
            Some(_) if repeats => Decision::Duplicate,
            Some(record) => Decision::Kept(self.keep(incoming, record, at)),
        }
    }

    fn keep(&mut self, incoming: &Incoming, record: &Record, at: Position) -> Applied {
        let state = &mut self.0;
        let mut body = Body::decode(&record.body).unwrap_or_else(|_| Body::unreadable());
        body.evicts = state.feeds.apply(&record.key, at, &body);
        let event = Event {
            key: record.key.clone(),
            stream: state.stream.clone(),
            offset: incoming.offset,
            prev: state.heads.advance(&record.key, at).unwrap_or(Prev::Unknown),
            time_ms: incoming.time_ms,
            id: record.id.clone(),
            body,
        };
        let last_kept_before = std::mem::replace(&mut state.last_kept, at);
        Applied { event: Arc::new(event), last_kept_before }
    }
}

impl Incoming {
    /// The row that the history's window keeps of it.
    pub fn row(&self) -> WindowRow {
        WindowRow { offset: self.offset, time_ms: self.time_ms, key: self.key }
    }

    fn check_epoch(&self, at: Position) -> Result<(), ForeignEpoch> {
        match &self.record {
            Some(record) if record.epoch != at.epoch => {
                Err(ForeignEpoch { at, stamped: record.epoch })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
