//! Coming back: from the ring, from history, past retention, after a restart and after a crash, on
//! either transport.

use std::time::Duration;

use meridian_client::{From, Publish, Transport, Update};
use serde_json::{Value, json};

use crate::client::{builder, connect, next_ids, token};
use crate::node::{Node, eventually_async, in_time};
use crate::peer::{Peer, id_of};

/// A namespace that keeps few events.
const SHORT: &str = "[namespaces.short]\nsubscribe = ['tenant']\npublish = ['tenant']\n";

fn other(transport: Transport) -> Transport {
    match transport {
        Transport::WebSocket => Transport::WebTransport,
        Transport::WebTransport => Transport::WebSocket,
    }
}

/// Publishes `0` to `count - 1`; the cursor of each.
async fn publish_many(node: &Node, channel: &str, count: usize) -> Vec<String> {
    let client = connect(node, Transport::WebSocket, "writer").await;
    let publishes = (0..count).map(|n| {
        let event = Publish::json(channel, n.to_string()).id(n.to_string());
        client.publish(event)
    });
    let mut cursors = Vec::with_capacity(count);
    for publish in publishes.collect::<Vec<_>>() {
        cursors.push(publish.await.expect("acknowledged").cursor.expect("a cursor"));
    }
    cursors
}

fn ids(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|n| n.to_string()).collect()
}

/// Takes `count` events, which may come in many pushes.
async fn take(peer: &mut Peer, channel: &str, count: usize) -> Vec<String> {
    peer.event_ids(channel, count).await
}

