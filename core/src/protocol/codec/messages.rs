//! What servers send, from the wire's form. Reads no bytes itself.

use super::{DecodeError, Raw, content, encoding};
use crate::protocol::message::{
    Connected, EventView, GapPush, HistoryPage, Message, ModePush, Place, Published, Redirect,
    ReplyError, Subscribed,
};
use crate::protocol::wire::{
    ConnectedWire, ErrorWire, EventWire, EventsWire, HistoryPageWire, MessageWire, PlaceWire,
    PrevWire, RedirectWire, SubscribedWire,
};
use crate::protocol::{Action, Code};
use crate::vocabulary::{Body, Epoch, EventKind, Offset, Position, Prev};

pub(super) fn message<R: Raw>(wire: MessageWire<'_, R>) -> Result<Message, DecodeError> {
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
