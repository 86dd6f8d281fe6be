//! Reading frames: bytes to commands (servers) and to messages (clients). Never trusts a byte.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::Deserialize;
use serde_bytes::ByteBuf;
use serde_json::value::RawValue;

use super::message::{
    Ack, Command, CommandFrame, Connect, Connected, Content, EventView, Fallback, GapPush,
    HistoryPage, HistoryRequest, Message, ModePush, Place, PublishItem, Published, Redirect,
    ReplyError, Subscribe, Subscribed,
};
use super::wire::{
    CommandWire, ConnectWire, ConnectedWire, ErrorWire, EventWire, EventsWire, HistoryPageWire,
    IdOnly, MessageWire, PlaceWire, PrevWire, PublishBatchWire, PublishWire, RedirectWire,
    SubscribedWire,
};
use super::{Action, Code};
use crate::vocabulary::{Body, Encoding, Epoch, EventKind, Offset, Position, Prev};

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

fn message<R: Raw>(wire: MessageWire<'_, R>) -> Result<Message, DecodeError> {
    let id = wire.id;
    Ok(if let Some(events) = wire.events {
        events_push(events)?
    } else if let Some(connected) = wire.connected {
        Message::Connected(id, Box::new(connected.into()))
    } else if let Some(subscribed) = wire.subscribed {
        Message::Subscribed(id, subscribed.into())
    } else if let Some(ended) = wire.unsubscribed {
        Message::Unsubscribed {
            id,
            action: action(&ended.action, &ended.code),
            channel: ended.channel.into_owned(),
            code: ended.code.into_owned(),
        }
    } else if let Some(published) = wire.published {
        Message::Published { id, cursor: published.cursor.map(Into::into) }
    } else if let Some(batch) = wire.published_batch {
        let results = batch.results.into_iter().map(|result| match result.error {
            Some(error) => Published::Refused(error.into()),
            None => Published::Stored { cursor: result.cursor.map(Into::into) },
        });
        Message::PublishedBatch { id, results: results.collect() }
    } else if let Some(acked) = wire.acked {
        Message::Acked { id, channel: acked.channel.into_owned() }
    } else if let Some(page) = wire.history {
        Message::History(id, history_page(page)?)
    } else if let Some(refreshed) = wire.refreshed {
        Message::Refreshed { id, expires_in_ms: refreshed.expires_in_ms }
    } else if let Some(error) = wire.error {
        Message::Error(id, error.into())
    } else if let Some(gap) = wire.gap {
        Message::Gap(GapPush {
            channel: gap.channel.into_owned(),
            reason: gap.reason.into_owned(),
            from: gap.from.into_owned(),
            stream: gap.stream.into_owned(),
            position: Position { epoch: Epoch(gap.epoch), passed: gap.offset },
        })
    } else if let Some(values) = wire.values {
        values_push(values)?
    } else if let Some(conflated) = wire.conflated {
        Message::Conflated {
            channel: conflated.channel.into_owned(),
            stream: conflated.stream.into_owned(),
            position: Position { epoch: Epoch(conflated.epoch), passed: conflated.offset },
        }
    } else if let Some(skipped) = wire.skipped {
        Message::Skipped { channel: skipped.channel.into_owned(), count: skipped.count }
    } else if let Some(drain) = wire.drain {
        Message::Drain { after_ms: drain.after_ms, deadline_ms: drain.deadline_ms }
    } else if let Some(redirect) = wire.redirect {
        Message::Redirect(redirect.into())
    } else if let Some(mode) = wire.mode {
        Message::Mode(ModePush {
            mode: mode.mode.into_owned(),
            namespaces: mode.namespaces,
            after_ms: mode.after_ms,
        })
    } else if wire.pong.is_some() {
        Message::Pong { id }
    } else if wire.ping.is_some() {
        Message::Ping
    } else {
        Message::Unknown
    })
}

impl From<ConnectedWire<'_>> for Connected {
    fn from(wire: ConnectedWire<'_>) -> Self {
        Self {
            protocol: wire.protocol,
            session: wire.session.into_owned(),
            node: wire.node.into_owned(),
            region: wire.region.into_owned(),
            tenant: wire.tenant.into_owned(),
            user: wire.user.into_owned(),
            capabilities: wire.capabilities.into_iter().map(Into::into).collect(),
            expires_in_ms: wire.expires_in_ms,
            limits: wire.limits,
        }
    }
}

impl From<SubscribedWire<'_>> for Subscribed {
    fn from(wire: SubscribedWire<'_>) -> Self {
        let at = match (wire.stream, wire.epoch, wire.offset) {
            (Some(stream), Some(epoch), Some(passed)) => {
                Some((stream.into_owned(), Position { epoch: Epoch(epoch), passed }))
            }
            _ => None,
        };
        Self {
            channel: wire.channel.into_owned(),
            class: wire.class.into_owned(),
            at,
            behind: wire.behind.map(Into::into),
        }
    }
}

