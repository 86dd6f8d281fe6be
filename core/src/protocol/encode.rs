//! Writing frames: messages (servers) and commands (clients) to bytes. Encoding never fails: what
//! is handed in was checked before.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use serde_json::value::RawValue;

use super::Codec;
use super::message::{
    Command, CommandFrame, EventView, HistoryPage, Message, Place, PublishItem, Published,
    Redirect, ReplyError,
};
use super::wire::{
    AckWire, ChannelWire, CommandWire, ConflatedWire, ConnectWire, ConnectedWire, DrainWire, Empty,
    ErrorWire, EventWire, EventsWire, FallbackWire, GapWire, GoneWire, HistoryPageWire,
    HistoryRequestWire, MessageWire, ModeWire, PlaceWire, PrevWire, PublishBatchWire, PublishWire,
    PublishedBatchWire, PublishedWire, RedirectWire, RefreshWire, RefreshedWire, SkippedWire,
    SubscribeWire, SubscribedWire, UnsubscribedWire,
};
use crate::vocabulary::{Body, Channel, Encoding, Epoch, Event, EventKind, Offset, Prev, Stream};

/// A push of events of one channel, all of one stream.
pub fn encode_events(
    codec: Codec,
    channel: &Channel,
    stream: &Stream,
    events: &[&Event],
) -> Vec<u8> {
    fn wire<'a, R: RawRef<'a>>(
        channel: &'a Channel,
        stream: &Stream,
        events: &[&'a Event],
    ) -> MessageWire<'a, R> {
        let epoch = stream.epoch;
        let events = events
            .iter()
            .map(|event| {
                let at = Some((event.offset, event.prev));
                event_wire(epoch, at, event.time_ms, Some(event.id.as_str()), &event.body)
            })
            .collect();
        MessageWire {
            events: Some(EventsWire {
                channel: channel.as_str().into(),
                stream: Some(stream.to_string().into()),
                epoch: Some(epoch.0),
                events,
            }),
            ..MessageWire::default()
        }
    }
    match codec {
        Codec::Json => json(&wire::<&RawValue>(channel, stream, events)),
        Codec::MessagePack => msgpack(&wire::<&serde_bytes::Bytes>(channel, stream, events)),
    }
}

/// A push of a feed's values, all of one stream: rows, which have no predecessor.
pub fn encode_values(codec: Codec, channel: &Channel, stream: &Stream, rows: &[&Event]) -> Vec<u8> {
    fn wire<'a, R: RawRef<'a>>(
        channel: &'a Channel,
        stream: &Stream,
        rows: &[&'a Event],
    ) -> MessageWire<'a, R> {
        let view =
            |row: &&'a Event| value_wire(row.offset, row.time_ms, Some(row.id.as_str()), &row.body);
        MessageWire {
            values: Some(EventsWire {
                channel: channel.as_str().into(),
                stream: Some(stream.to_string().into()),
                epoch: Some(stream.epoch.0),
                events: rows.iter().map(view).collect(),
            }),
            ..MessageWire::default()
        }
    }
    match codec {
        Codec::Json => json(&wire::<&RawValue>(channel, stream, rows)),
        Codec::MessagePack => msgpack(&wire::<&serde_bytes::Bytes>(channel, stream, rows)),
    }
}

/// One message.
pub fn encode_message(codec: Codec, message: &Message) -> Vec<u8> {
    match codec {
        Codec::Json => json(&message_wire::<&RawValue>(message)),
        Codec::MessagePack => msgpack(&message_wire::<&serde_bytes::Bytes>(message)),
    }
}

/// One command.
pub fn encode_command(codec: Codec, frame: &CommandFrame) -> Vec<u8> {
    match codec {
        Codec::Json => json(&command_wire::<&RawValue>(frame)),
        Codec::MessagePack => msgpack(&command_wire::<&serde_bytes::Bytes>(frame)),
    }
}

/// Several commands in one frame.
pub fn encode_commands(codec: Codec, frames: &[CommandFrame]) -> Vec<u8> {
    match codec {
        Codec::Json => json(&frames.iter().map(command_wire::<&RawValue>).collect::<Vec<_>>()),
        Codec::MessagePack => {
            msgpack(&frames.iter().map(command_wire::<&serde_bytes::Bytes>).collect::<Vec<_>>())
        }
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    serde_json::to_writer(&mut out, value).expect("invariant: messages are maps of plain values");
    out
}

fn msgpack(value: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    rmp_serde::encode::write_named(&mut out, value)
        .expect("invariant: messages are maps of plain values");
    out
}

/// A payload in the members that carry it.
struct Members<'a, R> {
    data: Option<R>,
    text: Option<Cow<'a, str>>,
    bin: Option<Cow<'a, str>>,
}

