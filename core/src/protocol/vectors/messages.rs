//! What servers say.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::protocol::message::*;
use crate::protocol::{Action, Code};
use crate::vocabulary::{Body, Epoch, EventKind, Offset, Position, Prev};

fn view(offset: u64, prev: Prev, body: Body) -> EventView {
    EventView {
        at: Some((Offset(offset), prev)),
        time_ms: 1_764_000_000_000,
        id: Some("a1".into()),
        body,
    }
}

fn body(data: &str) -> Body {
    Body { data: Bytes::copy_from_slice(data.as_bytes()), ..Body::default() }
}

fn events(views: Vec<EventView>) -> Message {
    Message::Events {
        channel: "flights:SFO".into(),
        stream: Some("1.global.2.3".into()),
        epoch: Some(Epoch(2)),
        events: views,
    }
}

fn at(epoch: u32, passed: i64) -> Position {
    Position { epoch: Epoch(epoch), passed }
}

type Named = (&'static str, Message);

fn channel() -> String {
    "flights:SFO".to_owned()
}

fn stream() -> String {
    "1.global.1.3".to_owned()
}

fn forbidden() -> ReplyError {
    ReplyError::of(Code::Forbidden)
}

fn connected() -> Connected {
    Connected {
        protocol: 1,
        session: "n1-2-77".into(),
        node: "n1".into(),
        region: "local".into(),
        tenant: "demo".into(),
        user: "ann".into(),
        capabilities: vec![],
        expires_in_ms: Some(3_540_000),
        limits: Limits {
            event_bytes: 65536,
            frame_bytes: 1 << 20,
            batch_events: 128,
            channels: 1024,
            commands_per_s: 200,
            commands_burst: 2048,
            heartbeat_ms: 25000,
            publish_horizon_ms: 86_400_000,
        },
    }
}

fn subscriptions() -> Vec<Named> {
    let subscribed = |position, behind| Subscribed {
        channel: channel(),
        class: "strict".into(),
        at: Some((stream(), position)),
        behind,
    };
    vec![
        ("connected", Message::Connected(Some(1), Box::new(connected()))),
        ("subscribed", Message::Subscribed(Some(2), subscribed(at(1, 8340), None))),
        (
            "subscribed_behind",
            Message::Subscribed(None, subscribed(at(1, 8340), Some("1.global.1.3.8100".into()))),
        ),
        ("subscribed_start", Message::Subscribed(Some(3), subscribed(at(1, -1), None))),
        (
            "subscribed_ephemeral",
            Message::Subscribed(
                Some(4),
                Subscribed {
                    channel: "cursors:doc1".into(),
                    class: "ephemeral".into(),
                    at: None,
                    behind: None,
                },
            ),
        ),
        (
            "unsubscribed",
            Message::Unsubscribed {
                id: Some(6),
                channel: channel(),
                code: "requested".into(),
                action: Action::Stop,
            },
        ),
        (
            "unsubscribed_push",
            Message::Unsubscribed {
                id: None,
                channel: channel(),
                code: "forbidden".into(),
                action: Action::Stop,
            },
        ),
    ]
}

fn replies() -> Vec<Named> {
    let page = HistoryPage {
        channel: channel(),
        stream: stream(),
        position: at(1, 8341),
        events: vec![view(8341, Prev::At(at(1, 8340)), body(r#"{"to":"LAX"}"#))],
        gone: Some(("retention".into(), at(1, 8200))),
        more: true,
    };
    vec![
        ("published", Message::Published { id: Some(7), cursor: Some("1.global.1.3.8341".into()) }),
        ("published_ephemeral", Message::Published { id: Some(7), cursor: None }),
        (
            "published_batch",
            Message::PublishedBatch {
                id: Some(8),
                results: vec![
                    Published::Stored { cursor: Some("1.global.1.3.8342".into()) },
                    Published::Refused(forbidden()),
                ],
            },
        ),
        ("acked", Message::Acked { id: Some(9), channel: channel() }),
        ("history", Message::History(Some(10), page)),
        ("refreshed", Message::Refreshed { id: Some(11), expires_in_ms: Some(3_600_000) }),
        ("pong", Message::Pong { id: Some(12) }),
        ("error", Message::Error(Some(2), forbidden())),
        (
            "error_retry",
            Message::Error(Some(2), ReplyError::of(Code::RateLimited).retry_after(250).limit(200)),
        ),
        (
            "error_not_yet",
            Message::Error(
                Some(2),
                ReplyError::of(Code::NotYet).applied("1.global.1.3.8100".into()),
            ),
        ),
        ("error_frame", Message::Error(None, ReplyError::of(Code::Malformed))),
    ]
}

fn deliveries() -> Vec<Named> {
    let rich = Body {
        key: Some("UA123".into()),
        headers: BTreeMap::from([("source".into(), "gate".into())]),
        content_type: Some("image/x".into()),
        data: Bytes::from_static(b"\xff\0"),
        publisher: Some("bob".into()),
        ..Body::default()
    };
    let text = Body {
        content_type: Some("text/plain".into()),
        data: "späť \"x\"\n".into(),
        ..Body::default()
    };
    vec![
        (
            "events",
            events(vec![view(
                8342,
                Prev::At(at(2, 8341)),
                body(r#"{"to":"LAX","n":[1,2.50,null]}"#),
            )]),
        ),
        (
            "events_prevs",
            events(vec![
                view(3, Prev::None, body("1")),
                view(4, Prev::At(at(1, 77)), body("null")),
                view(5, Prev::Unknown, body("")),
            ]),
        ),
        (
            "events_kinds",
            events(vec![
                view(
                    6,
                    Prev::None,
                    Body { kind: EventKind::Remove, key: Some("UA123".into()), ..Body::default() },
                ),
                view(7, Prev::At(at(2, 6)), Body::unreadable()),
            ]),
        ),
        ("events_rich", events(vec![view(8, Prev::None, rich), view(9, Prev::At(at(2, 8)), text)])),
        (
            "events_ephemeral",
            Message::Events {
                channel: "cursors:doc1".into(),
                stream: None,
                epoch: None,
                events: vec![EventView {
                    at: None,
                    time_ms: 1_764_000_000_000,
                    id: None,
                    body: body(r#"{"x":1}"#),
                }],
            },
        ),
    ]
}

fn announcements() -> Vec<Named> {
    vec![
        (
            "gap",
            Message::Gap(GapPush {
                channel: channel(),
                reason: "retention".into(),
                from: "1.global.1.3.12".into(),
                stream: stream(),
                position: at(1, 8200),
            }),
        ),
        ("skipped", Message::Skipped { channel: "cursors:doc1".into(), count: 17 }),
        ("drain", Message::Drain { after_ms: 2300, deadline_ms: 20000 }),
        ("ping", Message::Ping),
    ]
}

/// Values of a feed.
fn feeds() -> Vec<Named> {
    vec![
        (
            "values",
            Message::Values {
                channel: channel(),
                stream: stream(),
                epoch: Epoch(2),
                events: vec![
                    view(
                        6,
                        Prev::None,
                        Body { key: Some("UA123".into()), ..body(r#"{"alt":9000}"#) },
                    ),
                    view(
                        9,
                        Prev::None,
                        Body {
                            kind: EventKind::Remove,
                            key: Some("UA7".into()),
                            ..Body::default()
                        },
                    ),
                ],
            },
        ),
        (
            "conflated",
            Message::Conflated { channel: channel(), stream: stream(), position: at(2, 12) },
        ),
        (
            "events_evicts",
            events(vec![view(
                13,
                Prev::At(at(2, 9)),
                Body { key: Some("UA9".into()), evicts: vec!["UA123".into()], ..body("1") },
            )]),
        ),
    ]
}

/// Messages that send a client elsewhere.
fn redirects() -> Vec<Named> {
    let place = |url: &str, region: Option<&str>| Place {
        url: url.into(),
        region: region.map(str::to_owned),
    };
    let us = || place("https://us.example", Some("us"));
    let redirect =
        Redirect { place: us(), reason: "drain".into(), after_ms: 2300, deadline_ms: Some(20000) };
    let bare = Redirect {
        place: place("https://us.example", None),
        reason: "overload".into(),
        after_ms: 0,
        deadline_ms: None,
    };
    let zone = ReplyError::of(Code::WrongRegion)
        .elsewhere(vec![us(), place("https://ap.example:8443", Some("ap"))]);
    let overload = ReplyError::of(Code::TooManySessions).elsewhere(vec![us()]);
    vec![
        ("redirect", Message::Redirect(redirect)),
        ("redirect_bare", Message::Redirect(bare)),
        ("error_zone", Message::Error(Some(2), zone)),
        ("error_overload", Message::Error(Some(1), overload)),
    ]
}

/// What is told of a node that gives less than its whole service.
fn modes() -> Vec<Named> {
    let namespaces = [("board", "polling-only"), ("orders", "normal")];
    let namespaces = namespaces.map(|(name, mode)| (name.to_owned(), mode.to_owned())).into();
    let mode = ModePush { mode: "read-only".into(), namespaces, after_ms: 2300 };
    let bare = ModePush { mode: "normal".into(), namespaces: BTreeMap::new(), after_ms: 0 };
    let refused = Message::Error(Some(7), ReplyError::of(Code::ReadOnly));
    vec![
        ("mode", Message::Mode(mode)),
        ("mode_bare", Message::Mode(bare)),
        ("error_read_only", refused),
    ]
}

pub(super) fn messages() -> Vec<Named> {
    let parts =
        [subscriptions(), replies(), deliveries(), announcements(), feeds(), redirects(), modes()];
    parts.into_iter().flatten().collect()
}
