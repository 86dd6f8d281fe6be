//! Events for the hub's tests.

use std::sync::Arc;

use bytes::Bytes;
use meridian_core::vocabulary::{
    Body, Channel, ChannelKey, Epoch, Event, EventId, LogName, Offset, Partition, Position, Prev,
    Stream, Tenant,
};

pub(crate) fn at(epoch: u32, passed: i64) -> Position {
    Position { epoch: Epoch(epoch), passed }
}

pub(crate) fn key(channel: &str) -> ChannelKey {
    ChannelKey { tenant: Tenant::parse("t").unwrap(), channel: Channel::parse(channel).unwrap() }
}

pub(crate) fn stream() -> Stream {
    Stream { log: LogName::parse("global").unwrap(), epoch: Epoch(1), partition: Partition(0) }
}

/// An event of `a:b` in epoch 1.
pub(crate) fn event(offset: u64, prev: Option<i64>) -> Arc<Event> {
    Arc::new(Event {
        key: key("a:b"),
        stream: stream(),
        offset: Offset(offset),
        prev: prev.map_or(Prev::None, |passed| Prev::At(at(1, passed))),
        time_ms: 1,
        id: EventId::parse(&format!("e{offset}")).unwrap(),
        body: Body { data: Bytes::from(offset.to_string()), ..Body::default() },
    })
}
