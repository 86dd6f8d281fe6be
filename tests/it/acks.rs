//! Acknowledged positions of named subscribers.

use meridian_client::{Client, From, Publish, Subscription, Transport};
use serde_json::{Value, json};

use crate::client::{next_ids, token};
use crate::node::{Node, eventually_async};
use crate::peer::Peer;

/// Publishes and takes these events; the cursor of each.
async fn publish_and_take(peer: &mut Peer, channel: &str, ids: &[&str]) -> Vec<String> {
    let mut cursors = Vec::new();
    for id in ids {
        cursors.push(peer.publish(channel, id).await);
    }
    assert_eq!(peer.event_ids(channel, ids.len()).await, ids);
    cursors
}

async fn ack(peer: &mut Peer, channel: &str, cursor: &str) {
    let reply = peer.ask("ack", json!({ "channel": channel, "cursor": cursor })).await;
    assert_eq!(reply["acked"]["channel"], channel, "{reply}");
}

/// What a new session of the subscriber gets first.
async fn resumed(node: &Node, transport: Transport, channel: &str, count: usize) -> Vec<String> {
    let mut peer = Peer::subscriber(node, transport, &token("ann"), "kiosk").await;
    peer.subscribe(channel, json!({ "acked": true })).await;
    peer.event_ids(channel, count).await
}

/// Publishes events and takes them; the cursor of each.
pub(crate) async fn take_new(
    client: &Client,
    room: &mut Subscription,
    ids: &[&str],
) -> Vec<String> {
    let mut cursors = Vec::new();
    for &id in ids {
        let event = Publish::json(room.channel(), "1").id(id);
        let stored = client.publish(event).await.expect("acknowledged");
        cursors.push(stored.cursor.expect("a cursor"));
    }
    assert_eq!(next_ids(room, ids.len()).await, ids);
    cursors
}

/// A subscriber that knows nothing, once its region has heard of this acknowledged position.
pub(crate) async fn resumed_at(
    connect: impl AsyncFn() -> Client,
    channel: &str,
    cursor: &str,
) -> (Client, Subscription) {
    eventually_async("the acknowledged position", || async {
        let client = connect().await;
        let room = client.subscribe(channel, From::Acked).await.expect("a subscription");
        (room.cursor() == Some(cursor)).then_some((client, room))
    })
    .await
}

/// A subscriber that changes between two regions (0 and 1) and keeps nothing but its name.
pub(crate) async fn go_on_with_nothing_but_a_name(connect: impl AsyncFn(usize) -> Client) {
    let channel = "room:acks";
    let at = |region: usize| {
        let connect = &connect;
        async move || connect(region).await
    };
    let client = connect(0).await;
    let mut room = client.subscribe(channel, From::Now).await.expect("a subscription");
    let cursors = take_new(&client, &mut room, &["a", "b", "c", "d"]).await;
    client.ack(channel, &cursors[0]).await.expect("acknowledged");
    // Waits for its turn, and goes when its session ends.
    client.ack(channel, &cursors[1]).await.expect("acknowledged");
    drop((room, client));

    let (client, mut room) = resumed_at(at(1), channel, &cursors[1]).await;
    assert_eq!(next_ids(&mut room, 2).await, ["c", "d"]);
    client.ack(channel, &cursors[3]).await.expect("acknowledged");
    drop((room, client));

    let (client, mut room) = resumed_at(at(0), channel, &cursors[3]).await;
    take_new(&client, &mut room, &["e"]).await;
    client.reset_ack(channel, &cursors[0]).await.expect("acknowledged");
    let (_client, mut room) = resumed_at(at(1), channel, &cursors[0]).await;
    assert_eq!(next_ids(&mut room, 4).await, ["b", "c", "d", "e"]);
}

