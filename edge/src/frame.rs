//! Ready-made frames: a message's bytes with the header that its transport wants, encoded once and
//! shared. Never writes them.

use std::cell::OnceCell;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use meridian_core::protocol::{
    Codec, Message, encode_events, encode_message, encode_values, put_frame,
};
use meridian_core::vocabulary::{Channel, Event, Position, Stream};

/// How a message becomes bytes on one kind of connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// One server-to-client WebSocket message (RFC 6455 §5.2, unmasked).
    WebSocket,
    /// A length prefix on a byte stream.
    Stream,
    /// A block of an event stream (SSE), left open for the session's own `id`. JSON only.
    EventStream,
    /// An element of a JSON array, with the comma behind it. JSON only.
    Element,
}

/// Codec and framing of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) codec: Codec,
    pub(crate) framing: Framing,
}

const FORMATS: usize = 6;

impl Format {
    fn index(self) -> usize {
        let codec = match self.codec {
            Codec::Json => 0,
            Codec::MessagePack => 1,
        };
        match self.framing {
            Framing::WebSocket => codec,
            Framing::Stream => 2 + codec,
            Framing::EventStream => 4,
            Framing::Element => 5,
        }
    }

    /// A message in this format.
    pub(crate) fn message(self, message: &Message) -> Bytes {
        let payload = encode_message(self.codec, message);
        match (self.framing, message) {
            (Framing::EventStream, Message::Ping) => Bytes::from_static(EVENT_STREAM_HEARTBEAT),
            (Framing::EventStream, _) => event_block(event_name(message), &payload),
            _ => self.wrap(&payload),
        }
    }

    /// Whether the session's task has a word to say after each write.
    pub(crate) fn answers_a_request(self) -> bool {
        matches!(self.framing, Framing::EventStream | Framing::Element)
    }

    fn wrap(self, payload: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(payload.len() + 10);
        match self.framing {
            Framing::EventStream => return event_block(None, payload),
            Framing::Element => {
                out.put_slice(payload);
                out.put_u8(b',');
            }
            Framing::Stream => put_frame(&mut out, payload),
            Framing::WebSocket => {
                let opcode = match self.codec {
                    Codec::Json => 0x81,
                    Codec::MessagePack => 0x82,
                };
                put_websocket_header(&mut out, opcode, payload.len());
                out.put_slice(payload);
            }
        }
        out.freeze()
    }
}

/// A comment: to the client it is nothing, to what lies between it is a sign of life.
const EVENT_STREAM_HEARTBEAT: &[u8] = b":\n\n";

/// The name under which a page listens for a message; events have none, which makes them `message`.
fn event_name(message: &Message) -> Option<&'static str> {
    match message {
        Message::Connected(..) => Some("connected"),
        Message::Subscribed(..) => Some("subscribed"),
        Message::Unsubscribed { .. } => Some("unsubscribed"),
        Message::Gap(_) => Some("gap"),
        Message::Conflated { .. } => Some("conflated"),
        Message::Skipped { .. } => Some("skipped"),
        Message::Drain { .. } => Some("drain"),
        Message::Redirect(_) => Some("redirect"),
        Message::Mode(_) => Some("mode"),
        // `error` is what a page's EventSource calls its own.
        Message::Error(..) => Some("close"),
        _ => None,
    }
}

/// A block without the empty line that ends it; it ends the one before.
fn event_block(name: Option<&str>, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(payload.len() + 32);
    out.put_u8(b'\n');
    if let Some(name) = name {
        out.put_slice(b"event: ");
        out.put_slice(name.as_bytes());
        out.put_u8(b'\n');
    }
    // Line ends stand in JSON only between its tokens, as its publisher liked to lay it out.
    for line in payload.split(|byte| matches!(byte, b'\n' | b'\r')) {
        out.put_slice(b"data: ");
        out.put_slice(line);
        out.put_u8(b'\n');
    }
    out.freeze()
}

