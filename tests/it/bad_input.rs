//! What no honest client sends: each gets its code or a bounded end, and others never notice.

use meridian_client::Transport;
use serde_json::{Value, json};

use crate::client::token;
use crate::node::Node;
use crate::peer::{Opening, Peer};

/// One client's frame in a WebSocket, with what one wants to break.
fn websocket_frame(first: u8, mask: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(mask | len as u8),
        len => {
            frame.push(mask | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
    }
    if mask != 0 {
        frame.extend_from_slice(&[0; 4]);
    }
    [&frame[..], payload].concat()
}

/// Sends bytes on a connected session and checks how it ends.
async fn assert_ends(node: &Node, transport: Transport, bytes: &[u8], code: u64, what: &str) {
    let mut peer = Peer::connect(node, transport, &token("mallory")).await;
    // A server that has seen enough may close before the rest is sent.
    let _ = peer.send_bytes(bytes).await;
    assert_eq!(peer.closed().await.0, code, "{what}");
}

const MALFORMED: u64 = 4001;
const FRAME_TOO_LARGE: u64 = 4002;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_websocket_frames_end_the_session_with_a_code() {
    let node = Node::start("").await;
    let ping = br#"{"id":1,"ping":{}}"#;
    let interleaved =
        [websocket_frame(0x01, 0x80, b"{"), websocket_frame(0x81, 0x80, b"{}")].concat();
    for (what, bytes, code) in [
        ("no mask", websocket_frame(0x81, 0, ping), MALFORMED),
        ("a reserved bit", websocket_frame(0xc1, 0x80, ping), MALFORMED),
        ("a reserved opcode", websocket_frame(0x83, 0x80, ping), MALFORMED),
        ("binary on a text session", websocket_frame(0x82, 0x80, ping), MALFORMED),
        ("a continuation of nothing", websocket_frame(0x80, 0x80, ping), MALFORMED),
        ("a message inside a message", interleaved, MALFORMED),
        ("a fragmented ping", websocket_frame(0x09, 0x80, b"x"), MALFORMED),
        ("a large ping", websocket_frame(0x89, 0x80, &[0; 126]), MALFORMED),
        (
            "a huge length",
            vec![0x81, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255],
            FRAME_TOO_LARGE,
        ),
        ("a length over the limit", vec![0x81, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 1], FRAME_TOO_LARGE),
    ] {
        assert_ends(&node, Transport::WebSocket, &bytes, code, what).await;
    }
    let fragments: Vec<u8> =
        (0..40).flat_map(|n| websocket_frame(u8::from(n == 0), 0x80, &[b'['; 60_000])).collect();
    let what = "fragments over the limit";
    assert_ends(&node, Transport::WebSocket, &fragments, FRAME_TOO_LARGE, what).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_webtransport_frames_end_the_session_with_a_code() {
    let node = Node::start("").await;
    for (what, bytes, code) in [
        ("a huge length", vec![0xff; 8], FRAME_TOO_LARGE),
        ("a length over the limit", vec![0x80, 0x10, 0, 1], FRAME_TOO_LARGE),
        ("an empty frame", vec![0], MALFORMED),
        ("not JSON", vec![3, b'a', b'b', b'c'], MALFORMED),
    ] {
        assert_ends(&node, Transport::WebTransport, &bytes, code, what).await;
    }
}

on_both! {
    async fn frames_that_are_no_message_end_the_session_with_a_code(transport: Transport) {
        let node = Node::start("").await;
        let deep = |opening: &str, closing: &str, depth| opening.repeat(depth) + &closing.repeat(depth);
        let with = |data: &str| format!(r#"{{"id":1,"publish":{{"channel":"room:x","data":{data}}}}}"#);
        for (what, frame, code) in [
            ("nothing", Vec::new(), MALFORMED),
            ("no JSON", b"hello".to_vec(), MALFORMED),
            ("cut off", br#"{"id":1,"ping":{"#.to_vec(), MALFORMED),
            ("two values", br#"{"id":1,"ping":{}}{"id":2,"ping":{}}"#.to_vec(), MALFORMED),
            ("a number", b"7".to_vec(), MALFORMED),
            ("a string", br#""ping""#.to_vec(), MALFORMED),
            ("null", b"null".to_vec(), MALFORMED),
            ("no UTF-8", vec![b'{', 0xff, 0xfe, b'}'], MALFORMED),
            ("nested arrays", deep("[", "]", 100_000).into_bytes(), MALFORMED),
            ("nested objects", deep(r#"{"a":"#, "}", 100_000).into_bytes(), MALFORMED),
            ("an open nest", "[".repeat(500_000).into_bytes(), MALFORMED),
            ("over the limit", vec![b' '; 1_048_577], FRAME_TOO_LARGE),
        ] {
            let mut peer = Peer::connect(&node, transport, &token("mallory")).await;
            let _ = peer.send(&frame).await;
            assert_eq!(peer.closed().await.0, code, "{what}");
        }
        // A payload is the publisher's affair: too deep a one is refused, and the session goes on.
        let mut peer = Peer::connect(&node, transport, &token("mallory")).await;
        peer.send(with(&deep("[", "]", 20_000)).as_bytes()).await.expect("sent");
        let first = peer.next().await;
        let refused = first.as_ref().is_ok_and(|reply| reply["error"]["code"] == "bad_payload");
        let closed = first.as_ref().is_err_and(|closed| closed.0 == MALFORMED);
        assert!(refused || closed, "{first:?}");
    }

    async fn commands_that_cannot_be_are_refused_and_the_session_goes_on(transport: Transport) {
        let node = Node::start("").await;
        let mut peer = Peer::connect(&node, transport, &token("mallory")).await;
        for (command, code) in [
            (json!({ "id": 1, "fly": {} }), "unsupported"),
            (json!({ "id": 1 }), "unsupported"),
            (json!({ "id": 1, "connect": { "protocol": 1 } }), "already_connected"),
            (json!({ "id": 1, "subscribe": "room:x" }), "bad_request"),
            (json!({ "id": 1, "subscribe": {} }), "bad_request"),
            (json!({ "id": 1, "publish": { "channel": 1 } }), "bad_request"),
            (json!({ "id": 1, "publish_batch": { "events": 1 } }), "bad_request"),
            (json!({ "id": 1, "ack": { "channel": "room:x" } }), "bad_request"),
            (json!({ "id": 1, "refresh": {} }), "bad_request"),
        ] {
            peer.send(command.to_string().as_bytes()).await.expect("sent");
            let reply = peer.next().await.expect("the session goes on");
            assert_eq!(reply["error"]["code"], code, "{command}: {reply}");
            assert_eq!(reply["id"], 1);
        }
        let unknown_fields = json!({ "channel": "room:x", "data": 1, "mood": "good", "id": "a" });
        let reply = peer.ask("publish", unknown_fields).await;
        assert!(reply["published"].is_object(), "{reply}");
        // No id, no answer; what is not understood without one is passed over.
        for silent in [json!({ "ping": {} }), json!({ "pong": {} })] {
            peer.send(silent.to_string().as_bytes()).await.expect("sent");
        }
        assert!(peer.ask("ping", json!({})).await["pong"].is_object());
    }

    async fn ids_that_are_no_ids_do_not_harm(transport: Transport) {
        let node = Node::start("").await;
        for id in ["\"1\"", "-1", "1.5", "{}", "18446744073709551616", "null"] {
            let mut peer = Peer::connect(&node, transport, &token("mallory")).await;
            peer.send(format!(r#"{{"id":{id},"ping":{{}}}}"#).as_bytes()).await.expect("sent");
            let _ = peer.send(br#"{"id":5,"ping":{}}"#).await;
            // Either passed over, or refused, or the end with a code.
            loop {
                match peer.next().await {
                    Ok(reply) if reply["id"] == 5 => break,
                    Ok(reply) => assert!(reply["error"].is_object() || reply["pong"].is_object(), "{reply}"),
                    Err(closed) => {
                        assert_eq!(closed.0, MALFORMED, "{id}");
                        break;
                    }
                }
            }
        }
    }

    async fn connect_must_come_first_and_in_time(transport: Transport) {
        let node = Node::start("[limits]\nhandshake_timeout_ms = 1000\n").await;
        let mut peer = Peer::open(&node, transport).await;
        for command in ["subscribe", "publish", "unsubscribe"] {
            let body = json!({ "channel": "room:x" });
            assert_eq!(peer.refusal(command, body).await, "not_connected");
        }
        let newest = json!({ "protocol": 0, "token": token("ann") });
        assert_eq!(peer.refusal("connect", newest).await, "unsupported");
        let reply = peer.ask("connect", json!({ "protocol": 99, "token": token("ann") })).await;
        assert_eq!(reply["connected"]["protocol"], 1, "{reply}");

        let mut silent = Peer::open(&node, transport).await;
        assert_eq!(silent.closed().await, (4007, "connect_timeout".to_owned()));
        let mut talker = Peer::open(&node, transport).await;
        for _ in 0..3 {
            talker.send(br#"{"id":1,"ping":{}}"#).await.expect("sent");
        }
        assert_eq!(talker.closed().await, (4007, "connect_timeout".to_owned()));
    }

    async fn commands_before_connected_are_worked_off_in_order(transport: Transport) {
        let node = Node::start("").await;
        let mut peer = Peer::open(&node, transport).await;
        let frame = json!([
            { "id": 1, "connect": { "protocol": 1, "token": token("ann") } },
            { "id": 2, "subscribe": { "channel": "room:early" } },
            { "id": 3, "publish": { "channel": "room:early", "id": "a", "data": 1 } },
        ]);
        peer.send(frame.to_string().as_bytes()).await.expect("sent");
        for (id, member) in [(1, "connected"), (2, "subscribed"), (3, "published")] {
            let reply = peer.reply(id).await;
            assert!(reply[member].is_object(), "{reply}");
        }
    }

    async fn one_that_sends_too_fast_is_told_and_then_closed(transport: Transport) {
        let node = Node::start("[limits]\ncommands_per_s = 10\ncommands_burst = 20\n").await;
        let mut peer = Peer::connect(&node, transport, &token("mallory")).await;
        let frame = Value::from(vec![json!({ "id": 7, "ping": {} }); 50]).to_string();
        peer.send(frame.as_bytes()).await.expect("sent");
        let refused = peer.find("a refusal", |m| m["error"].is_object()).await;
        assert_eq!(refused["error"]["code"], "rate_limited");
        assert_eq!(refused["error"]["action"], "retry");
        assert_eq!(refused["error"]["limit"], 10);
        assert!(refused["error"]["retry_after_ms"].as_u64().is_some_and(|ms| ms <= 200), "{refused}");
        for _ in 0..10 {
            let _ = peer.send(frame.as_bytes()).await;
        }
        assert_eq!(peer.closed().await, (4042, "rate_limited".to_owned()));
    }

    async fn one_that_is_silent_is_asked_and_then_closed(transport: Transport) {
        let node = Node::start("[limits]\nheartbeat_ms = 1000\n").await;
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        let ping = peer.next().await.expect("a ping");
        assert_eq!(ping, json!({ "ping": {} }));
        peer.send(br#"{"pong":{}}"#).await.expect("sent");
        peer.next().await.expect("a ping");
        assert_eq!(peer.closed().await, (4008, "heartbeat_timeout".to_owned()));
    }

    async fn unknown_codecs_and_addresses_are_refused(transport: Transport) {
        let node = Node::start("").await;
        let refused = Opening::new().query("codec=xml").open(&node, transport).await;
        assert!(refused.is_err());
        let peer = Opening::new().query("codec=json&surprise=1").open(&node, transport).await;
        assert!(peer.is_ok());
    }
}
