//! Clients that take what they are sent slowly, or not at all: they cost only themselves.

use meridian_client::{Publish, Transport};
use serde_json::{Value, json};

use crate::canary::Canary;
use crate::client::{connect, token};
use crate::node::Node;
use crate::peer::{Peer, id_of};

const EVENTS: usize = 400;
const EVENT_BYTES: usize = 32 * 1024;
const READERS: usize = 20;

/// Publishes `EVENTS` large events.
async fn flood(node: &Node, channel: &str) {
    let client = connect(node, Transport::WebSocket, "writer").await;
    let text = "x".repeat(EVENT_BYTES);
    for first in (0..EVENTS).step_by(16) {
        let batch = (first..first + 16)
            .map(|n| Publish::text(channel, text.clone()).id(n.to_string()))
            .collect();
        let results = client.publish_batch(batch).await.expect("an answer");
        assert!(results.iter().all(Result::is_ok), "{results:?}");
    }
}

on_both! {
    async fn readers_that_do_not_read_cost_little_and_get_all_later(transport: Transport) {
        let node = Node::start("[hub]\nring_events = 32\n").await;
        let canary = Canary::start(&node).await;
        let channel = "room:flood";
        flood(&node, channel).await;
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let mut reader = Peer::connect(&node, transport, &token("sleeper")).await;
            reader.subscribe(channel, json!({})).await;
            readers.push(reader);
        }
        let before_kib = node.resident_kib();
        let again = "room:flood";
        let client = connect(&node, Transport::WebSocket, "writer").await;
        let text = "y".repeat(EVENT_BYTES);
        for first in (0..EVENTS).step_by(16) {
            let batch = (first..first + 16)
                .map(|n| Publish::text(again, text.clone()).id(format!("again-{n}")))
                .collect();
            client.publish_batch(batch).await.expect("an answer");
        }
        let grown_kib = node.resident_kib().saturating_sub(before_kib);
        println!("{:?}, {grown_kib} KiB more", canary.finish().await);
        // Kept for each it would be 250 MiB.
        assert!(grown_kib < 64 * 1024, "{grown_kib} KiB more for {READERS} readers");
        for mut reader in readers.drain(..).step_by(READERS / 2) {
            let got = reader.event_ids(channel, EVENTS).await;
            let wanted: Vec<_> = (0..EVENTS).map(|n| format!("again-{n}")).collect();
            assert_eq!(got, wanted);
        }
    }

    async fn one_that_read_too_late_is_told_of_the_gap(transport: Transport) {
        let short = "[namespaces.short]\nsubscribe = ['tenant']\npublish = ['tenant']\n\
                     history = { events = 5 }\n[hub]\nring_events = 4\n";
        let node = Node::start(short).await;
        let channel = "short:flood";
        let mut reader = Peer::connect(&node, transport, &token("sleeper")).await;
        let subscribed = reader.subscribe(channel, json!({})).await;
        flood(&node, channel).await;
        // Every event or an explicit gap, to the end.
        let mut position = subscribed["offset"].as_i64().expect("an offset");
        let (mut events, mut gaps) = (0, 0);
        loop {
            let message = reader.find("news", |m| m["events"].is_object() || m["gap"].is_object()).await;
            if let Some(offset) = message["gap"]["offset"].as_i64() {
                assert!(offset > position, "{message}");
                position = offset;
                gaps += 1;
                continue;
            }
            let Some(new) = message["events"]["events"].as_array() else { panic!("{message}") };
            for event in new {
                let prev = event["prev"].as_i64().unwrap_or(-1);
                let offset = event["offset"].as_i64().expect("an offset");
                assert!(prev <= position && position < offset, "a hole before {}", id_of(event));
                position = offset;
                events += 1;
            }
            if new.last().map(id_of) == Some((EVENTS - 1).to_string()) {
                break;
            }
        }
        println!("{events} events, {gaps} gaps");
        assert!(events == EVENTS || gaps > 0);
    }

    async fn replies_that_nobody_reads_are_bounded(transport: Transport) {
        let node = Node::start("").await;
        let channel = "room:history";
        flood(&node, channel).await;
        let canary = Canary::start(&node).await;
        let before_kib = node.resident_kib();
        let mut peers = Vec::new();
        for _ in 0..12 {
            let mut peer = Peer::connect(&node, transport, &token("mallory")).await;
            let history = json!({ "id": 1, "history": { "channel": channel, "last": 1000 } });
            let frame = Value::from(vec![history; 400]).to_string();
            peer.send(frame.as_bytes()).await.expect("sent");
            peers.push(peer);
        }
        // They are answered as far as they are read: one reads some.
        for _ in 0..3 {
            let reply = peers[0].reply(1).await;
            let page = &reply["history"];
            assert!(page["events"].as_array().is_some_and(|events| !events.is_empty()));
        }
        println!("{:?}", canary.finish().await);
        let grown_kib = node.resident_kib().saturating_sub(before_kib);
        println!("{grown_kib} KiB more");
        // Each request loads 13 MiB to find where the newest begin, and 4,800 were made.
        assert!(grown_kib < 192 * 1024, "{grown_kib} KiB more");
    }

    async fn an_ephemeral_reader_that_is_too_slow_is_told_how_many_it_missed(transport: Transport) {
        let node = Node::start("").await;
        let channel = "typing:flood";
        let mut reader = Peer::connect(&node, transport, &token("sleeper")).await;
        reader.subscribe(channel, json!({})).await;
        let client = connect(&node, Transport::WebSocket, "writer").await;
        let text = "x".repeat(EVENT_BYTES);
        for _ in 0..EVENTS / 16 * 2 {
            let batch = (0..16).map(|_| Publish::text(channel, text.clone())).collect();
            let results = client.publish_batch(batch).await.expect("an answer");
            assert!(results.iter().all(Result::is_ok), "{results:?}");
        }
        let (mut events, mut skipped) = (0, 0);
        while events + skipped < (EVENTS / 16 * 32) as u64 {
            let message = reader.find("news", |m| m["events"].is_object() || m["skipped"].is_object()).await;
            skipped += message["skipped"]["count"].as_u64().unwrap_or(0);
            events += message["events"]["events"].as_array().map_or(0, |events| events.len() as u64);
        }
        println!("{events} events, {skipped} skipped");
        assert!(skipped > 0);
        assert_eq!(events + skipped, (EVENTS / 16 * 32) as u64);
    }
}
