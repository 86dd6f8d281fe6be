//! The stored form of an event, delimited by itself: its length (u32), then format (1), epoch (u32),
//! offset (u64), time (u64), predecessor (a tag; with tag 1 its epoch, u32, and offset, u64), the id
//! behind its length (u8), and the body to the end. All integers are big endian.

use std::sync::Arc;

use bytes::BufMut;

use crate::vocabulary::{Body, ChannelKey, Epoch, Event, EventId, Offset, Position, Prev, Stream};

const FORMAT: u8 = 1;

/// The stored bytes are nothing that this code reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damaged;

/// The stored form of an event, with `prev` in place of its own.
pub(super) fn encode(event: &Event, prev: Prev) -> Vec<u8> {
    let (id, body) = (event.id.as_str(), event.body.encode());
    let mut out = Vec::with_capacity(48 + id.len() + body.len());
    out.put_u32(0);
    out.put_u8(FORMAT);
    out.put_u32(event.stream.epoch.0);
    out.put_u64(event.offset.0);
    out.put_u64(event.time_ms);
    match prev {
        Prev::None => out.put_u8(0),
        Prev::At(position) => {
            out.put_u8(1);
            out.put_u32(position.epoch.0);
            out.put_i64(position.passed);
        }
        Prev::Unknown => out.put_u8(2),
    }
    out.put_u8(id.len() as u8);
    out.put_slice(id.as_bytes());
    out.put_slice(&body);
    let length = out.len() as u32 - 4;
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}

/// Reads events that stand one behind another; their positions must rise.
pub(super) fn decode_all(
    stored: &[u8],
    key: &ChannelKey,
    stream: &Stream,
) -> Result<Vec<Arc<Event>>, Damaged> {
    let mut events: Vec<Arc<Event>> = Vec::with_capacity(stored.len() / 128);
    let mut rest = Cursor(stored);
    while !rest.0.is_empty() {
        let length = rest.u32()? as usize;
        let event = decode(Cursor(rest.take(length)?), key, stream)?;
        if events.last().is_some_and(|last| last.position() >= event.position()) {
            return Err(Damaged);
        }
        events.push(Arc::new(event));
    }
    Ok(events)
}

/// Reads one event.
pub(super) fn decode_one(
    stored: &[u8],
    key: &ChannelKey,
    stream: &Stream,
) -> Result<Arc<Event>, Damaged> {
    let mut rest = Cursor(stored);
    let length = rest.u32()? as usize;
    let event = decode(Cursor(rest.take(length)?), key, stream)?;
    if rest.0.is_empty() { Ok(Arc::new(event)) } else { Err(Damaged) }
}

fn decode(mut from: Cursor<'_>, key: &ChannelKey, stream: &Stream) -> Result<Event, Damaged> {
    if from.take(1)? != [FORMAT] {
        return Err(Damaged);
    }
    let epoch = Epoch(from.u32()?);
    let (offset, time_ms) = (Offset(from.u64()?), from.u64()?);
    let prev = match from.take(1)? {
        [0] => Prev::None,
        [1] => Prev::At(Position { epoch: Epoch(from.u32()?), passed: from.u64()? as i64 }),
        [2] => Prev::Unknown,
        _ => return Err(Damaged),
    };
    let id_bytes = usize::from(from.take(1)?[0]);
    let id = std::str::from_utf8(from.take(id_bytes)?).map_err(|_| Damaged)?;
    let id = EventId::parse(id).map_err(|_| Damaged)?;
    // What could not be read when it was applied can't be read now.
    let body = Body::decode(from.0).unwrap_or_else(|_| Body::unreadable());
    let stream = Stream { log: stream.log.clone(), epoch, partition: stream.partition };
    Ok(Event { key: key.clone(), stream, offset, prev, time_ms, id, body })
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, Damaged> {
        let bytes = self.take(4)?.try_into().map_err(|_| Damaged)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn u64(&mut self) -> Result<u64, Damaged> {
        let bytes = self.take(8)?.try_into().map_err(|_| Damaged)?;
        Ok(u64::from_be_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::vocabulary::{Channel, LogName, Partition, Tenant};

    fn event(offset: u64, prev: Prev, data: &'static [u8]) -> Event {
        Event {
            key: ChannelKey {
                tenant: Tenant::parse("t").unwrap(),
                channel: Channel::parse("n:c").unwrap(),
            },
            stream: Stream {
                log: LogName::parse("global").unwrap(),
                epoch: Epoch(2),
                partition: Partition(3),
            },
            offset: Offset(offset),
            prev,
            time_ms: 9,
            id: EventId::parse("i").unwrap(),
            body: Body { data: Bytes::from_static(data), ..Body::default() },
        }
    }

    /// What is stored is dear to change.
    #[test]
    fn golden_bytes() {
        let at = Prev::At(Position { epoch: Epoch(1), passed: 7 });
        let expected: &[u8] = b"\0\0\0\x31\x01\0\0\0\x02\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x09\
            \x01\0\0\0\x01\0\0\0\0\0\0\0\x07\x01i\x01\x83\xa1k\0\xa1e\0\xa1d\xc4\x01x";
        assert_eq!(encode(&event(5, at, b"x"), at), expected);
    }

    #[test]
    fn events_round_trip_and_must_rise() {
        let first = event(5, Prev::None, b"\0\0");
        let second = event(6, Prev::Unknown, b"");
        let stored = |a: &Event, b: &Event| [encode(a, a.prev), encode(b, b.prev)].concat();
        let read = decode_all(&stored(&first, &second), &first.key, &first.stream).unwrap();
        assert_eq!((&*read[0], &*read[1]), (&first, &second));
        let falling = decode_all(&stored(&second, &first), &first.key, &first.stream);
        assert_eq!(falling, Err(Damaged));
    }

    #[test]
    fn unreadable_bodies_stay_so() {
        let unreadable = Event { body: Body::unreadable(), ..event(1, Prev::None, b"") };
        let stored = encode(&unreadable, Prev::None);
        let read = decode_all(&stored, &unreadable.key, &unreadable.stream).unwrap();
        assert_eq!(*read[0], unreadable);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let sample = event(1, Prev::None, b"");
            let _ = decode_all(&bytes, &sample.key, &sample.stream);
        }
    }
}
