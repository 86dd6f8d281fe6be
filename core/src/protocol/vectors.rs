//! Golden vectors: the bytes of each message in both codecs, as files that the JavaScript code reads
//! too. `MERIDIAN_WRITE_VECTORS=1 cargo test -p meridian-core vectors` writes them anew after a
//! change of the protocol; the diff shows what a deployed client would meet.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::message::*;
use super::{
    Action, Code, Codec, decode_commands, decode_messages, encode_command, encode_message,
};
use crate::vocabulary::{Body, Encoding, Epoch, EventKind, Offset, Position, Prev};

#[derive(Serialize, Deserialize)]
struct Vector {
    name: String,
    direction: String,
    message: Box<RawValue>,
    json: String,
    msgpack: String,
}

fn content(data: &str) -> Content {
    Content { data: Bytes::copy_from_slice(data.as_bytes()), content_type: None }
}

fn item(data: &str) -> PublishItem {
    PublishItem {
        channel: "flights:SFO".into(),
        id: Some("0194-a7".into()),
        content: content(data),
        ..PublishItem::default()
    }
}

fn commands() -> Vec<(&'static str, CommandFrame)> {
    let channel = || "flights:SFO".to_owned();
    let cursor = || Some("1.global.1.3.8340".to_owned());
    let connect = Connect {
        protocol: 1,
        token: Some("eyJh".into()),
        capabilities: vec!["gap".into()],
        subscriber: Some("kiosk-7".into()),
        client: Some("meridian-js/0.1.0".into()),
        reconnect: Some("network".into()),
        fallback: Some(Fallback { from: "webtransport".into(), reason: "timeout".into() }),
        redirected: None,
    };
    let redirected = Connect {
        protocol: 1,
        token: Some("eyJh".into()),
        redirected: Some("drain".into()),
        ..Connect::default()
    };
    let full = PublishItem {
        key: Some("UA123".into()),
        kind: EventKind::Remove,
        headers: BTreeMap::from([("source".into(), "gate".into())]),
        content: Content {
            data: Bytes::from_static(b"\xff\0"),
            content_type: Some("image/x".into()),
        },
        trace: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
        age_ms: 1500,
        ..item("")
    };
    let text = PublishItem {
        content: Content {
            data: Bytes::from_static("späť \"x\"\n".as_bytes()),
            content_type: Some("text/plain".into()),
        },
        ..item("")
    };
    let list = [
        ("connect", Command::Connect(connect)),
        ("connect_bare", Command::Connect(Connect { protocol: 1, ..Connect::default() })),
        (
            "subscribe_now",
            Command::Subscribe(Subscribe { channel: channel(), ..Subscribe::default() }),
        ),
        (
            "subscribe_cursor",
            Command::Subscribe(Subscribe {
                channel: channel(),
                cursor: cursor(),
                ..Subscribe::default()
            }),
        ),
        (
            "subscribe_last",
            Command::Subscribe(Subscribe {
                channel: channel(),
                last: Some(20),
                ..Subscribe::default()
            }),
        ),
        (
            "subscribe_acked",
            Command::Subscribe(Subscribe {
                channel: channel(),
                acked: true,
                ..Subscribe::default()
            }),
        ),
        ("unsubscribe", Command::Unsubscribe { channel: channel() }),
        ("publish", Command::Publish(item(r#"{"to":"LAX","n":[1,2.50,null]}"#))),
        ("publish_null", Command::Publish(item("null"))),
        (
            "publish_empty",
            Command::Publish(PublishItem { channel: channel(), ..PublishItem::default() }),
        ),
        ("publish_text", Command::Publish(text)),
        ("publish_full", Command::Publish(full)),
        (
            "publish_encrypted",
            Command::Publish(PublishItem { encoding: Encoding::Encrypted, ..item("1") }),
        ),
        ("publish_batch", Command::PublishBatch { events: vec![item("1"), item("2")] }),
        (
            "ack",
            Command::Ack(Ack {
                channel: channel(),
                cursor: "1.global.1.3.8341".into(),
                reset: false,
            }),
        ),
        (
            "ack_reset",
            Command::Ack(Ack { channel: channel(), cursor: "1.global.1.3.-1".into(), reset: true }),
        ),
        (
            "history_after",
            Command::History(HistoryRequest {
                channel: channel(),
                after: cursor(),
                limit: Some(100),
                last: None,
            }),
        ),
        (
            "history_last",
            Command::History(HistoryRequest {
                channel: channel(),
                last: Some(5),
                ..HistoryRequest::default()
            }),
        ),
        ("refresh", Command::Refresh { token: "eyJh".into() }),
        ("ping_command", Command::Ping),
        ("connect_redirected", Command::Connect(redirected)),
    ];
    let mut out: Vec<_> = list
        .into_iter()
        .zip(1..)
        .map(|((name, command), id)| (name, CommandFrame { id: Some(id), command }))
        .collect();
    out.push(("pong_answer", CommandFrame { id: None, command: Command::Pong }));
    out
}

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

fn messages() -> Vec<(&'static str, Message)> {
    let channel = || "flights:SFO".to_owned();
    let stream = || "1.global.1.3".to_owned();
    let connected = Connected {
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
    };
    let subscribed = |position, behind| Subscribed {
        channel: channel(),
        class: "strict".into(),
        at: Some((stream(), position)),
        behind,
    };
    let forbidden = || ReplyError::of(Code::Forbidden);
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
    let page = HistoryPage {
        channel: channel(),
        stream: stream(),
        position: at(1, 8341),
        events: vec![view(8341, Prev::At(at(1, 8340)), body(r#"{"to":"LAX"}"#))],
        gone: Some(("retention".into(), at(1, 8200))),
        more: true,
    };
    vec![
        ("connected", Message::Connected(Some(1), Box::new(connected))),
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
        ("skipped", Message::Skipped { channel: "cursors:doc1".into(), count: 17 }),
        ("drain", Message::Drain { after_ms: 2300, deadline_ms: 20000 }),
        ("ping", Message::Ping),
    ]
}

/// Messages that send a client elsewhere.
fn redirects() -> Vec<(&'static str, Message)> {
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
fn modes() -> Vec<(&'static str, Message)> {
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

fn all_messages() -> impl Iterator<Item = (&'static str, Message)> {
    messages().into_iter().chain(redirects()).chain(modes())
}

fn path(direction: &str, name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/vectors/{direction}-{name}.json"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares with the file, or writes it where that is asked for.
fn check(direction: &str, name: &str, json: Vec<u8>, msgpack: &[u8]) {
    let json = String::from_utf8(json).unwrap();
    let path = path(direction, name);
    if std::env::var_os("MERIDIAN_WRITE_VECTORS").is_some() {
        let vector = Vector {
            name: name.into(),
            direction: direction.into(),
            message: RawValue::from_string(json.clone()).unwrap(),
            json,
            msgpack: hex(msgpack),
        };
        std::fs::write(&path, serde_json::to_string_pretty(&vector).unwrap() + "\n").unwrap();
        return;
    }
    let stored: Vector = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(
        (stored.json.as_str(), stored.msgpack.as_str()),
        (json.as_str(), hex(msgpack).as_str()),
        "{name}"
    );
}

#[test]
fn commands_match_their_vectors() {
    for (name, frame) in commands() {
        let [json, msgpack] = Codec::ALL.map(|codec| encode_command(codec, &frame));
        for (codec, bytes) in [(Codec::Json, &json), (Codec::MessagePack, &msgpack)] {
            assert_eq!(decode_commands(codec, bytes), Ok(vec![frame.clone()]), "{name}");
        }
        check("client", name, json, &msgpack);
    }
}

#[test]
fn messages_match_their_vectors() {
    for (name, message) in all_messages() {
        let [json, msgpack] = Codec::ALL.map(|codec| encode_message(codec, &message));
        for (codec, bytes) in [(Codec::Json, &json), (Codec::MessagePack, &msgpack)] {
            assert_eq!(decode_messages(codec, bytes), Ok(vec![message.clone()]), "{name}");
        }
        check("server", name, json, &msgpack);
    }
}

#[test]
fn every_vector_file_is_checked() {
    let expected = commands().len() + all_messages().count();
    let files = std::fs::read_dir(path("x", "y").parent().unwrap()).unwrap().count();
    assert_eq!(files, expected, "a vector file without a message, or the other way round");
}
