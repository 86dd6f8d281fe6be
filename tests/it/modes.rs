//! A node that gives less than its whole service: who is told, what is refused, and that it ends without a
//! trace.

use std::collections::HashSet;
use std::time::Duration;

use meridian_client::Transport;
use serde_json::{Value, json};

use crate::client::token;
use crate::node::{Node, eventually_async, in_time};
use crate::peer::Peer;
use crate::request::{Answer, Request};
use crate::web::Ask;

const BOARD: &str =
    "[namespaces.board]\nsubscribe = ['tenant']\npublish = ['tenant']\npolling_ms = 1\n";

async fn put(node: &Node, body: Value) -> Answer {
    let request = Request::new("POST", "/ops/v1/mode").by_operator();
    let request = request.body("application/json", body.to_string());
    in_time("the answer", request.send(node.admin)).await.expect("an answer")
}

async fn mode_of(peer: &mut Peer) -> Value {
    peer.find("a mode", |message| message["mode"].is_object()).await["mode"].take()
}

async fn latest(node: &Node, channel: &str) -> Answer {
    let path = format!("/v1/channels/{channel}/latest");
    let request =
        Request::new("GET", &path).header("Authorization", &format!("Bearer {}", token("poller")));
    in_time("the answer", request.send(node.client)).await.expect("an answer")
}

