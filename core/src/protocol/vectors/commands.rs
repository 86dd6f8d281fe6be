//! What clients say.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::protocol::message::*;
use crate::vocabulary::{Encoding, EventKind};

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

type Named = (&'static str, Command);

fn channel() -> String {
    "flights:SFO".to_owned()
}

fn cursor() -> Option<String> {
    Some("1.global.1.3.8340".to_owned())
}

fn connects() -> Vec<Named> {
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
    vec![
        ("connect", Command::Connect(connect)),
        ("connect_bare", Command::Connect(Connect { protocol: 1, ..Connect::default() })),
    ]
}

/// Came later: numbers of the others stay.
fn redirected() -> Command {
    let redirected = Connect {
        protocol: 1,
        token: Some("eyJh".into()),
        redirected: Some("drain".into()),
        ..Connect::default()
    };
    Command::Connect(redirected)
}

fn subscriptions() -> Vec<Named> {
    vec![
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
    ]
}

fn publishes() -> Vec<Named> {
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
    vec![
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
    ]
}

/// What names a position.
fn positions() -> Vec<Named> {
    vec![
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
    ]
}

pub(super) fn commands() -> Vec<(&'static str, CommandFrame)> {
    let last = vec![
        ("refresh", Command::Refresh { token: "eyJh".into() }),
        ("ping_command", Command::Ping),
        ("connect_redirected", redirected()),
    ];
    let mut out: Vec<_> = [connects(), subscriptions(), publishes(), positions(), last]
        .into_iter()
        .flatten()
        .zip(1..)
        .map(|((name, command), id)| (name, CommandFrame { id: Some(id), command }))
        .collect();
    out.push(("pong_answer", CommandFrame { id: None, command: Command::Pong }));
    out
}
