//! Reading frames: bytes to commands (servers) and to messages (clients). Never trusts a byte.

mod messages;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::Deserialize;
use serde_bytes::ByteBuf;
use serde_json::value::RawValue;

use self::messages::message;
use super::message::{
    Ack, Command, CommandFrame, Connect, Content, Fallback, HistoryRequest, Message, PublishItem,
    Subscribe,
};
use super::wire::{CommandWire, ConnectWire, IdOnly, MessageWire, PublishBatchWire, PublishWire};
use crate::vocabulary::{Encoding, EventKind};

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    Json,
    MessagePack,
}

/// A frame that is no message of this protocol: the connection is closed with `malformed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the frame is not a message of this protocol")]
pub struct DecodeError;

impl Codec {
    /// Every codec.
    pub const ALL: [Codec; 2] = [Codec::Json, Codec::MessagePack];

    /// The name in a query.
    pub fn name(self) -> &'static str {
        match self {
            Codec::Json => "json",
            Codec::MessagePack => "msgpack",
        }
    }

    /// The WebSocket and WebTransport subprotocol.
    pub fn subprotocol(self) -> &'static str {
        match self {
            Codec::Json => "meridian.v1.json",
            Codec::MessagePack => "meridian.v1.msgpack",
        }
    }

    /// The codec that a query names.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// The codec that a subprotocol names.
    pub fn from_subprotocol(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.subprotocol() == name)
    }
}

/// Reads a frame of a client: one command or an array. A frame with an ill-typed field in any
/// command yields `Invalid` for all of its commands: a frame is taken whole or not at all.
pub fn decode_commands(codec: Codec, frame: &[u8]) -> Result<Vec<CommandFrame>, DecodeError> {
    match codec {
        Codec::Json => decode_with::<CommandWire<'_, Box<RawValue>>>(codec, frame)
            .map(|wires| wires.into_iter().map(command).collect()),
        Codec::MessagePack => decode_with::<CommandWire<'_, ByteBuf>>(codec, frame)
            .map(|wires| wires.into_iter().map(command).collect()),
    }
    .or_else(|_| {
        let ids = decode_with::<IdOnly>(codec, frame)?;
        Ok(ids
            .into_iter()
            .map(|only| CommandFrame { id: only.id, command: Command::Invalid })
            .collect())
    })
}

/// Reads the body of an HTTP publish: one event, or `{"events": […]}`; the flag says which.
pub fn decode_publish(codec: Codec, body: &[u8]) -> Result<(Vec<PublishItem>, bool), DecodeError> {
    match codec {
        Codec::Json => publish_body::<Box<RawValue>>(codec, body),
        Codec::MessagePack => publish_body::<ByteBuf>(codec, body),
    }
}

fn publish_body<'de, R: Raw + Deserialize<'de>>(
    codec: Codec,
    body: &'de [u8],
) -> Result<(Vec<PublishItem>, bool), DecodeError> {
    let (wires, batch) = match decode_with::<PublishBatchWire<'_, R>>(codec, body) {
        Ok(mut batches) if batches.len() == 1 => (batches.remove(0).events, true),
        Ok(_) => return Err(DecodeError),
        Err(_) => (decode_with::<PublishWire<'_, R>>(codec, body)?, false),
    };
    if wires.len() != 1 && !batch {
        return Err(DecodeError);
    }
    let items: Option<Vec<_>> = wires.into_iter().map(publish_item).collect();
    items.map(|items| (items, batch)).ok_or(DecodeError)
}

/// Reads a frame of a server: one message or an array.
pub fn decode_messages(codec: Codec, frame: &[u8]) -> Result<Vec<Message>, DecodeError> {
    match codec {
        Codec::Json => decode_with::<MessageWire<'_, Box<RawValue>>>(codec, frame)?
            .into_iter()
            .map(message)
            .collect(),
        Codec::MessagePack => decode_with::<MessageWire<'_, ByteBuf>>(codec, frame)?
            .into_iter()
            .map(message)
            .collect(),
    }
}

fn decode_with<'de, T: Deserialize<'de>>(
    codec: Codec,
    frame: &'de [u8],
) -> Result<Vec<T>, DecodeError> {
    let several = match codec {
        Codec::Json => frame.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'['),
        Codec::MessagePack => matches!(frame.first(), Some(0x90..=0x9f | 0xdc | 0xdd)),
    };
    match (codec, several) {
        (Codec::Json, true) => serde_json::from_slice(frame).map_err(|_| DecodeError),
        (Codec::Json, false) => {
            serde_json::from_slice(frame).map(|one| vec![one]).map_err(|_| DecodeError)
        }
        (Codec::MessagePack, true) => msgpack(frame),
        (Codec::MessagePack, false) => msgpack(frame).map(|one| vec![one]),
    }
}