/// How a codec refers to a raw payload.
trait RawRef<'a>: Sized + Serialize {
    fn members(media_type: &str, data: &'a [u8]) -> Members<'a, Self>;
}

impl<'a> RawRef<'a> for &'a RawValue {
    /// What is not valid JSON is never written raw, whatever its content type says.
    fn members(media_type: &str, data: &'a [u8]) -> Members<'a, Self> {
        let none = Members { data: None, text: None, bin: None };
        if data.is_empty() {
            return none;
        }
        if media_type == "application/json"
            && let Ok(raw) = serde_json::from_slice(data)
        {
            return Members { data: Some(raw), ..none };
        }
        match std::str::from_utf8(data) {
            Ok(text) => Members { text: Some(text.into()), ..none },
            Err(_) => Members { bin: Some(BASE64.encode(data).into()), ..none },
        }
    }
}

impl<'a> RawRef<'a> for &'a serde_bytes::Bytes {
    fn members(_: &str, data: &'a [u8]) -> Members<'a, Self> {
        let data = (!data.is_empty()).then(|| serde_bytes::Bytes::new(data));
        Members { data, text: None, bin: None }
    }
}

fn event_wire<'a, R: RawRef<'a>>(
    epoch: Epoch,
    at: Option<(Offset, Prev)>,
    time_ms: u64,
    id: Option<&'a str>,
    body: &'a Body,
) -> EventWire<'a, R> {
    let members = R::members(body.media_type(), &body.data);
    EventWire {
        offset: at.map(|(offset, _)| offset.0),
        prev: at.map(|(_, prev)| prev_wire(prev, epoch)),
        time: time_ms,
        id: id.map(Cow::Borrowed),
        kind: match body.kind {
            EventKind::Publish => None,
            EventKind::Remove => Some("remove".into()),
            EventKind::Unreadable => Some("unreadable".into()),
        },
        key: body.key.as_deref().map(Cow::Borrowed),
        headers: (!body.headers.is_empty()).then_some(Cow::Borrowed(&body.headers)),
        content_type: body.content_type.as_deref().map(Cow::Borrowed),
        encoding: encoding_wire(body.encoding),
        publisher: body.publisher.as_deref().map(Cow::Borrowed),
        evicts: body.evicts.iter().map(|key| key.as_str().into()).collect(),
        data: members.data,
        text: members.text,
        bin: members.bin,
    }
}

/// A row of a feed: what its event evicted stands in rows of its own.
fn value_wire<'a, R: RawRef<'a>>(
    offset: Offset,
    time_ms: u64,
    id: Option<&'a str>,
    body: &'a Body,
) -> EventWire<'a, R> {
    let at = Some((offset, Prev::None));
    EventWire { prev: None, evicts: Vec::new(), ..event_wire(Epoch(0), at, time_ms, id, body) }
}

fn encoding_wire(encoding: Encoding) -> Option<Cow<'static, str>> {
    match encoding {
        Encoding::Plain => None,
        Encoding::Delta => Some("delta".into()),
        Encoding::Encrypted => Some("encrypted".into()),
    }
}

fn prev_wire(prev: Prev, epoch: Epoch) -> PrevWire<'static> {
    match prev {
        Prev::None => PrevWire::Nothing,
        Prev::Unknown => PrevWire::Word("unknown".into()),
        Prev::At(position) if position.epoch == epoch => PrevWire::Same(position.passed),
        Prev::At(position) => PrevWire::Other((position.epoch.0, position.passed)),
    }
}

