//! A log that begins anew while the history stays: cursors of the epoch before it are good, and whoever
//! holds one is told that the log is another.

use std::time::Duration;

use meridian_client::{From, Publish, Transport, Update};
use meridian_core::vocabulary::{Cursor, Epoch, Position};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::client::{builder, next_ids, token};
use crate::node::{Node, in_time};
use crate::peer::Peer;

const QUICK: &str = "[drain]\ndeadline_ms = 500\nspread_ms = 100\n[limits]\nheartbeat_ms = 1000\n";
const CHANNEL: &str = "room:anew";

/// Stops the node, gives its log another epoch without any record, and starts it again.
async fn begin_anew(node: &mut Node) {
    node.terminate();
    assert!(node.ended(Duration::from_secs(10)).await.success());
    let file = SqliteConnectOptions::new().filename(node.data().join("log.sqlite"));
    let mut log = file.connect().await.expect("the log's file");
    for step in [
        "UPDATE incarnation SET epoch = epoch + 1, identity = lower(hex(randomblob(16)))",
        "UPDATE partitions SET begin_offset = 0, next_offset = 0, time_ms = 0",
        "DELETE FROM batches",
    ] {
        sqlx::query(step).execute(&mut log).await.expect("a step");
    }
    log.close().await.expect("closed");
    node.restart().await;
}

/// A node whose log is in its second epoch, and the cursors of `a`, `b` and `c` in the first.
async fn second_epoch() -> (Node, Vec<Cursor>) {
    let mut node = Node::start(QUICK).await;
    let mut peer = Peer::connect(&node, Transport::WebSocket, &token("ann")).await;
    let mut cursors = Vec::new();
    for id in ["a", "b", "c"] {
        cursors.push(Cursor::parse(&peer.publish(CHANNEL, id).await).expect("a cursor"));
    }
    drop(peer);
    begin_anew(&mut node).await;
    (node, cursors)
}

/// The same place of the log at another position.
fn at(cursor: &Cursor, epoch: u32, passed: i64) -> String {
    let position = Position { epoch: Epoch(epoch), passed };
    Cursor { position, ..cursor.clone() }.to_string()
}

async fn acknowledge(peer: &mut Peer, cursor: &str) {
    let reply = peer.ask("ack", json!({ "channel": CHANNEL, "cursor": cursor })).await;
    assert!(reply["acked"].is_object(), "{reply}");
}

/// What comes on the channel: ids of events, reasons of gaps.
async fn story(peer: &mut Peer, until: &str) -> Vec<String> {
    let mut story: Vec<String> = Vec::new();
    while story.last().is_none_or(|last| last != until) {
        let message = peer.next().await.expect("the session goes on");
        let events = message["events"]["events"].as_array().into_iter().flatten();
        let ids = events.map(|event| text(&event["id"]).to_owned());
        let gap = message["gap"]["reason"].as_str().map(|reason| format!("gap: {reason}"));
        story.extend(ids.chain(gap));
    }
    story
}

