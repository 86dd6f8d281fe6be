//! The window of duplicates over the wire: a retry is the same event where fewer than W records of its
//! partition lie between the two, and a second event beyond.

use meridian_client::Transport;
use meridian_core::vocabulary::Cursor;
use serde_json::{Value, json};

use crate::client::token;
use crate::node::Node;
use crate::peer::Peer;

/// W of the embedded log.
const WINDOW: i64 = 1 << 17;
const BATCH: usize = 4096;

/// One partition, filled by few large commands; nobody reads what fills it.
const NARROW: &str = "[storage]\npartitions = 1\n[limits]\nbatch_events = 4096\n\
    [namespaces.fill]\npublish = ['tenant']\nhistory = { events = 1 }\n";

/// Publishes and succeeds; the offset up to which the log had it.
async fn publish(peer: &mut Peer, id: &str) -> i64 {
    offset(&peer.publish("room:window", id).await)
}

fn offset(cursor: &str) -> i64 {
    Cursor::parse(cursor).expect("a cursor").position.passed
}

/// Appends so many records that nobody published before.
async fn fill(peer: &mut Peer, mut count: usize) {
    while count > 0 {
        let events = vec![json!({ "channel": "fill:x" }); count.min(BATCH)];
        let reply = peer.ask("publish_batch", json!({ "events": events })).await;
        let results = reply["published_batch"]["results"].as_array().expect("results");
        assert!(results.iter().all(|result| result["cursor"].is_string()), "{:?}", results.first());
        count -= results.len();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_within_the_window_is_one_event_and_beyond_it_a_second() {
    let node = Node::start(NARROW).await;
    let mut reader = Peer::connect(&node, Transport::WebSocket, &token("reader")).await;
    reader.subscribe("room:window", json!({})).await;
    let mut peer = Peer::connect(&node, Transport::WebSocket, &token("ann")).await;
    let old = publish(&mut peer, "old").await;
    publish(&mut peer, "between").await;
    let young = publish(&mut peer, "young").await;
    fill(&mut peer, WINDOW as usize - 2).await;
    // W records lie between the first and its retry, W - 1 between the second and its own.
    assert_eq!(publish(&mut peer, "old").await - old, WINDOW + 1);
    assert_eq!(publish(&mut peer, "young").await - young, WINDOW);
    let end = publish(&mut peer, "end").await;
    let events = reader.events_until("room:window", "end").await;
    let seen: Vec<(&str, i64)> = events.iter().map(fact).collect();
    let again = old + WINDOW + 1;
    let wanted =
        [("old", old), ("between", old + 1), ("young", young), ("old", again), ("end", end)];
    assert_eq!(seen, wanted);
}

fn fact(event: &Value) -> (&str, i64) {
    (event["id"].as_str().expect("an id"), event["offset"].as_i64().expect("an offset"))
}
