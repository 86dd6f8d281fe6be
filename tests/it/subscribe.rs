//! Subscribing: where it begins, where it ends, and what is refused.

use meridian_client::Transport;
use serde_json::{Value, json};

use crate::client::{Rights, token, token_with};
use crate::node::Node;
use crate::peer::{Peer, id_of};

on_both! {
    async fn from_now_from_a_cursor_and_with_the_newest(transport: Transport) {
        let node = Node::start("").await;
        let mut writer = Peer::connect(&node, transport, &token("ann")).await;
        let mut reader = Peer::connect(&node, transport, &token("reader")).await;
        for (name, wanted) in [
            ("now", &[][..]),
            ("cursor", &["c", "d"]),
            ("last", &["b", "c", "d"]),
            ("all", &["a", "b", "c", "d"]),
        ] {
            let channel = format!("room:{name}");
            // The newest are those that the region has applied, which an acknowledged publish may not be yet.
            writer.subscribe(&channel, json!({})).await;
            let mut cursors = Vec::new();
            for id in ["a", "b", "c", "d"] {
                cursors.push(writer.publish(&channel, id).await);
            }
            writer.event_ids(&channel, 4).await;
            let start = match name {
                "now" => json!({}),
                "cursor" => json!({ "cursor": cursors[1] }),
                "last" => json!({ "last": 3 }),
                _ => json!({ "last": 100 }),
            };
            let subscribed = reader.subscribe(&channel, start).await;
            assert_eq!(subscribed["class"], "strict");
            if name == "cursor" {
                let stream = subscribed["stream"].as_str().expect("a stream");
                assert_eq!(format!("{stream}.{}", subscribed["offset"]), cursors[1]);
            }
            writer.publish(&channel, "then").await;
            let got = reader.event_ids(&channel, wanted.len() + 1).await;
            assert_eq!(got, [wanted, &["then"]].concat(), "{name}");
        }
        assert!(reader.held().is_empty(), "{:?}", reader.held());
    }

    async fn a_channel_whose_zone_is_kept_elsewhere_is_refused(transport: Transport) {
        let away = "[zones.away]\nregions = ['another']\n[namespaces.away]\nzone = 'away'\n";
        let node = Node::start(&format!("{away}subscribe = ['tenant']\npublish = ['tenant']\n")).await;
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        for (command, body) in [
            ("subscribe", json!({ "channel": "away:a" })),
            ("history", json!({ "channel": "away:a", "last": 1 })),
            ("publish", json!({ "channel": "away:a", "id": "1", "data": 1 })),
        ] {
            assert_eq!(peer.refusal(command, body).await, "wrong_region", "{command}");
        }
    }

    async fn nothing_follows_unsubscribed(transport: Transport) {
        let node = Node::start("").await;
        let mut reader = Peer::connect(&node, transport, &token("reader")).await;
        reader.subscribe("room:leave", json!({})).await;
        let (node, channel) = (&node, "room:leave");
        let writing = async {
            let mut writer = Peer::connect(node, transport, &token("writer")).await;
            for n in 0..200 {
                writer.publish(channel, &n.to_string()).await;
            }
        };
        let reading = async {
            for _ in 0..20 {
                reader.find("events", |message| message["events"].is_object()).await;
            }
            reader.command("unsubscribe", json!({ "channel": channel })).await;
            reader.find("unsubscribed", |message| message["unsubscribed"].is_object()).await
        };
        let (_, unsubscribed) = tokio::join!(writing, reading);
        assert_eq!(unsubscribed["unsubscribed"]["code"], "requested");
        // What came before it was left; another channel of the same lane, or the reply to a ping,
        // would bring whatever else was on its way.
        reader.take_held();
        let mut writer = Peer::connect(node, transport, &token("writer")).await;
        reader.subscribe("room:other", json!({})).await;
        writer.publish(channel, "unheard").await;
        writer.publish("room:other", "heard").await;
        assert_eq!(reader.event_ids("room:other", 1).await, ["heard"]);
        assert!(reader.held().is_empty(), "{:?}", reader.held());
    }

    async fn a_channel_can_be_taken_again_from_where_it_was_left(transport: Transport) {
        let node = Node::start("").await;
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        let stream = peer.subscribe("room:again", json!({})).await["stream"].take();
        let stream = stream.as_str().expect("a stream");
        for n in 0..10 {
            peer.publish("room:again", &format!("{n}-on")).await;
            let events = peer.events("room:again", if n == 0 { 1 } else { 2 }).await;
            let ids: Vec<_> = events.iter().map(id_of).collect();
            if n > 0 {
                assert_eq!(ids, [format!("{}-off", n - 1), format!("{n}-on")]);
            }
            let reply = peer.ask("unsubscribe", json!({ "channel": "room:again" })).await;
            assert_eq!(reply["unsubscribed"]["code"], "requested", "{reply}");
            peer.publish("room:again", &format!("{n}-off")).await;
            assert!(peer.held().is_empty(), "{:?}", peer.held());
            let cursor = format!("{stream}.{}", events.last().expect("an event")["offset"]);
            peer.subscribe("room:again", json!({ "cursor": cursor })).await;
        }
    }

    async fn history_is_read_page_by_page(transport: Transport) {
        let node = Node::start("").await;
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        let first = peer.publish("room:pages", "0").await;
        for n in 1..25 {
            peer.publish("room:pages", &n.to_string()).await;
        }
        let (mut after, mut ids, mut pages) = (first, Vec::new(), 0);
        loop {
            let request = json!({ "channel": "room:pages", "after": after, "limit": 10 });
            let page = peer.ask("history", request).await["history"].take();
            ids.extend(page["events"].as_array().expect("a member").iter().map(id_of));
            after = format!("{}.{}", page["stream"].as_str().expect("a member"), page["offset"]);
            pages += 1;
            if page["more"] == false {
                break;
            }
        }
        assert_eq!(ids, (1..25).map(|n| n.to_string()).collect::<Vec<_>>());
        assert!(pages <= 4, "{pages}");
        let newest = peer.ask("history", json!({ "channel": "room:pages", "last": 3 })).await;
        let newest = newest["history"]["events"].as_array().expect("a member");
        assert_eq!(newest.iter().map(id_of).collect::<Vec<_>>(), ["22", "23", "24"]);
        for (request, code) in [
            (json!({ "channel": "room:pages" }), "bad_request"),
            (json!({ "channel": "closed:pages", "last": 1 }), "forbidden"),
            (json!({ "channel": "bad", "last": 1 }), "bad_channel"),
            (json!({ "channel": "room:pages", "after": "nonsense" }), "bad_cursor"),
        ] {
            assert_eq!(peer.refusal("history", request).await, code);
        }
    }

    async fn the_token_names_channels_that_the_server_subscribes(transport: Transport) {
        let node = Node::start("").await;
        let rights = Rights {
            subscribe: &["$user:ann", "room:own", "closed:vault"],
            ..Rights::default()
        };
        let mut peer = Peer::connect(&node, transport, &token_with("ann", &rights)).await;
        for channel in ["$user:ann", "room:own"] {
            let made = peer
                .find("a subscription that the server made", |m| m["subscribed"]["channel"] == channel)
                .await;
            assert!(made["id"].is_null(), "{made}");
        }
        let refused = peer.find("the refused one", |m| m["unsubscribed"].is_object()).await;
        assert_eq!(refused["unsubscribed"]["channel"], "closed:vault");
        assert_eq!(refused["unsubscribed"]["code"], "forbidden");
        peer.publish("room:own", "mine").await;
        assert_eq!(peer.event_ids("room:own", 1).await, ["mine"]);
    }

    async fn what_may_not_be_subscribed_is_refused_with_its_code(transport: Transport) {
        let node = Node::start("").await;
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        peer.subscribe("room:one", json!({})).await;
        let long = format!("room:{}", "x".repeat(251));
        for (channel, code) in [
            ("closed:x", "forbidden"),
            ("unknown:x", "forbidden"),
            ("$user:bob", "forbidden"),
            ("granted:x", "forbidden"),
            ("room:one", "already_subscribed"),
            ("", "bad_channel"),
            ("room", "bad_channel"),
            ("room:", "bad_channel"),
            (":x", "bad_channel"),
            ("room:a b", "bad_channel"),
            ("room:a\u{0}b", "bad_channel"),
            ("room:*", "bad_channel"),
            (&long, "bad_channel"),
        ] {
            let code_got = peer.refusal("subscribe", json!({ "channel": channel })).await;
            assert_eq!(code_got, code, "{channel:?}");
        }
        for (body, code) in [
            (json!({ "channel": "room:two", "cursor": "1.global.1.0.1", "last": 1 }), "bad_request"),
            (json!({ "channel": "room:two", "acked": true }), "no_subscriber"),
            (json!({ "channel": "room:two", "last": -1 }), "bad_request"),
            (json!({ "channel": 7 }), "bad_request"),
            (json!({}), "bad_request"),
        ] {
            assert_eq!(peer.refusal("subscribe", body.clone()).await, code, "{body}");
        }
        assert_eq!(peer.refusal("unsubscribe", json!({ "channel": "room:x" })).await, "not_subscribed");
        peer.publish("room:one", "still").await;
        assert_eq!(peer.event_ids("room:one", 1).await, ["still"]);
    }

    async fn ten_thousand_subscriptions_meet_the_limit_and_harm_nobody(transport: Transport) {
        let node = Node::start("[limits]\ncommands_per_s = 20000\ncommands_burst = 20000\n").await;
        let mut canary = Peer::connect(&node, transport, &token("canary")).await;
        canary.subscribe("room:canary", json!({})).await;
        let mut peer = Peer::connect(&node, transport, &token("greedy")).await;
        let (mut good, mut refused) = (0, 0);
        for reply in subscribe_to_many(&mut peer, 10_000).await {
            if reply["subscribed"].is_object() {
                good += 1;
            } else {
                assert_eq!(reply["error"]["code"], "too_many_channels", "{reply}");
                assert_eq!(reply["error"]["limit"], 1024);
                refused += 1;
            }
        }
        assert_eq!((good, refused), (1024, 8976));
        peer.publish("room:n-3", "works").await;
        assert_eq!(peer.event_ids("room:n-3", 1).await, ["works"]);
        canary.publish("room:canary", "sings").await;
        assert_eq!(canary.event_ids("room:canary", 1).await, ["sings"]);
    }

    async fn ten_thousand_subscriptions_work_where_they_are_allowed(transport: Transport) {
        let limits = "[limits]\nchannels_per_session = 10000\ncommands_per_s = 20000\ncommands_burst = 20000\n";
        let node = Node::start(limits).await;
        let mut peer = Peer::connect(&node, transport, &token("greedy")).await;
        for reply in subscribe_to_many(&mut peer, 10_000).await {
            assert!(reply["subscribed"].is_object(), "{reply}");
        }
        for n in [0, 5_000, 9_999] {
            let channel = format!("room:n-{n}");
            peer.publish(&channel, "works").await;
            assert_eq!(peer.event_ids(&channel, 1).await, ["works"]);
        }
    }
}

/// Subscribes to `room:n-0` and on, a frame a hundred; the replies as they came.
async fn subscribe_to_many(peer: &mut Peer, count: u64) -> Vec<Value> {
    const FIRST: u64 = 1_000_000;
    for first in (0..count).step_by(100) {
        let commands: Vec<_> = (first..first + 100)
            .map(|n| json!({ "id": FIRST + n, "subscribe": { "channel": format!("room:n-{n}") } }))
            .collect();
        let frame = Value::from(commands).to_string();
        peer.send(frame.as_bytes()).await.expect("the session takes commands");
    }
    let mut replies = Vec::new();
    while (replies.len() as u64) < count {
        let message = peer.next().await.expect("the session goes on");
        if message["id"].as_u64().is_some_and(|id| id >= FIRST) {
            replies.push(message);
        }
    }
    replies
}
