//! Ready-made frames: a message's bytes with the header that its transport wants, encoded once and
//! shared. Never writes them.

use std::cell::OnceCell;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use meridian_core::protocol::{Codec, Message, encode_events, encode_message, put_frame};
use meridian_core::vocabulary::{Event, Position};

/// How a message becomes bytes on one kind of connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// One server-to-client WebSocket message (RFC 6455 §5.2, unmasked).
    WebSocket,
    /// A length prefix on a byte stream.
    Stream,
}

/// Codec and framing of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) codec: Codec,
    pub(crate) framing: Framing,
}

const FORMATS: usize = 4;

impl Format {
    fn index(self) -> usize {
        let codec = match self.codec {
            Codec::Json => 0,
            Codec::MessagePack => 1,
        };
        let framing = match self.framing {
            Framing::WebSocket => 0,
            Framing::Stream => 2,
        };
        codec + framing
    }

    /// A message in this format.
    pub(crate) fn message(self, message: &Message) -> Bytes {
        self.wrap(&encode_message(self.codec, message))
    }

    fn wrap(self, payload: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(payload.len() + 10);
        match self.framing {
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

/// Consecutive events of one channel and stream, with the frames made of them so far.
#[derive(Debug)]
pub(crate) struct EncodedEvents {
    events: Vec<Arc<Event>>,
    frames: [OnceCell<Bytes>; FORMATS],
}

impl EncodedEvents {
    /// `events` are of one stream and not empty.
    pub(crate) fn new(events: Vec<Arc<Event>>) -> Self {
        debug_assert!(!events.is_empty());
        Self { events, frames: Default::default() }
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
            format.wrap(&encode_events(format.codec, &first.key.channel, &first.stream, &events))
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