impl From<ErrorWire<'_>> for ReplyError {
    fn from(wire: ErrorWire<'_>) -> Self {
        Self {
            action: action(&wire.action, &wire.code),
            code: wire.code.into_owned(),
            message: wire.message.into_owned(),
            retry_after_ms: wire.retry_after_ms,
            limit: wire.limit,
            applied: wire.applied.map(Into::into),
            elsewhere: wire.elsewhere.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<PlaceWire<'_>> for Place {
    fn from(wire: PlaceWire<'_>) -> Self {
        Self { url: wire.url.into_owned(), region: wire.region.map(Into::into) }
    }
}

impl From<RedirectWire<'_>> for Redirect {
    fn from(wire: RedirectWire<'_>) -> Self {
        Self {
            place: Place { url: wire.url.into_owned(), region: wire.region.map(Into::into) },
            reason: wire.reason.into_owned(),
            after_ms: wire.after_ms,
            deadline_ms: wire.deadline_ms,
        }
    }
}

/// A client goes by the action; a code or action newer than this version must not be a dead end.
fn action(name: &str, code: &str) -> Action {
    Action::from_name(name)
        .or_else(|| Code::from_name(code).map(Code::action))
        .unwrap_or(Action::Stop)
}

fn events_push<R: Raw>(wire: EventsWire<'_, R>) -> Result<Message, DecodeError> {
    let epoch = wire.epoch.map(Epoch);
    let events: Result<Vec<_>, _> =
        wire.events.into_iter().map(|event| event_view(event, epoch)).collect();
    Ok(Message::Events {
        channel: wire.channel.into_owned(),
        stream: wire.stream.map(Into::into),
        epoch,
        events: events?,
    })
}

fn values_push<R: Raw>(wire: EventsWire<'_, R>) -> Result<Message, DecodeError> {
    match events_push(wire)? {
        Message::Events { channel, stream: Some(stream), epoch: Some(epoch), events } => {
            Ok(Message::Values { channel, stream, epoch, events })
        }
        _ => Err(DecodeError),
    }
}

fn history_page<R: Raw>(wire: HistoryPageWire<'_, R>) -> Result<HistoryPage, DecodeError> {
    let epoch = Epoch(wire.epoch);
    let events: Result<Vec<_>, _> =
        wire.events.into_iter().map(|event| event_view(event, Some(epoch))).collect();
    Ok(HistoryPage {
        channel: wire.channel.into_owned(),
        stream: wire.stream.into_owned(),
        position: Position { epoch, passed: wire.offset },
        events: events?,
        gone: wire.gone.map(|gone| {
            (gone.reason.into_owned(), Position { epoch: Epoch(gone.epoch), passed: gone.offset })
        }),
        more: wire.more,
    })
}

fn event_view<R: Raw>(
    wire: EventWire<'_, R>,
    epoch: Option<Epoch>,
) -> Result<EventView, DecodeError> {
    let at = match (wire.offset, epoch) {
        (Some(offset), Some(epoch)) => Some((Offset(offset), prev(wire.prev, epoch)?)),
        (None, _) => None,
        (Some(_), None) => return Err(DecodeError),
    };
    let kind = match wire.kind.as_deref() {
        None | Some("publish") => EventKind::Publish,
        Some("remove") => EventKind::Remove,
        Some(_) => EventKind::Unreadable,
    };
    let content_type = wire.content_type.map(Into::into);
    let content = content(wire.data, wire.text.map(Into::into), wire.bin.as_deref(), content_type)
        .ok_or(DecodeError)?;
    Ok(EventView {
        at,
        time_ms: wire.time,
        id: wire.id.map(Into::into),
        body: Body {
            kind,
            key: wire.key.map(Into::into),
            headers: wire.headers.map(std::borrow::Cow::into_owned).unwrap_or_default(),
            content_type: content.content_type,
            encoding: encoding(wire.encoding.as_deref()).ok_or(DecodeError)?,
            data: content.data,
            publisher: wire.publisher.map(Into::into),
            trace: None,
            bounds: None,
            evicts: wire.evicts.into_iter().map(Into::into).collect(),
        },
    })
}

fn prev(wire: Option<PrevWire<'_>>, epoch: Epoch) -> Result<Prev, DecodeError> {
    Ok(match wire {
        None | Some(PrevWire::Nothing) => Prev::None,
        Some(PrevWire::Same(passed)) => Prev::At(Position { epoch, passed }),
        Some(PrevWire::Other((epoch, passed))) => {
            Prev::At(Position { epoch: Epoch(epoch), passed })
        }
        Some(PrevWire::Word(word)) if word == "unknown" => Prev::Unknown,
        Some(PrevWire::Word(_)) => return Err(DecodeError),
    })
}