on_both! {
    async fn a_subscriber_goes_on_behind_what_it_acknowledged(transport: Transport) {
        let mut node = Node::start("").await;
        let channel = "room:acks";
        let mut peer = Peer::subscriber(&node, transport, &token("ann"), "kiosk").await;
        peer.subscribe(channel, json!({ "acked": true })).await;
        let cursors = publish_and_take(&mut peer, channel, &["a", "b", "c", "d"]).await;
        ack(&mut peer, channel, &cursors[1]).await;
        assert_eq!(resumed(&node, transport, channel, 2).await, ["c", "d"]);
        // The session before was told, and is over.
        assert_eq!(peer.closed().await, (4046, "taken_over".to_owned()));
        node.kill();
        node.restart().await;
        assert_eq!(resumed(&node, transport, channel, 2).await, ["c", "d"]);
    }

    async fn a_lower_position_is_ignored_unless_it_is_a_reset(transport: Transport) {
        let node = Node::start("").await;
        let channel = "room:acks";
        let mut peer = Peer::subscriber(&node, transport, &token("ann"), "kiosk").await;
        peer.subscribe(channel, json!({})).await;
        let cursors = publish_and_take(&mut peer, channel, &["a", "b", "c"]).await;
        ack(&mut peer, channel, &cursors[1]).await;
        ack(&mut peer, channel, &cursors[0]).await;
        assert_eq!(resumed(&node, transport, channel, 1).await, ["c"]);
        let mut peer = Peer::subscriber(&node, transport, &token("ann"), "kiosk").await;
        peer.subscribe(channel, json!({ "last": 1 })).await;
        let reset = json!({ "channel": channel, "cursor": cursors[0], "reset": true });
        assert!(peer.ask("ack", reset).await["acked"].is_object());
        assert_eq!(resumed(&node, transport, channel, 2).await, ["b", "c"]);
    }

    async fn with_the_newest_where_nothing_was_acknowledged(transport: Transport) {
        let node = Node::start("").await;
        // The newest are those that the region has applied, which an acknowledged publish may not be yet.
        let mut writer = Peer::connect(&node, transport, &token("writer")).await;
        writer.subscribe("room:acks", json!({})).await;
        publish_and_take(&mut writer, "room:acks", &["a", "b", "c"]).await;
        let mut peer = Peer::subscriber(&node, transport, &token("ann"), "kiosk").await;
        peer.subscribe("room:acks", json!({ "acked": true, "last": 2 })).await;
        assert_eq!(peer.event_ids("room:acks", 2).await, ["b", "c"]);
    }

    async fn acks_that_cannot_be_are_refused_with_their_code(transport: Transport) {
        let node = Node::start("").await;
        let mut writer = Peer::connect(&node, transport, &token("writer")).await;
        let mut peer = Peer::subscriber(&node, transport, &token("ann"), "kiosk").await;
        let subscribed = peer.subscribe("room:acks", json!({})).await;
        let held = publish_and_take(&mut peer, "room:acks", &["a"]).await.remove(0);
        let stream = subscribed["stream"].as_str().expect("a stream");
        let ahead = format!("{stream}.1000000");
        let foreign = "1.global.1.99.0";
        let other = "1.elsewhere.1.0.0";
        let of = |channel: &str, cursor: &str| json!({ "channel": channel, "cursor": cursor });
        for (body, code) in [
            (of("room:acks", &ahead), "ack_ahead"),
            (of("room:acks", foreign), "foreign_cursor"),
            (of("room:acks", other), "foreign_cursor"),
            (of("room:acks", "nonsense"), "bad_cursor"),
            (of("room:other", &held), "not_subscribed"),
            (of("nonsense", &held), "bad_channel"),
        ] {
            assert_eq!(peer.refusal("ack", body.clone()).await, code, "{body}");
        }
        assert_eq!(writer.refusal("ack", of("room:acks", &held)).await, "no_subscriber");
        // Stored, but not yet sent to this session, which left before.
        peer.ask("unsubscribe", json!({ "channel": "room:acks" })).await;
        let later = writer.publish("room:acks", "b").await;
        assert_eq!(peer.refusal("ack", of("room:acks", &later)).await, "not_subscribed");
    }

    async fn names_belong_to_their_user(transport: Transport) {
        let node = Node::start("").await;
        let mut ann = Peer::subscriber(&node, transport, &token("ann"), "kiosk").await;
        let mut bob = Peer::subscriber(&node, transport, &token("bob"), "kiosk").await;
        for peer in [&mut ann, &mut bob] {
            let pong: Value = peer.ask("ping", json!({})).await;
            assert!(pong["pong"].is_object());
        }
    }
}