on_both! {
    async fn read_only_refuses_publishes_and_nothing_else(transport: Transport) {
        let node = Node::start(BOARD).await;
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        peer.subscribe("room:a", json!({})).await;
        peer.publish("room:a", "e1").await;
        let ask = json!({ "mode": "read-only", "reason": "an upgrade" });
        let answer = put(&node, ask).await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "mode": "read-only", "namespaces": {} })));
        assert_eq!(mode_of(&mut peer).await["mode"], "read-only");
        let event = json!({ "channel": "room:a", "id": "e2", "data": 1 });
        let refused = peer.ask("publish", event.clone()).await["error"].take();
        assert_eq!((&refused["code"], &refused["action"]), (&json!("read_only"), &json!("stop")));
        let over_http = Request::publish(&token("ann"), &event).send(node.client).await;
        over_http.expect("an answer").assert_problem(503, "read_only");
        // Who comes now is told as well, and reads what there is.
        let mut later = Peer::connect(&node, transport, &token("ben")).await;
        assert_eq!(mode_of(&mut later).await["mode"], "read-only");
        later.subscribe("room:a", json!({ "last": 5 })).await;
        assert_eq!(later.event_ids("room:a", 1).await, ["e1"]);
        // One namespace may go on.
        put(&node, json!({ "mode": "normal", "namespace": "room", "reason": "urgent" })).await;
        assert_eq!(mode_of(&mut peer).await["namespaces"], json!({ "room": "normal" }));
        peer.publish("room:a", "e3").await;
        assert_eq!(peer.event_ids("room:a", 2).await, ["e1", "e3"]);
        assert_eq!(peer.refusal("publish", json!({ "channel": "board:a", "id": "x" })).await, "read_only");
        put(&node, json!({ "mode": null, "namespace": "room", "reason": "over" })).await;
        put(&node, json!({ "mode": "normal", "reason": "over" })).await;
        let after = peer.find("the end", |message| message["mode"]["mode"] == "normal").await;
        assert_eq!(after["mode"]["namespaces"], Value::Null);
        peer.publish("board:a", "e4").await;
        let mut last = Peer::connect(&node, transport, &token("cid")).await;
        last.publish("room:a", "e5").await;
        assert!(last.held().iter().all(|message| message["mode"].is_null()), "there is nothing to tell");
    }

    async fn every_session_is_told_its_own_moment(transport: Transport) {
        let node = Node::start(BOARD).await;
        let mut peers = Vec::new();
        for n in 0..30 {
            peers.push(Peer::connect(&node, transport, &token(&format!("user-{n}"))).await);
        }
        let ask = json!({ "mode": "polling-only", "spread_ms": 60_000, "reason": "too many" });
        assert_eq!(put(&node, ask).await.status, 200);
        let mut moments = HashSet::new();
        for peer in &mut peers {
            let told = mode_of(peer).await;
            assert_eq!(told["mode"], "polling-only");
            moments.insert(told["after_ms"].as_u64().expect("a time"));
            // Who stays is served.
            peer.publish("room:a", "e").await;
        }
        // Workers number their sessions apart, so two may share a moment.
        assert!(moments.len() >= 12 && moments.iter().all(|after| *after < 60_000), "{moments:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pollers_are_told_in_a_header_and_requests_in_a_message() {
    let node = Node::start(BOARD).await;
    assert_eq!(latest(&node, "board:a").await.header("meridian-mode"), Some("normal"));
    put(&node, json!({ "mode": "polling-only", "namespace": "board", "reason": "x" })).await;
    let polled = latest(&node, "board:a").await;
    assert_eq!((polled.status, polled.header("meridian-mode")), (200, Some("polling-only")));
    let refused = latest(&node, "room:a").await;
    assert_eq!((refused.status, refused.header("meridian-mode")), (400, Some("normal")));
    // A long poll tells what stands, and does not end for it.
    let ask = |query: &str| Ask::get(&node, &format!("/v1/poll?{query}")).token(&token("ann"));
    let (status, first) = ask("channel=board:a&wait_ms=300").whole().await;
    assert_eq!(
        (status, &first["messages"][0]["mode"]["namespaces"]["board"]),
        (200, &json!("polling-only"))
    );
    let cursor = first["cursors"]["board:a"].as_str().expect("a cursor");
    let waiting = ask(&format!("channel=board:a&cursor={cursor}&wait_ms=60000"));
    let waiting = tokio::spawn(async move { waiting.whole().await });
    eventually_async("the poll to wait", || async {
        (node.metric("meridian_connections", "longpoll").await == 1.0).then_some(())
    })
    .await;
    put(&node, json!({ "mode": "degraded", "namespace": "board", "reason": "x" })).await;
    let (_, answer) = in_time("the poll", waiting).await.expect("no panic");
    let modes = answer["messages"].as_array().expect("messages");
    assert_eq!(modes.last().expect("a message")["mode"]["namespaces"]["board"], "degraded");
    // So does an event stream, to who comes.
    let mut stream = Ask::get(&node, "/v1/sse?channel=board:a").token(&token("ann")).send().await;
    let mut text = String::new();
    while !text.contains("event: mode\ndata: {\"mode\":") {
        let bytes = in_time("the stream", stream.next()).await.expect("more");
        text.push_str(std::str::from_utf8(&bytes).expect("UTF-8"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mode_may_be_configured_and_is_changed_by_operators_only() {
    let node = Node::start(&format!("{BOARD}mode = 'read-only'\n")).await;
    let mut peer = Peer::connect(&node, Transport::WebSocket, &token("ann")).await;
    assert_eq!(mode_of(&mut peer).await["namespaces"], json!({ "board": "read-only" }));
    assert_eq!(
        peer.refusal("publish", json!({ "channel": "board:a", "id": "x" })).await,
        "read_only"
    );
    let send =
        |request: Request| async { request.send(node.admin).await.expect("an answer").status };
    let change = |request: Request| {
        request.body("application/json", json!({ "mode": "normal", "reason": "x" }).to_string())
    };
    let post = || Request::new("POST", "/ops/v1/mode");
    assert_eq!(send(change(post())).await, 401);
    let client = format!("Bearer {}", token("ann"));
    assert_eq!(send(change(post().header("Authorization", &client))).await, 403);
    assert_eq!(send(Request::new("GET", "/ops/v1/mode")).await, 401);
    let operator = || post().by_operator();
    assert_eq!(send(operator().body("text/plain", "{}")).await, 405);
    assert_eq!(put(&node, json!({ "mode": "normal" })).await.status, 400);
    assert_eq!(put(&node, json!({ "mode": "off", "reason": "x" })).await.status, 400);
    assert_eq!(
        put(&node, json!({ "mode": "normal", "namespace": "x", "reason": "x" })).await.status,
        404
    );
    let read = Request::new("GET", "/ops/v1/mode").by_operator().send(node.admin).await;
    assert_eq!(read.expect("an answer").json()["namespaces"], json!({ "board": "read-only" }));
    put(&node, json!({ "mode": null, "namespace": "board", "reason": "the upgrade is over" }))
        .await;
    peer.publish("board:a", "e1").await;
    eventually_async("the log to say who and why", || async {
        let log = node.log();
        let line = log.lines().find(|line| line.contains("the mode is changed"))?;
        (line.contains("the upgrade is over") && line.contains("actor=")).then_some(())
    })
    .await;
    tokio::time::timeout(Duration::from_secs(5), peer.ask("ping", json!({})))
        .await
        .expect("a pong");
}