fn view_wire<'a, R: RawRef<'a>>(view: &'a EventView, epoch: Epoch) -> EventWire<'a, R> {
    event_wire(epoch, view.at, view.time_ms, view.id.as_deref(), &view.body)
}

fn message_wire<'a, R: RawRef<'a>>(message: &'a Message) -> MessageWire<'a, R> {
    let mut wire = MessageWire { id: message.id(), ..MessageWire::default() };
    match message {
        Message::Events { channel, stream, epoch, events } => {
            wire.events = Some(EventsWire {
                channel: channel.as_str().into(),
                stream: stream.as_deref().map(Cow::Borrowed),
                epoch: epoch.map(|epoch| epoch.0),
                events: events
                    .iter()
                    .map(|view| view_wire(view, epoch.unwrap_or(Epoch(0))))
                    .collect(),
            });
        }
        Message::Gap(gap) => {
            wire.gap = Some(GapWire {
                channel: gap.channel.as_str().into(),
                reason: gap.reason.as_str().into(),
                from: gap.from.as_str().into(),
                stream: gap.stream.as_str().into(),
                epoch: gap.position.epoch.0,
                offset: gap.position.passed,
            });
        }
        Message::Values { channel, stream, epoch, events } => {
            let view = |view: &'a EventView| {
                let offset = view.at.map_or(Offset(0), |(offset, _)| offset);
                value_wire(offset, view.time_ms, view.id.as_deref(), &view.body)
            };
            wire.values = Some(EventsWire {
                channel: channel.as_str().into(),
                stream: Some(stream.as_str().into()),
                epoch: Some(epoch.0),
                events: events.iter().map(view).collect(),
            });
        }
        Message::Conflated { channel, stream, position } => {
            wire.conflated = Some(ConflatedWire {
                channel: channel.as_str().into(),
                stream: stream.as_str().into(),
                epoch: position.epoch.0,
                offset: position.passed,
            });
        }
        Message::Skipped { channel, count } => {
            wire.skipped = Some(SkippedWire { channel: channel.as_str().into(), count: *count });
        }
        Message::Drain { after_ms, deadline_ms } => {
            wire.drain = Some(DrainWire { after_ms: *after_ms, deadline_ms: *deadline_ms });
        }
        Message::Redirect(redirect) => wire.redirect = Some(redirect_wire(redirect)),
        Message::Mode(mode) => {
            wire.mode = Some(ModeWire {
                mode: mode.mode.as_str().into(),
                namespaces: mode.namespaces.clone(),
                after_ms: mode.after_ms,
            });
        }
        Message::Ping => wire.ping = Some(Empty {}),
        Message::Unknown => {}
        reply => put_reply(&mut wire, reply),
    }
    wire
}

/// What answers a command.
fn put_reply<'a, R: RawRef<'a>>(wire: &mut MessageWire<'a, R>, reply: &'a Message) {
    match reply {
        Message::Connected(_, connected) => {
            wire.connected = Some(ConnectedWire {
                protocol: connected.protocol,
                session: connected.session.as_str().into(),
                node: connected.node.as_str().into(),
                region: connected.region.as_str().into(),
                tenant: connected.tenant.as_str().into(),
                user: connected.user.as_str().into(),
                capabilities: connected.capabilities.iter().map(|c| c.as_str().into()).collect(),
                expires_in_ms: connected.expires_in_ms,
                limits: connected.limits,
            });
        }
        Message::Subscribed(_, subscribed) => {
            let position = subscribed.at.as_ref().map(|(_, position)| *position);
            wire.subscribed = Some(SubscribedWire {
                channel: subscribed.channel.as_str().into(),
                class: subscribed.class.as_str().into(),
                stream: subscribed.at.as_ref().map(|(stream, _)| stream.as_str().into()),
                epoch: position.map(|p| p.epoch.0),
                offset: position.map(|p| p.passed),
                behind: subscribed.behind.as_deref().map(Cow::Borrowed),
            });
        }
        Message::Unsubscribed { channel, code, action, .. } => {
            wire.unsubscribed = Some(UnsubscribedWire {
                channel: channel.as_str().into(),
                code: code.as_str().into(),
                action: action.name().into(),
            });
        }
        Message::Published { cursor, .. } => {
            wire.published =
                Some(PublishedWire { cursor: cursor.as_deref().map(Cow::Borrowed), error: None });
        }
        Message::PublishedBatch { results, .. } => {
            let results = results.iter().map(published_wire).collect();
            wire.published_batch = Some(PublishedBatchWire { results });
        }
        Message::Acked { channel, .. } => {
            wire.acked = Some(ChannelWire { channel: channel.as_str().into() });
        }
        Message::History(_, page) => wire.history = Some(page_wire(page)),
        Message::Refreshed { expires_in_ms, .. } => {
            wire.refreshed = Some(RefreshedWire { expires_in_ms: *expires_in_ms });
        }
        Message::Pong { .. } => wire.pong = Some(Empty {}),
        Message::Error(_, error) => wire.error = Some(error_wire(error)),
        _ => {}
    }
}

impl Message {
    /// The id of the command that this answers.
    pub fn id(&self) -> Option<u64> {
        match self {
            Message::Connected(id, _)
            | Message::Subscribed(id, _)
            | Message::History(id, _)
            | Message::Error(id, _)
            | Message::Unsubscribed { id, .. }
            | Message::Published { id, .. }
            | Message::PublishedBatch { id, .. }
            | Message::Acked { id, .. }
            | Message::Refreshed { id, .. }
            | Message::Pong { id } => *id,
            _ => None,
        }
    }
}

fn page_wire<'a, R: RawRef<'a>>(page: &'a HistoryPage) -> HistoryPageWire<'a, R> {
    HistoryPageWire {
        channel: page.channel.as_str().into(),
        stream: page.stream.as_str().into(),
        epoch: page.position.epoch.0,
        offset: page.position.passed,
        gone: page.gone.as_ref().map(|(reason, position)| GoneWire {
            reason: reason.as_str().into(),
            epoch: position.epoch.0,
            offset: position.passed,
        }),
        events: page.events.iter().map(|view| view_wire(view, page.position.epoch)).collect(),
        more: page.more,
    }
}

fn published_wire(result: &Published) -> PublishedWire<'_> {
    match result {
        Published::Stored { cursor } => {
            PublishedWire { cursor: cursor.as_deref().map(Cow::Borrowed), error: None }
        }
        Published::Refused(error) => PublishedWire { cursor: None, error: Some(error_wire(error)) },
    }
}

fn error_wire(error: &ReplyError) -> ErrorWire<'_> {
    ErrorWire {
        code: error.code.as_str().into(),
        message: error.message.as_str().into(),
        action: error.action.name().into(),
        retry_after_ms: error.retry_after_ms,
        limit: error.limit,
        applied: error.applied.as_deref().map(Cow::Borrowed),
        elsewhere: error.elsewhere.iter().map(place_wire).collect(),
    }
}