/// One MessagePack value and nothing after it. Maps only: positional structs are not this protocol.
fn msgpack<'de, T: Deserialize<'de>>(frame: &'de [u8]) -> Result<T, DecodeError> {
    let mut reader = rmp_serde::Deserializer::new(std::io::Cursor::new(frame));
    reader.set_max_depth(32);
    let value = T::deserialize(&mut reader).map_err(|_| DecodeError)?;
    if reader.position() == frame.len() as u64 { Ok(value) } else { Err(DecodeError) }
}

/// How a codec holds a raw payload.
trait Raw {
    fn into_bytes(self) -> Bytes;
}

impl Raw for Box<RawValue> {
    fn into_bytes(self) -> Bytes {
        Bytes::from(Box::<str>::from(self).into_string().into_bytes())
    }
}

impl Raw for ByteBuf {
    fn into_bytes(self) -> Bytes {
        Bytes::from(self.into_vec())
    }
}

fn command<R: Raw>(wire: CommandWire<'_, R>) -> CommandFrame {
    let command = if let Some(connect) = wire.connect {
        Command::Connect(connect.into())
    } else if let Some(subscribe) = wire.subscribe {
        Command::Subscribe(Subscribe {
            channel: subscribe.channel.into_owned(),
            cursor: subscribe.cursor.map(Into::into),
            last: subscribe.last,
            acked: subscribe.acked,
        })
    } else if let Some(unsubscribe) = wire.unsubscribe {
        Command::Unsubscribe { channel: unsubscribe.channel.into_owned() }
    } else if let Some(publish) = wire.publish {
        publish_item(publish).map_or(Command::Invalid, Command::Publish)
    } else if let Some(batch) = wire.publish_batch {
        let events: Option<Vec<_>> = batch.events.into_iter().map(publish_item).collect();
        events.map_or(Command::Invalid, |events| Command::PublishBatch { events })
    } else if let Some(ack) = wire.ack {
        Command::Ack(Ack {
            channel: ack.channel.into_owned(),
            cursor: ack.cursor.into_owned(),
            reset: ack.reset,
        })
    } else if let Some(history) = wire.history {
        Command::History(HistoryRequest {
            channel: history.channel.into_owned(),
            after: history.after.map(Into::into),
            last: history.last,
            limit: history.limit,
        })
    } else if let Some(refresh) = wire.refresh {
        Command::Refresh { token: refresh.token.into_owned() }
    } else if wire.ping.is_some() {
        Command::Ping
    } else if wire.pong.is_some() {
        Command::Pong
    } else {
        Command::Unknown
    };
    CommandFrame { id: wire.id, command }
}

impl From<ConnectWire<'_>> for Connect {
    fn from(wire: ConnectWire<'_>) -> Self {
        Self {
            protocol: wire.protocol,
            token: wire.token.map(Into::into),
            capabilities: wire.capabilities.into_iter().map(Into::into).collect(),
            subscriber: wire.subscriber.map(Into::into),
            client: wire.client.map(Into::into),
            reconnect: wire.reconnect.map(Into::into),
            fallback: wire.fallback.map(|fallback| Fallback {
                from: fallback.from.into_owned(),
                reason: fallback.reason.into_owned(),
            }),
            redirected: wire.redirected.map(Into::into),
        }
    }
}

fn publish_item<R: Raw>(wire: PublishWire<'_, R>) -> Option<PublishItem> {
    let kind = match wire.kind.as_deref() {
        None | Some("publish") => EventKind::Publish,
        Some("remove") => EventKind::Remove,
        Some(_) => return None,
    };
    let encoding = encoding(wire.encoding.as_deref())?;
    Some(PublishItem {
        content: content(
            wire.data,
            wire.text.map(Into::into),
            wire.bin.as_deref(),
            wire.content_type.map(Into::into),
        )?,
        channel: wire.channel.into_owned(),
        id: wire.id.map(Into::into),
        kind,
        key: wire.key.map(Into::into),
        headers: wire.headers.map(std::borrow::Cow::into_owned).unwrap_or_default(),
        encoding,
        trace: wire.trace.map(Into::into),
        age_ms: wire.age_ms,
    })
}

fn encoding(name: Option<&str>) -> Option<Encoding> {
    match name {
        None | Some("plain") => Some(Encoding::Plain),
        Some("delta") => Some(Encoding::Delta),
        Some("encrypted") => Some(Encoding::Encrypted),
        Some(_) => None,
    }
}

/// At most one of the three members; which one gives the default content type.
fn content<R: Raw>(
    data: Option<R>,
    text: Option<String>,
    bin: Option<&str>,
    content_type: Option<String>,
) -> Option<Content> {
    match (data, text, bin) {
        (data, None, None) => {
            Some(Content { data: data.map(Raw::into_bytes).unwrap_or_default(), content_type })
        }
        (None, Some(text), None) => Some(Content {
            data: Bytes::from(text.into_bytes()),
            content_type: content_type.or_else(|| Some("text/plain".to_owned())),
        }),
        (None, None, Some(bin)) => Some(Content {
            data: BASE64.decode(bin).ok()?.into(),
            content_type: content_type.or_else(|| Some("application/octet-stream".to_owned())),
        }),
        _ => None,
    }
}