on_both! {
    async fn a_cursor_of_an_older_epoch_goes_on_into_the_new_one(transport: Transport) {
        let (node, cursors) = second_epoch().await;
        let [a, _, c] = &cursors[..] else { panic!("{cursors:?}") };
        let mut writer = Peer::connect(&node, Transport::WebSocket, &token("ann")).await;
        writer.publish(CHANNEL, "d").await;
        for (cursor, wanted) in [
            (at(a, 1, -1), &["a", "b", "c", "gap: epoch", "d"][..]),
            (a.to_string(), &["b", "c", "gap: epoch", "d"]),
            (c.to_string(), &["gap: epoch", "d"]),
            // Beyond where the older epoch ended is before everything of the new one.
            (at(c, 1, 1_000_000), &["gap: epoch", "d"]),
            (at(c, 2, -1), &["d"]),
        ] {
            let mut peer = Peer::connect(&node, transport, &token("ann")).await;
            peer.subscribe(CHANNEL, json!({ "cursor": cursor })).await;
            assert_eq!(story(&mut peer, "d").await, wanted, "{cursor}");
        }
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        for cursor in [at(c, 2, 1_000_000), at(c, 3, -1)] {
            let start = json!({ "channel": CHANNEL, "cursor": cursor });
            assert_eq!(peer.refusal("subscribe", start).await, "cursor_beyond_end", "{cursor}");
        }
    }

    async fn the_chain_crosses_epochs_and_gaps_name_both(transport: Transport) {
        let (node, cursors) = second_epoch().await;
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        let c = cursors[2].to_string();
        let subscribed = peer.subscribe(CHANNEL, json!({ "cursor": c })).await;
        assert_eq!(subscribed["epoch"], 1);
        assert_eq!(format!("{}.{}", text(&subscribed["stream"]), subscribed["offset"]), c);
        let d = peer.publish(CHANNEL, "d").await;
        let gap = peer.find("the gap", |message| message["gap"].is_object()).await["gap"].take();
        assert_eq!((&gap["from"], &gap["epoch"], &gap["offset"]), (&json!(c), &json!(2), &json!(-1)));
        let push = peer.find("events", |message| message["events"].is_object()).await;
        let (push, event) = (&push["events"], &push["events"]["events"][0]);
        assert_eq!((&push["epoch"], &push["stream"]), (&json!(2), &gap["stream"]));
        assert_eq!(event["prev"], json!([1, cursors[2].position.passed]), "{event}");
        assert_eq!(format!("{}.{}", text(&push["stream"]), event["offset"]), d);
    }

    async fn history_is_read_through_the_change_of_epoch(transport: Transport) {
        let (node, cursors) = second_epoch().await;
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        peer.subscribe(CHANNEL, json!({})).await;
        peer.publish(CHANNEL, "d").await;
        peer.events_until(CHANNEL, "d").await;
        let (mut after, mut story) = (at(&cursors[0], 1, -1), Vec::new());
        // The history may come to know of the newest event a moment later than who follows.
        while story.last().is_none_or(|last| last != "d") {
            let request = json!({ "channel": CHANNEL, "after": after });
            let page = peer.ask("history", request).await["history"].take();
            if page["gone"].is_object() {
                assert_eq!(page["gone"], json!({ "reason": "epoch", "epoch": 2, "offset": -1 }));
                story.push("gone".to_owned());
            }
            story.extend(ids(&page));
            after = format!("{}.{}", text(&page["stream"]), page["offset"]);
        }
        assert_eq!(story, ["a", "b", "c", "gone", "d"]);
        let newest = peer.ask("history", json!({ "channel": CHANNEL, "last": 10 })).await;
        let newest = &newest["history"];
        assert_eq!((ids(newest), &newest["more"]), (["a", "b", "c"].map(str::to_owned).to_vec(), &json!(true)));
    }

    async fn an_acknowledged_position_of_an_older_epoch_is_taken_up(transport: Transport) {
        let mut node = Node::start(QUICK).await;
        let ann = token("ann");
        let acked = json!({ "acked": true });
        let mut peer = Peer::subscriber(&node, transport, &ann, "kiosk").await;
        peer.subscribe(CHANNEL, acked.clone()).await;
        let a = peer.publish(CHANNEL, "a").await;
        peer.publish(CHANNEL, "b").await;
        peer.events_until(CHANNEL, "b").await;
        acknowledge(&mut peer, &a).await;
        drop(peer);
        begin_anew(&mut node).await;
        let mut peer = Peer::subscriber(&node, transport, &ann, "kiosk").await;
        peer.subscribe(CHANNEL, acked.clone()).await;
        let c = peer.publish(CHANNEL, "c").await;
        assert_eq!(story(&mut peer, "c").await, ["b", "gap: epoch", "c"]);
        // The older epoch's is the lower one, whatever its offset.
        for cursor in [&c, &at(&Cursor::parse(&a).expect("a cursor"), 1, 1_000_000)] {
            acknowledge(&mut peer, cursor).await;
        }
        let mut peer = Peer::subscriber(&node, transport, &ann, "kiosk").await;
        peer.subscribe(CHANNEL, acked).await;
        peer.publish(CHANNEL, "d").await;
        assert_eq!(story(&mut peer, "d").await, ["d"]);
    }

    async fn the_client_library_tells_of_a_new_epoch_and_goes_on(transport: Transport) {
        let mut node = Node::start_lasting(QUICK).await;
        let client = builder(&node, transport).token(token("ann")).connect().await.expect("a connection");
        let mut room = client.subscribe(CHANNEL, From::Now).await.expect("a subscription");
        client.publish(Publish::json(CHANNEL, "1").id("a")).await.expect("stored");
        assert_eq!(next_ids(&mut room, 1).await, ["a"]);
        begin_anew(&mut node).await;
        client.publish(Publish::json(CHANNEL, "1").id("b")).await.expect("stored");
        let update = in_time("the gap", room.next()).await;
        let Some(Update::Gap(gap)) = update else { panic!("{update:?}") };
        assert_eq!(gap.reason, "epoch");
        assert_eq!(next_ids(&mut room, 1).await, ["b"]);
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

fn ids(page: &Value) -> Vec<String> {
    let events = page["events"].as_array().expect("events");
    events.iter().map(|event| text(&event["id"]).to_owned()).collect()
}