fn place_wire(place: &Place) -> PlaceWire<'_> {
    PlaceWire { region: place.region.as_deref().map(Cow::Borrowed), url: place.url.as_str().into() }
}

fn redirect_wire(redirect: &Redirect) -> RedirectWire<'_> {
    let PlaceWire { region, url } = place_wire(&redirect.place);
    RedirectWire {
        region,
        url,
        reason: redirect.reason.as_str().into(),
        after_ms: redirect.after_ms,
        deadline_ms: redirect.deadline_ms,
    }
}

fn command_wire<'a, R: RawRef<'a>>(frame: &'a CommandFrame) -> CommandWire<'a, R> {
    let mut wire = CommandWire { id: frame.id, ..CommandWire::default() };
    match &frame.command {
        Command::Connect(connect) => {
            wire.connect = Some(ConnectWire {
                protocol: connect.protocol,
                token: connect.token.as_deref().map(Cow::Borrowed),
                capabilities: connect.capabilities.iter().map(|c| c.as_str().into()).collect(),
                subscriber: connect.subscriber.as_deref().map(Cow::Borrowed),
                client: connect.client.as_deref().map(Cow::Borrowed),
                reconnect: connect.reconnect.as_deref().map(Cow::Borrowed),
                fallback: connect.fallback.as_ref().map(|fallback| FallbackWire {
                    from: fallback.from.as_str().into(),
                    reason: fallback.reason.as_str().into(),
                }),
                redirected: connect.redirected.as_deref().map(Cow::Borrowed),
            });
        }
        Command::Subscribe(subscribe) => {
            wire.subscribe = Some(SubscribeWire {
                channel: subscribe.channel.as_str().into(),
                cursor: subscribe.cursor.as_deref().map(Cow::Borrowed),
                last: subscribe.last,
                acked: subscribe.acked,
            });
        }
        Command::Unsubscribe { channel } => {
            wire.unsubscribe = Some(ChannelWire { channel: channel.as_str().into() });
        }
        Command::Publish(item) => wire.publish = Some(publish_wire(item)),
        Command::PublishBatch { events } => {
            let events = events.iter().map(publish_wire).collect();
            wire.publish_batch = Some(PublishBatchWire { events });
        }
        Command::Ack(ack) => {
            wire.ack = Some(AckWire {
                channel: ack.channel.as_str().into(),
                cursor: ack.cursor.as_str().into(),
                reset: ack.reset,
            });
        }
        Command::History(history) => {
            wire.history = Some(HistoryRequestWire {
                channel: history.channel.as_str().into(),
                after: history.after.as_deref().map(Cow::Borrowed),
                last: history.last,
                limit: history.limit,
            });
        }
        Command::Refresh { token } => {
            wire.refresh = Some(RefreshWire { token: token.as_str().into() });
        }
        Command::Ping => wire.ping = Some(Empty {}),
        Command::Pong => wire.pong = Some(Empty {}),
        Command::Unknown | Command::Invalid => {}
    }
    wire
}

fn publish_wire<'a, R: RawRef<'a>>(item: &'a PublishItem) -> PublishWire<'a, R> {
    let media_type = item.content.content_type.as_deref().unwrap_or("application/json");
    let members = R::members(media_type, &item.content.data);
    PublishWire {
        channel: item.channel.as_str().into(),
        id: item.id.as_deref().map(Cow::Borrowed),
        kind: (item.kind == EventKind::Remove).then_some("remove".into()),
        key: item.key.as_deref().map(Cow::Borrowed),
        headers: (!item.headers.is_empty()).then_some(Cow::Borrowed(&item.headers)),
        content_type: item.content.content_type.as_deref().map(Cow::Borrowed),
        encoding: encoding_wire(item.encoding),
        trace: item.trace.as_deref().map(Cow::Borrowed),
        age_ms: item.age_ms,
        data: members.data,
        text: members.text,
        bin: members.bin,
    }
}