/// The header of an unmasked, final frame; `first` is FIN and opcode.
pub(crate) fn put_websocket_header(out: &mut BytesMut, first: u8, len: usize) {
    out.put_u8(first);
    match len {
        0..=125 => out.put_u8(len as u8),
        126..=0xffff => {
            out.put_u8(126);
            out.put_u16(len as u16);
        }
        _ => {
            out.put_u8(127);
            out.put_u64(len as u64);
        }
    }
}

type Encode = fn(Codec, &Channel, &Stream, &[&Event]) -> Vec<u8>;

/// A frame's events are of about this size.
pub(crate) const CHUNK_BYTES: usize = 32 * 1024;

/// Cuts events or rows into what makes a frame each: of one stream and about this size.
pub(crate) fn chunks(
    events: Vec<Arc<Event>>,
    encoded: fn(Vec<Arc<Event>>) -> EncodedEvents,
) -> Vec<EncodedEvents> {
    let mut chunks = Vec::new();
    let (mut chunk, mut bytes): (Vec<Arc<Event>>, usize) = (Vec::new(), 0);
    for event in events {
        let other = chunk.last().is_some_and(|last| last.stream.epoch != event.stream.epoch);
        if other || bytes >= CHUNK_BYTES {
            chunks.push(encoded(std::mem::take(&mut chunk)));
            bytes = 0;
        }
        bytes += event.weight();
        chunk.push(event);
    }
    if !chunk.is_empty() {
        chunks.push(encoded(chunk));
    }
    chunks
}

/// Consecutive events of one channel and stream, with the frames made of them so far.
#[derive(Debug)]
pub(crate) struct EncodedEvents {
    events: Vec<Arc<Event>>,
    /// How they become a frame.
    encode: Encode,
    frames: [OnceCell<Bytes>; FORMATS],
}

impl EncodedEvents {
    /// `events` are of one stream and not empty.
    pub(crate) fn new(events: Vec<Arc<Event>>) -> Self {
        Self::of(events, encode_events)
    }

    /// Rows of a feed, of one stream and not empty.
    pub(crate) fn values(rows: Vec<Arc<Event>>) -> Self {
        Self::of(rows, encode_values)
    }

    fn of(events: Vec<Arc<Event>>, encode: Encode) -> Self {
        debug_assert!(!events.is_empty());
        Self { events, encode, frames: Default::default() }
    }

    /// The position behind the last of them.
    pub(crate) fn last(&self) -> Position {
        self.events.last().expect("invariant: never empty").position()
    }

    /// The first event.
    pub(crate) fn first(&self) -> &Event {
        self.events.first().expect("invariant: never empty")
    }

    /// The events, oldest first.
    pub(crate) fn events(&self) -> &[Arc<Event>] {
        &self.events
    }

    /// Their frame, encoded at the first call for this format.
    pub(crate) fn frame(&self, format: Format) -> &Bytes {
        self.frames[format.index()].get_or_init(|| {
            let first = self.first();
            let events: Vec<&Event> = self.events.iter().map(|event| &**event).collect();
            format.wrap(&(self.encode)(format.codec, &first.key.channel, &first.stream, &events))
        })
    }

    /// How many events.
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }
}

/// The frame of an ephemeral event, by format.
#[derive(Debug)]
pub(crate) struct EncodedMessage {
    message: Message,
    frames: [OnceCell<Bytes>; FORMATS],
}

impl EncodedMessage {
    pub(crate) fn new(message: Message) -> Self {
        Self { message, frames: Default::default() }
    }

    pub(crate) fn frame(&self, format: Format) -> &Bytes {
        self.frames[format.index()].get_or_init(|| format.message(&self.message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_blocks_begin_where_the_last_one_ends() {
        assert_eq!(event_block(None, b"{}"), "\ndata: {}\n");
        assert_eq!(event_block(Some("gap"), b"{}"), "\nevent: gap\ndata: {}\n");
        let laid_out = event_block(None, b"{\"a\":\r\n1}");
        assert_eq!(laid_out, "\ndata: {\"a\":\ndata: \ndata: 1}\n");
    }
}