on_both! {
    async fn a_dropped_client_finds_what_it_missed_on_the_other_transport(transport: Transport) {
        let node = Node::start("").await;
        let channel = "room:drop";
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        peer.subscribe(channel, json!({})).await;
        let cursors = publish_many(&node, channel, 10).await;
        assert_eq!(take(&mut peer, channel, 10).await, ids(0..10));
        drop(peer);
        for n in 10..20 {
            let mut writer = Peer::connect(&node, transport, &token("ann")).await;
            writer.publish(channel, &n.to_string()).await;
        }
        let mut peer = Peer::connect(&node, other(transport), &token("ann")).await;
        peer.subscribe(channel, json!({ "cursor": cursors[9] })).await;
        assert_eq!(take(&mut peer, channel, 10).await, ids(10..20));
    }

    async fn a_client_from_before_the_ring_gets_all_from_history(transport: Transport) {
        let node = Node::start("[hub]\nring_events = 4\n").await;
        let channel = "room:past-ring";
        let mut follower = Peer::connect(&node, transport, &token("bob")).await;
        follower.subscribe(channel, json!({})).await;
        let cursors = publish_many(&node, channel, 600).await;
        assert_eq!(take(&mut follower, channel, 600).await, ids(0..600));
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        peer.subscribe(channel, json!({ "cursor": cursors[0] })).await;
        assert_eq!(take(&mut peer, channel, 599).await, ids(1..600));
    }

    async fn a_client_from_before_retention_is_told_of_the_gap(transport: Transport) {
        let short = format!("{SHORT}history = {{ events = 5 }}\n[hub]\nring_events = 2\n");
        let mut node = Node::start(&short).await;
        let channel = "short:gap";
        let cursors = publish_many(&node, channel, 50).await;
        // What is hot serves longer than the history keeps; a new process has only the history.
        node.kill();
        node.restart().await;
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        let first = cursors[0].as_str();
        let gone = eventually_gone(&mut peer, channel, first).await;
        let subscribed = peer.subscribe(channel, json!({ "cursor": first })).await;
        let gap = peer.find("a gap", |m| m["gap"]["channel"] == channel).await["gap"].take();
        assert_eq!(gap["reason"], "retention");
        assert_eq!(gap["from"], first);
        assert_eq!(gap["stream"], subscribed["stream"]);
        // Retention may have gone on since.
        assert!(gap["offset"].as_i64() >= gone.as_i64(), "{gap}");
        let events = peer.events_until(channel, "49").await;
        let got: Vec<_> = events.iter().map(id_of).collect();
        assert_eq!(got, ids(50 - got.len()..50));
        assert!(got.len() < 49, "{got:?}");
        assert!(events[0]["prev"].as_i64() <= gap["offset"].as_i64());
        assert!(events[0]["offset"].as_i64() > gap["offset"].as_i64());
        peer.publish(channel, "on").await;
        assert_eq!(peer.event_ids(channel, 1).await, ["on"]);
    }

    async fn the_client_library_reports_a_gap_in_its_place(transport: Transport) {
        let short = format!("{SHORT}history = {{ events = 5 }}\n[hub]\nring_events = 2\n");
        let mut node = Node::start(&short).await;
        let channel = "short:gap";
        let cursors = publish_many(&node, channel, 50).await;
        // What is hot serves longer than the history keeps; a new process has only the history.
        node.kill();
        node.restart().await;
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        eventually_gone(&mut peer, channel, &cursors[0]).await;
        let client = connect(&node, transport, "ann").await;
        let from = From::Cursor(cursors[0].clone());
        let mut room = client.subscribe(channel, from).await.expect("a subscription");
        let update = in_time("the gap", room.next()).await;
        let Some(Update::Gap(gap)) = update else { panic!("{update:?}") };
        assert_eq!((gap.reason.as_str(), &gap.from), ("retention", &cursors[0]));
        let mut got = next_ids(&mut room, 1).await;
        while got.last().is_none_or(|id| id != "49") {
            got.extend(next_ids(&mut room, 1).await);
        }
        assert_eq!(got, ids(50 - got.len()..50));
    }

    async fn events_older_than_their_age_are_a_gap(transport: Transport) {
        let short = format!("{SHORT}history = {{ age_ms = 1000 }}\n[hub]\nlinger_ms = 0\n");
        let node = Node::start(&short).await;
        let channel = "short:age";
        let cursors = publish_many(&node, channel, 5).await;
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        eventually_gone(&mut peer, channel, &cursors[0]).await;
        peer.subscribe(channel, json!({ "cursor": cursors[0] })).await;
        let gap = peer.find("a gap", |m| m["gap"]["channel"] == channel).await;
        assert_eq!(gap["gap"]["reason"], "retention");
        peer.publish(channel, "on").await;
        let events = peer.events_until(channel, "on").await;
        assert!(events.len() < 5, "{events:?}");
    }

    async fn a_client_goes_on_after_a_restart_and_after_a_crash(transport: Transport) {
        let mut node = Node::start("[drain]\ndeadline_ms = 500\nspread_ms = 100\n").await;
        let channel = "room:restart";
        let mut cursors = publish_many(&node, channel, 20).await;
        node.terminate();
        assert!(node.ended(Duration::from_secs(10)).await.success());
        node.restart().await;
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        peer.subscribe(channel, json!({ "cursor": cursors[4] })).await;
        assert_eq!(take(&mut peer, channel, 15).await, ids(5..20));
        cursors.push(peer.publish(channel, "20").await);
        node.kill();
        node.restart().await;
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        peer.subscribe(channel, json!({ "cursor": cursors[4] })).await;
        assert_eq!(take(&mut peer, channel, 16).await, ids(5..21));
        peer.publish(channel, "21").await;
        assert_eq!(take(&mut peer, channel, 1).await, ["21"]);
    }

    async fn the_client_library_goes_on_by_itself_after_a_crash(transport: Transport) {
        let mut node = Node::start_lasting("[limits]\nheartbeat_ms = 1000\n").await;
        let client = builder(&node, transport).token(token("ann")).connect().await;
        let client = client.expect("a connection");
        let mut room = client.subscribe("room:crash", From::Now).await.expect("a subscription");
        for n in 0..3 {
            client.publish(Publish::json("room:crash", "1").id(n.to_string())).await.expect("stored");
        }
        assert_eq!(next_ids(&mut room, 3).await, ids(0..3));
        node.kill();
        let publishing = client.publish(Publish::json("room:crash", "1").id("3"));
        let (published, ()) = tokio::join!(publishing, node.restart());
        published.expect("stored after the restart");
        assert_eq!(next_ids(&mut room, 1).await, ids(3..4));
    }

    async fn cursors_that_cannot_be_are_refused_with_their_code(transport: Transport) {
        let node = Node::start("").await;
        let channel = "room:cursors";
        let cursor = publish_many(&node, channel, 1).await.remove(0);
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        let parts: Vec<&str> = cursor.split('.').collect();
        let [version, log, epoch, partition, offset] = parts[..] else { panic!("{cursor}") };
        let beyond = (1_i64 << 53) - 1;
        let elsewhere = (partition.parse::<u32>().expect("a number") + 1) % 8;
        for (text, code) in [
            (format!("{version}.other.{epoch}.{partition}.{offset}"), "foreign_cursor"),
            (format!("{version}.{log}.{epoch}.{elsewhere}.{offset}"), "foreign_cursor"),
            (format!("{version}.{log}.{epoch}.4000000.{offset}"), "foreign_cursor"),
            (format!("{version}.{log}.{epoch}.{partition}.1000000"), "cursor_beyond_end"),
            (format!("{version}.{log}.{epoch}.{partition}.{beyond}"), "cursor_beyond_end"),
            (format!("{version}.{log}.2.{partition}.0"), "cursor_beyond_end"),
            (format!("{version}.{log}.4000000000.{partition}.0"), "cursor_beyond_end"),
            (format!("{version}.{log}.0.{partition}.0"), "bad_cursor"),
            (format!("2.{log}.{epoch}.{partition}.{offset}"), "bad_cursor"),
            (format!("{version}.{log}.{epoch}.{partition}.-2"), "bad_cursor"),
            (format!("{version}.{log}.{epoch}.{partition}.0{offset}"), "bad_cursor"),
            (format!("{version}.{log}.{epoch}.{partition}.{}", 1_i64 << 53), "bad_cursor"),
            (format!("{version}.{log}.{epoch}.{partition}"), "bad_cursor"),
            (format!("{cursor}."), "bad_cursor"),
            (format!(" {cursor}"), "bad_cursor"),
            (String::new(), "bad_cursor"),
            ("\u{0}".to_owned(), "bad_cursor"),
            ("9".repeat(100_000), "bad_cursor"),
        ] {
            let start = json!({ "channel": channel, "cursor": text });
            assert_eq!(peer.refusal("subscribe", start).await, code, "{text}");
            let history = json!({ "channel": channel, "after": text });
            assert_eq!(peer.refusal("history", history).await, code, "{text}");
        }
        peer.subscribe(channel, json!({ "cursor": format!("{version}.{log}.{epoch}.{partition}.-1") })).await;
        assert_eq!(peer.event_ids(channel, 1).await, ["0"]);
    }

    async fn another_channels_cursor_of_the_same_partition_is_a_position(transport: Transport) {
        let node = Node::start("").await;
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        let partition = |cursor: &str| cursor.rsplit_once('.').map(|(stream, _)| stream.to_owned());
        let first = peer.publish("room:a", "a-0").await;
        let mut sibling = None;
        for n in 0..200 {
            let channel = format!("room:b-{n}");
            let cursor = peer.publish(&channel, "b-0").await;
            if partition(&cursor) == partition(&first) {
                sibling = Some((channel, cursor));
                break;
            }
        }
        let (channel, cursor) = sibling.expect("two of 200 channels share one of 8 partitions");
        let between = peer.publish("room:a", "a-1").await;
        peer.publish(&channel, "b-1").await;
        peer.subscribe(&channel, json!({ "cursor": first })).await;
        assert_eq!(peer.event_ids(&channel, 2).await, ["b-0", "b-1"]);
        peer.subscribe("room:a", json!({ "cursor": cursor })).await;
        assert_eq!(peer.event_ids("room:a", 1).await, ["a-1"]);
        peer.ask("unsubscribe", json!({ "channel": channel })).await;
        peer.subscribe(&channel, json!({ "cursor": between })).await;
        assert_eq!(peer.event_ids(&channel, 1).await, ["b-1"]);
    }
}

/// Waits until retention has removed what follows the cursor; up to which offset it has.
async fn eventually_gone(peer: &mut Peer, channel: &str, cursor: &str) -> Value {
    let peer = tokio::sync::Mutex::new(peer);
    eventually_async("retention", || async {
        let request = json!({ "channel": channel, "after": cursor, "limit": 100 });
        let page = peer.lock().await.ask("history", request).await;
        let gone = &page["history"]["gone"];
        gone["offset"].is_i64().then(|| gone["offset"].clone())
    })
    .await
}
