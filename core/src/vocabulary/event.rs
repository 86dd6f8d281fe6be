//! Events: records that were kept.

use super::{Body, ChannelKey, Cursor, EventId, Offset, Partition, Position, Prev, Stream};

/// A record that was kept, as every reader gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub key: ChannelKey,
    pub stream: Stream,
    pub offset: Offset,
    pub prev: Prev,
    /// The log's append time, in milliseconds since 1970.
    pub time_ms: u64,
    pub id: EventId,
    pub body: Body,
}

impl Event {
    /// The event's place in its partition's order.
    pub fn position(&self) -> Position {
        Position::at(self.stream.epoch, self.offset)
    }

    /// The partition it lies in.
    pub fn partition(&self) -> Partition {
        self.stream.partition
    }

    /// The cursor of a reader that took this event last.
    pub fn cursor(&self) -> Cursor {
        Cursor {
            log: self.stream.log.clone(),
            partition: self.stream.partition,
            position: self.position(),
        }
    }

    /// What the event takes in a buffer, in bytes, roughly (payload, names and bookkeeping).
    pub fn weight(&self) -> usize {
        self.body.weight() + self.id.as_str().len() + 160
    }
}
