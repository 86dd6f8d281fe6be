//! Events as bytes: one form for a stream's entry and for the message that announces it. Owns the
//! format; the key and the stream are told by the name under which the bytes were found.
//!
//! Event, format 1, integers big endian: format (1), `prev`'s kind (1: 0 none, 1 a place, 2
//! unknown), its epoch (4) and place (8), offset (8), time in ms (8), length of the id (1), id, then
//! the body's stored bytes to the end. The scripts read the time where it stands.
//! Ephemeral event, format 1: format (1), time in ms (8), body to the end.

use bytes::{BufMut, Bytes, BytesMut};
use meridian_core::seams::Ephemeral;
use meridian_core::vocabulary::{Body, ChannelKey, Epoch, Event, EventId, Offset, Prev, Stream};

use crate::keys::{place, position};

const FORMAT: u8 = 1;
/// Bytes before the id's length: enough to read `prev`.
pub(crate) const HEADER_BYTES: usize = 30;

/// The bytes are not an event of a format that this code reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an event of a format that this code reads")]
pub(crate) struct DecodeError;

/// The stored bytes of an event.
pub(crate) fn encode_event(event: &Event) -> Bytes {
    let (body, id) = (event.body.encode(), event.id.as_str().as_bytes());
    let mut out = BytesMut::with_capacity(HEADER_BYTES + 1 + id.len() + body.len());
    let (kind, epoch, at) = match event.prev {
        Prev::None => (0, 0, 0),
        Prev::At(prev) => (1, prev.epoch.0, place(prev)),
        Prev::Unknown => (2, 0, 0),
    };
    out.put_u8(FORMAT);
    out.put_u8(kind);
    out.put_u32(epoch);
    out.put_u64(at);
    out.put_u64(event.offset.0);
    out.put_u64(event.time_ms);
    out.put_u8(id.len() as u8);
    out.put_slice(id);
    out.put_slice(&body);
    out.freeze()
}

/// Reads an event's stored bytes.
pub(crate) fn decode_event(
    key: &ChannelKey,
    stream: &Stream,
    stored: &[u8],
) -> Result<Event, DecodeError> {
    let prev = decode_prev(stored)?;
    let (header, rest) = stored.split_at_checked(HEADER_BYTES).ok_or(DecodeError)?;
    let (id_bytes, rest) = rest.split_first().ok_or(DecodeError)?;
    let (id, body) = rest.split_at_checked(usize::from(*id_bytes)).ok_or(DecodeError)?;
    let id = std::str::from_utf8(id).map_err(|_| DecodeError)?;
    Ok(Event {
        key: key.clone(),
        stream: stream.clone(),
        offset: Offset(number(header, 14)),
        prev,
        time_ms: number(header, 22),
        id: EventId::parse(id).map_err(|_| DecodeError)?,
        // What could not be read when it was applied can't be read now.
        body: Body::decode(body).unwrap_or_else(|_| Body::unreadable()),
    })
}

/// Reads `prev` from an event's first `HEADER_BYTES`.
pub(crate) fn decode_prev(stored: &[u8]) -> Result<Prev, DecodeError> {
    if stored.len() < HEADER_BYTES || stored[0] != FORMAT {
        return Err(DecodeError);
    }
    let epoch = u32::from_be_bytes([stored[2], stored[3], stored[4], stored[5]]);
    match (stored[1], number(stored, 6)) {
        (0, 0) => Ok(Prev::None),
        (1, place) if place < 1 << 53 => Ok(Prev::At(position(Epoch(epoch), place))),
        (2, 0) => Ok(Prev::Unknown),
        _ => Err(DecodeError),
    }
}

/// The bytes of an ephemeral event's message.
pub(crate) fn encode_ephemeral(event: &Ephemeral) -> Bytes {
    let mut out = BytesMut::with_capacity(9 + event.body.len());
    out.put_u8(FORMAT);
    out.put_u64(event.time_ms);
    out.put_slice(&event.body);
    out.freeze()
}

/// Reads an ephemeral event's message.
pub(crate) fn decode_ephemeral(key: &ChannelKey, sent: &Bytes) -> Result<Ephemeral, DecodeError> {
    if sent.len() < 9 || sent[0] != FORMAT {
        return Err(DecodeError);
    }
    Ok(Ephemeral { key: key.clone(), time_ms: number(sent, 1), body: sent.slice(9..) })
}

/// Eight bytes from `at` on, which the caller knows to be there.
fn number(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use meridian_core::seams::conformance::{channel, stream};
    use meridian_core::vocabulary::Position;
    use proptest::prelude::*;

    use super::*;

    fn sample(prev: Prev, data: Bytes) -> Event {
        Event {
            key: channel("a"),
            stream: stream(3, 1),
            offset: Offset(258),
            prev,
            time_ms: 1_000,
            id: EventId::parse("id-1").unwrap(),
            body: Body { data, ..Body::default() },
        }
    }

    /// Other nodes read these bytes.
    #[test]
    fn golden_bytes() {
        let prev = Prev::At(Position { epoch: Epoch(2), passed: 15 });
        let event = sample(prev, Bytes::from_static(b"hi"));
        let expected: &[u8] = b"\x01\x01\0\0\0\x02\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\x01\x02\
            \0\0\0\0\0\0\x03\xe8\x04id-1\x01\x83\xa1k\0\xa1e\0\xa1d\xc4\x02hi";
        assert_eq!(&encode_event(&event)[..], expected);
        assert_eq!(decode_event(&event.key, &event.stream, expected), Ok(event));
    }

    #[test]
    fn newer_formats_are_refused() {
        let mut stored = encode_event(&sample(Prev::None, Bytes::new())).to_vec();
        stored[0] = 2;
        assert_eq!(decode_event(&channel("a"), &stream(1, 0), &stored), Err(DecodeError));
        let ephemeral = Bytes::from_static(b"\x02\0\0\0\0\0\0\0\x01");
        assert_eq!(decode_ephemeral(&channel("a"), &ephemeral), Err(DecodeError));
    }

    fn prevs() -> impl Strategy<Value = Prev> {
        let at = (1u32.., -1i64..(1 << 52))
            .prop_map(|(epoch, passed)| Prev::At(Position { epoch: Epoch(epoch), passed }));
        prop_oneof![Just(Prev::None), Just(Prev::Unknown), at]
    }

    proptest! {
        #[test]
        fn events_are_read_back(prev in prevs(), data: Vec<u8>) {
            let event = sample(prev, data.into());
            let stored = encode_event(&event);
            prop_assert_eq!(decode_prev(&stored[..HEADER_BYTES]), Ok(prev));
            prop_assert_eq!(decode_event(&event.key, &event.stream, &stored), Ok(event));
        }

        #[test]
        fn ephemeral_events_are_read_back(time_ms: u64, body: Vec<u8>) {
            let event = Ephemeral { key: channel("a"), time_ms, body: body.into() };
            prop_assert_eq!(decode_ephemeral(&event.key, &encode_ephemeral(&event)), Ok(event));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = decode_event(&channel("a"), &stream(1, 0), &bytes);
            let _ = decode_prev(&bytes);
            let _ = decode_ephemeral(&channel("a"), &bytes.into());
        }
    }
}
