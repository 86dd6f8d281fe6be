//! Records and events for the suites.

use std::sync::Arc;

use bytes::Bytes;

use crate::seams::{Acknowledged, AcknowledgedKey, Applied, Batch, Checkpoint, Marks, WindowRow};
use crate::vocabulary::{
    Body, Channel, ChannelKey, Cursor, Epoch, Event, EventId, LogName, Offset, Partition, Position,
    Prev, Record, Scope, Stream, SubscriberName, Tenant, UserId,
};

/// A channel of the tenant `suite`.
pub fn channel(name: &str) -> ChannelKey {
    ChannelKey {
        tenant: Tenant::parse("suite").unwrap(),
        channel: Channel::parse(&format!("rooms:{name}")).unwrap(),
    }
}

/// A partition of the log `global` in an epoch.
pub fn stream(epoch: u32, partition: u32) -> Stream {
    Stream {
        log: LogName::parse("global").unwrap(),
        epoch: Epoch(epoch),
        partition: Partition(partition),
    }
}

/// Whose position: a subscriber of the user `ann` on one channel.
pub fn acknowledged_key(subscriber: &str) -> AcknowledgedKey {
    let key = channel("a");
    AcknowledgedKey {
        tenant: key.tenant,
        user: UserId::parse("ann").unwrap(),
        subscriber: SubscriberName::parse(subscriber).unwrap(),
        channel: key.channel,
    }
}

/// A position in partition 0 of the log `global`.
pub fn acknowledged(generation: u64, epoch: u32, passed: i64) -> Acknowledged {
    let stream = stream(epoch, 0);
    let position = Position { epoch: Epoch(epoch), passed };
    let cursor = Cursor { log: stream.log, partition: stream.partition, position };
    Acknowledged { generation, cursor }
}

/// Makes the events of one partition in order, as a router that drops nothing would.
#[derive(Debug, Clone)]
pub struct Samples {
    stream: Stream,
    next_offset: u64,
    last_kept: Position,
    begins: Offset,
    heads: std::collections::HashMap<ChannelKey, Position>,
    /// The log time of the next event.
    pub time_ms: u64,
}

impl Samples {
    /// From the stream's first record on.
    pub fn new(stream: Stream) -> Self {
        let last_kept = Position::start_of(stream.epoch);
        let (begins, heads) = (Offset(0), Default::default());
        Self { stream, next_offset: 0, last_kept, begins, heads, time_ms: 1_000 }
    }

    /// The next epoch of the same partition: heads go on.
    pub fn next_epoch(&self) -> Self {
        let epoch = Epoch(self.stream.epoch.0 + 1);
        let stream = Stream { epoch, ..self.stream.clone() };
        let last_kept = Position::start_of(epoch);
        Self { stream, next_offset: 0, last_kept, begins: Offset(0), ..self.clone() }
    }

    /// The partition.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The last record's position.
    pub fn position(&self) -> Position {
        Position { epoch: self.stream.epoch, passed: self.next_offset as i64 - 1 }
    }

    /// A record that a router drops.
    pub fn skip(&mut self) {
        self.next_offset += 1;
    }

    /// From here on the view covers the log; answers the last position that it does not.
    pub fn begin_here(&mut self) -> Position {
        self.begins = Offset(self.next_offset);
        self.last_kept = self.position();
        self.position()
    }

    /// The channel's next event, with the last kept one before it.
    pub fn event(&mut self, key: &ChannelKey, data: &str) -> Applied {
        let prev = self.heads.get(key).map_or(Prev::None, |head| Prev::At(*head));
        self.event_with_prev(key, data, prev)
    }

    /// The same with this body.
    pub fn event_of(&mut self, key: &ChannelKey, body: Body) -> Applied {
        let prev = self.heads.get(key).map_or(Prev::None, |head| Prev::At(*head));
        self.make(key, body, prev)
    }

    /// The same with another `prev`.
    pub fn event_with_prev(&mut self, key: &ChannelKey, data: &str, prev: Prev) -> Applied {
        let body = Body { data: Bytes::copy_from_slice(data.as_bytes()), ..Body::default() };
        self.make(key, body, prev)
    }

    fn make(&mut self, key: &ChannelKey, body: Body, prev: Prev) -> Applied {
        let offset = Offset(self.next_offset);
        let event = Event {
            key: key.clone(),
            stream: self.stream.clone(),
            offset,
            prev,
            time_ms: self.time_ms,
            id: EventId::parse(&format!("id-{}", offset.0)).unwrap(),
            body,
        };
        let applied = Applied { event: Arc::new(event), last_kept_before: self.last_kept };
        self.next_offset += 1;
        self.last_kept = applied.event.position();
        self.heads.insert(key.clone(), self.last_kept);
        applied
    }

    /// `count` events of a channel.
    pub fn events(&mut self, key: &ChannelKey, count: usize) -> Vec<Applied> {
        (0..count).map(|i| self.event(key, &format!("event {i}"))).collect()
    }

    /// A batch that stores these events and works off everything made so far.
    pub fn batch(&self, fence: u64, events: &[Applied]) -> Batch {
        let events: Vec<Arc<Event>> = events.iter().map(|applied| applied.event.clone()).collect();
        let window = events.iter().map(|event| window_row(event)).collect();
        Batch { fence, checkpoint: self.checkpoint(), events, window, marks: Marks::new() }
    }

    /// The checkpoint after everything made so far.
    pub fn checkpoint(&self) -> Checkpoint {
        let mut fingerprint = [0; 16];
        fingerprint[..8].copy_from_slice(&self.next_offset.to_be_bytes());
        Checkpoint {
            position: self.position(),
            last_kept: self.last_kept,
            fingerprint,
            begins: self.begins,
        }
    }
}

/// The window row of an event's record.
pub(super) fn window_row(event: &Event) -> WindowRow {
    let mut key = [7; 16];
    key[..8].copy_from_slice(&event.offset.0.to_be_bytes());
    WindowRow { offset: event.offset, time_ms: event.time_ms, key }
}

/// A record for a channel.
pub(super) fn record(key: &ChannelKey, id: &str, epoch: Epoch) -> Record {
    let body = Body { data: Bytes::copy_from_slice(id.as_bytes()), ..Body::default() };
    Record {
        key: key.clone(),
        scope: Scope::of_token("suite", "publisher"),
        id: EventId::parse(id).unwrap(),
        epoch,
        body: body.encode(),
    }
}
