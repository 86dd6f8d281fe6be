//! Event streams over the wire: what a page's EventSource gets, on each version of HTTP.

use std::collections::HashMap;
use std::time::Duration;

use meridian_client::Transport;
use serde_json::{Value, json};

use crate::client::{Rights, token, token_with};
use crate::node::{Node, eventually_async};
use crate::peer::Peer;
use crate::web::{Answer, Ask, EventSource, VERSIONS, events_of};

const WS: Transport = Transport::WebSocket;

fn stream(node: &Node, query: &str) -> Ask {
    Ask::get(node, &format!("/v1/sse?{query}")).token(&token("reader"))
}

async fn writer(node: &Node) -> Peer {
    Peer::connect(node, WS, &token("writer")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_arrive_from_now_from_a_cursor_and_with_the_newest_on_every_version() {
    let node = Node::start("").await;
    let mut writer = writer(&node).await;
    for version in VERSIONS {
        // Ids are the publisher's own: one that came before would be a repeat.
        let id = |n: usize| format!("{version:?}-{n}");
        let first = writer.publish("room:sse", &id(0)).await;
        for n in [1, 2] {
            writer.publish("room:sse", &id(n)).await;
        }
        let open = async |query: &str| {
            EventSource::open(&stream(&node, &format!("channel=room:sse{query}")).over(version))
                .await
        };
        let mut now = open("").await;
        let mut after = open(&format!("&cursor={first}")).await;
        let mut newest = open("&last=1").await;
        assert_eq!(now.header("cache-control"), Some("no-store, no-transform"));
        assert_eq!(now.header("x-accel-buffering"), Some("no"));
        let connected = now.find("connected").await;
        assert_eq!(connected["id"], Value::Null, "nobody asked with an id");
        let connected = &connected["connected"];
        assert_eq!((&connected["tenant"], &connected["user"]), (&json!("acme"), &json!("reader")));
        let subscribed = now.find("subscribed").await;
        assert_eq!(subscribed["subscribed"]["channel"], "room:sse");
        assert!((1000..3000).contains(&now.retry_ms.expect("a time to come back")));
        assert_eq!(after.ids(2).await, [id(1), id(2)]);
        assert_eq!(newest.ids(1).await, [id(2)]);
        writer.publish("room:sse", &id(3)).await;
        for source in [&mut now, &mut after, &mut newest] {
            assert_eq!(source.ids(1).await, [id(3)]);
        }
    }
    let begun = node.metric("meridian_sessions_total", "transport=\"sse\"").await;
    assert_eq!(begun, 9.0);
}

/// Positions, and what a chain's check makes of an event: whether it is new.
#[derive(Default)]
struct Chains(HashMap<String, i64>);

impl Chains {
    fn take(&mut self, event: &Value) -> bool {
        let channel = event["channel"].as_str().expect("a channel").to_owned();
        let (offset, prev) = (event["offset"].as_i64().expect("an offset"), &event["prev"]);
        let position = self.0.entry(channel).or_insert(-1);
        if offset <= *position {
            return false;
        }
        assert!(prev.as_i64().unwrap_or(-1) <= *position, "a hole before {event}");
        *position = offset;
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_cut_anywhere_comes_back_with_its_last_id_and_misses_nothing() {
    const EVENTS: usize = 120;
    let node = Node::start("[listen]\nworkers = 1\n").await;
    let mut writer = writer(&node).await;
    let channels = ["room:one", "room:two", "room:three"];
    // From the start on, so that its hub has each event by itself.
    let mut follower = Peer::connect(&node, WS, &token("follower")).await;
    for channel in channels {
        follower.subscribe(channel, json!({})).await;
    }
    let padding = "x".repeat(3000);
    for n in 0..EVENTS {
        let event = json!({ "channel": channels[n % 3], "id": n.to_string(), "data": padding });
        writer.ask("publish", event).await;
    }
    let first = channels.map(|channel| format!("channel={channel}&last=1000")).join("&");
    for version in VERSIONS {
        let (mut chains, mut new, mut again) = (Chains::default(), 0, 0);
        let (mut last_event_id, mut cuts) = (String::new(), 0);
        while new < EVENTS {
            let mut ask = stream(&node, &first).over(version);
            if !last_event_id.is_empty() {
                ask = ask.header("last-event-id", &last_event_id);
            }
            let mut source = EventSource::open(&ask).await;
            // Now sooner, now later, so that it falls on every place in a batch.
            for _ in 0..1 + cuts * 17 % 41 {
                let events = events_of(&source.find("message").await);
                let fresh = events.iter().filter(|event| chains.take(event)).count();
                (new, again) = (new + fresh, again + events.len() - fresh);
                if new == EVENTS {
                    break;
                }
            }
            if !source.last_event_id.is_empty() {
                last_event_id.clone_from(&source.last_event_id);
            }
            cuts += 1;
            assert!(cuts < 200, "no progress: {new} of {EVENTS}");
        }
        println!("{version:?}: {cuts} streams, {again} events again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_id_is_there_before_the_first_event_and_in_the_address_as_well() {
    let node = Node::start("").await;
    let mut writer = writer(&node).await;
    let query = "channel=room:a&channel=room:b";
    let mut source = EventSource::open(&stream(&node, query)).await;
    for _ in 0..2 {
        source.find("subscribed").await;
    }
    let id = source.last_event_id.clone();
    assert!((1..=4096).contains(&id.len()));
    drop(source);
    writer.publish("room:a", "a1").await;
    writer.publish("room:b", "b1").await;
    // A channel that the id does not know starts as the address says.
    writer.publish("room:c", "c1").await;
    let query = format!("{query}&channel=room:c&last=1&lastEventId={id}");
    let mut source = EventSource::open(&stream(&node, &query)).await;
    let mut ids = source.ids(3).await;
    ids.sort();
    assert_eq!(ids, ["a1", "b1", "c1"]);
    // The header, which an automatic reconnect sends, is the newer one.
    writer.publish("room:a", "a2").await;
    let ask = stream(&node, &query).header("last-event-id", &source.last_event_id);
    assert_eq!(EventSource::open(&ask).await.ids(1).await, ["a2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_token_subscribes_to_is_resumed_as_well() {
    let node = Node::start("").await;
    let mut writer = writer(&node).await;
    let rights = Rights { subscribe: &["room:own", "room:asked"], ..Rights::default() };
    let token = token_with("reader", &rights);
    let ask = Ask::get(&node, "/v1/sse?channel=room:asked").token(&token);
    let mut source = EventSource::open(&ask).await;
    for _ in 0..2 {
        source.find("subscribed").await;
    }
    writer.publish("room:own", "o1").await;
    assert_eq!(source.ids(1).await, ["o1"]);
    let id = source.last_event_id.clone();
    drop(source);
    writer.publish("room:own", "o2").await;
    writer.publish("room:asked", "a1").await;
    let mut source = EventSource::open(&ask.header("last-event-id", &id)).await;
    let mut ids = source.ids(2).await;
    ids.sort();
    assert_eq!(ids, ["a1", "o2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_retention_took_is_a_gap() {
    let short = "[namespaces.short]\nsubscribe = ['tenant']\npublish = ['tenant']\n\
                 history = { events = 5 }\n[hub]\nring_events = 4\n";
    let node = Node::start(short).await;
    let mut writer = writer(&node).await;
    let first = writer.publish("short:a", "e0").await;
    for n in 1..40 {
        writer.publish("short:a", &format!("e{n}")).await;
    }
    let gone = eventually_async("the oldest to be removed", || async {
        let query = format!("channel=short:a&cursor={first}");
        let mut source = EventSource::open(&stream(&node, &query)).await;
        loop {
            let dispatched = source.next().await.expect("the stream goes on");
            match dispatched.event.as_str() {
                "gap" => return Some((dispatched.data, source)),
                "message" => return None,
                _ => {}
            }
        }
    });
    let (gap, mut source) = gone.await;
    assert_eq!((&gap["gap"]["reason"], &gap["gap"]["from"]), (&json!("retention"), &json!(first)));
    let next = source.events(1).await;
    assert!(next[0]["prev"].as_i64() <= gap["gap"]["offset"].as_i64(), "{next:?} after {gap}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ephemeral_events_come_without_an_id() {
    let node = Node::start("").await;
    let mut writer = writer(&node).await;
    let mut source = EventSource::open(&stream(&node, "channel=typing:a")).await;
    source.find("subscribed").await;
    writer.ask("publish", json!({ "channel": "typing:a", "data": 7 })).await;
    let event = source.events(1).await.remove(0);
    assert_eq!((&event["data"], &event["cursor"]), (&json!(7), &Value::Null));
    // A payload laid out over lines is the same JSON.
    let laid_out =
        "{\"id\":90,\"publish\":{\"channel\":\"typing:a\",\"data\":{\n\r\n \"a\" :\n1}}}";
    writer.send(laid_out.as_bytes()).await.expect("sent");
    assert_eq!(source.events(1).await[0]["data"], json!({ "a": 1 }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_token_ends_the_stream_with_a_word() {
    let node = Node::start("[auth]\nleeway_s = 0\n").await;
    let rights = Rights { ttl: Some(Duration::from_secs(2)), ..Rights::default() };
    let token = token_with("reader", &rights);
    let path = format!("/v1/sse?channel=room:a&token={token}");
    for (at, version) in VERSIONS.into_iter().enumerate() {
        if at == 0 {
            let mut source = EventSource::open(&Ask::get(&node, &path).over(version)).await;
            let close = source.find("close").await;
            assert_eq!(close["error"]["code"], "token_expired");
            assert_eq!(close["error"]["action"], "refresh");
            assert!(source.next().await.is_none());
        }
        // So that a page's source, which comes back by itself, gives up.
        let (status, problem) = Ask::get(&node, &path).over(version).whole().await;
        assert_eq!((status, &problem["code"]), (401, &json!("token_expired")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_is_broken_by_comments_and_padding_comes_when_asked_for() {
    let node = Node::start("[limits]\nheartbeat_ms = 1000\n").await;
    for version in VERSIONS {
        let ask = stream(&node, "channel=room:quiet&padding=2048").over(version);
        let mut source = EventSource::open(&ask).await;
        source.find("subscribed").await;
        assert_eq!(source.comments, 1, "the padding");
        // Longer than a session lives that hears nothing.
        while source.comments < 5 {
            assert!(source.pull().await, "the stream ended");
        }
    }
}

async fn streams(node: &Node) -> f64 {
    node.metric("meridian_connections", "transport=\"sse\"").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_is_noticed_though_nothing_is_said() {
    let node = Node::start("").await;
    for version in VERSIONS {
        let mut source =
            EventSource::open(&stream(&node, "channel=room:quiet").over(version)).await;
        source.find("subscribed").await;
        assert_eq!(streams(&node).await, 1.0);
        drop(source);
        eventually_async("the stream's end", || async {
            (streams(&node).await == 0.0).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draining_node_moves_its_streams_each_at_its_moment() {
    let mut node = Node::start("[drain]\ndeadline_ms = 8000\nspread_ms = 2000\n").await;
    let mut sources = Vec::new();
    for version in VERSIONS {
        for _ in 0..4 {
            let ask = stream(&node, "channel=room:a").over(version);
            let mut source = EventSource::open(&ask).await;
            source.find("subscribed").await;
            sources.push(source);
        }
    }
    node.terminate();
    for source in &mut sources {
        let drain = source.find("drain").await["drain"].take();
        assert!(drain["after_ms"].as_u64().expect("a time") <= 2000, "{drain}");
        assert_eq!(source.find("close").await["error"]["code"], "draining");
        assert!(source.next().await.is_none());
    }
    drop(sources);
    // Well before the deadline: everybody has left.
    let status = node.ended(Duration::from_secs(6)).await;
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_channels_than_an_id_holds_are_refused_and_may_be_posted() {
    let node = Node::start("").await;
    let mut writer = writer(&node).await;
    let query = |count: usize| {
        let channels: Vec<_> = (0..count).map(|n| format!("channel=room:{n}")).collect();
        channels.join("&")
    };
    let (status, problem) = stream(&node, &query(129)).whole().await;
    assert_eq!((status, &problem["code"]), (429, &json!("too_many_channels")));
    assert_eq!(problem["limit"], 128);
    let mut full = EventSource::open(&stream(&node, &query(128))).await;
    writer.publish("room:127", "e1").await;
    assert_eq!(full.ids(1).await, ["e1"]);
    assert!((1000..=4096).contains(&full.last_event_id.len()), "{}", full.last_event_id);
    let channels: Vec<_> = (0..300).map(|n| json!({ "channel": format!("room:{n}") })).collect();
    let body = json!({ "channels": channels });
    for version in VERSIONS {
        let ask = stream(&node, "").post(&body).over(version);
        let mut posted = EventSource::open(&ask).await;
        let id = format!("{version:?}");
        writer.publish("room:299", &id).await;
        assert_eq!(posted.ids(1).await, [id]);
    }
    let too_many: Vec<_> = (0..1025).map(|n| json!({ "channel": format!("room:{n}") })).collect();
    let ask = stream(&node, "").post(&json!({ "channels": too_many }));
    let (status, problem) = ask.whole().await;
    assert_eq!((status, &problem["code"]), (429, &json!("too_many_channels")));
    assert_eq!((&problem["limit"], &problem["channel"]), (&json!(1024), &json!("room:1024")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_origins_that_may_open_sessions_may_read() {
    let page = "https://app.example";
    let lists =
        format!("[origins]\nallow = ['{page}']\n[cors]\norigins = ['https://cors.example']\n");
    let node = Node::start_with(&lists, &["--listen", "127.0.0.2:0"]).await;
    let allowed = |answer: &Answer| answer.header("access-control-allow-origin").map(str::to_owned);
    for path in ["/v1/sse?channel=room:a&last=1", "/v1/poll?channel=room:a"] {
        let ask = Ask::get(&node, path).token(&token("ann"));
        let good = ask.clone().header("origin", page).send().await;
        assert_eq!((good.status, allowed(&good).as_deref()), (200, Some(page)));
        assert_eq!(good.header("vary"), Some("origin"));
        for bad in ["https://evil.example", "https://cors.example", "null"] {
            let answer = ask.clone().header("origin", bad).send().await;
            assert_eq!(allowed(&answer), None);
            let (status, problem) = answer.whole().await;
            assert_eq!((status, &problem["code"]), (403, &json!("origin_forbidden")));
        }
        let preflight = Ask::get(&node, path).method(http::Method::OPTIONS).header("origin", page);
        let answer = preflight.send().await;
        let headers = answer.header("access-control-allow-headers").expect("headers");
        assert!(answer.status == 204 && headers.contains("last-event-id"), "{headers}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_session_is_one_connection_in_the_nodes_count() {
    let node = Node::start("[limits]\nsessions = 3\n").await;
    let mut sources = Vec::new();
    for _ in 0..3 {
        sources.push(EventSource::open(&stream(&node, "channel=room:a")).await);
    }
    let refused = tokio::net::TcpStream::connect(node.client).await.expect("the kernel takes it");
    let mut buffer = [0; 1];
    let read = tokio::io::AsyncReadExt::read(&mut { refused }, &mut buffer).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    drop(sources);
}
