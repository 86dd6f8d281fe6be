//! Long polls over the wire: nothing is kept between two requests, and nothing is lost.

use std::time::{Duration, Instant};

use meridian_client::Transport;
use serde_json::{Value, json};

use crate::client::{Rights, token, token_with};
use crate::node::{Node, eventually_async, in_time};
use crate::peer::{Peer, id_of};
use crate::request::Request;
use crate::web::{Ask, VERSIONS, events_of};

const WS: Transport = Transport::WebSocket;

fn ask(node: &Node, query: &str) -> Ask {
    Ask::get(node, &format!("/v1/poll?{query}")).token(&token("reader"))
}

async fn writer(node: &Node) -> Peer {
    Peer::connect(node, WS, &token("writer")).await
}

/// A successful answer.
async fn answer(ask: &Ask) -> Value {
    let (status, answer) = ask.whole().await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// The ids of an answer's events.
fn ids(answer: &Value) -> Vec<String> {
    let messages = answer["messages"].as_array().expect("messages");
    messages.iter().flat_map(events_of).map(|event| id_of(&event)).collect()
}

/// The query that goes on from an answer.
fn next(answer: &Value) -> String {
    let cursors = answer["cursors"].as_object().expect("cursors");
    let part = |(channel, cursor): (&String, &Value)| {
        format!("channel={channel}&cursor={}", cursor.as_str().expect("a cursor"))
    };
    cursors.iter().map(part).collect::<Vec<_>>().join("&")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_waits_and_the_next_goes_on_from_its_cursors() {
    let node = Node::start("").await;
    let mut writer = writer(&node).await;
    for version in VERSIONS {
        let began = Instant::now();
        let first = answer(&ask(&node, "channel=room:a&channel=room:b").over(version)).await;
        assert!(began.elapsed() < Duration::from_secs(5), "a new client has a cursor at once");
        assert_eq!((&first["messages"], ids(&first).len()), (&json!([]), 0));
        let (a, b) = (format!("a-{version:?}"), format!("b-{version:?}"));
        writer.publish("room:a", &a).await;
        let second = answer(&ask(&node, &next(&first)).over(version)).await;
        assert_eq!(ids(&second), [a]);
        let waiting = ask(&node, &next(&second)).over(version);
        let waiting = tokio::spawn(async move { answer(&waiting).await });
        eventually_async("the poll to wait", || async {
            (node.metric("meridian_connections", "longpoll").await == 1.0).then_some(())
        })
        .await;
        writer.publish("room:b", &b).await;
        let third = in_time("the poll", waiting).await.expect("no panic");
        assert_eq!(ids(&third), [b]);
        let began = Instant::now();
        let query = format!("{}&wait_ms=300", next(&third));
        let last = answer(&ask(&node, &query).over(version)).await;
        assert!(began.elapsed() >= Duration::from_millis(300));
        assert_eq!((ids(&last).len(), &last["cursors"]), (0, &third["cursors"]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_between_polls_under_load() {
    const EVENTS: usize = 600;
    let node = Node::start("[hub]\nring_events = 8\nlinger_ms = 0\n").await;
    let channels = ["room:one", "room:two"];
    let query = channels.map(|channel| format!("channel={channel}")).join("&");
    let mut last = answer(&ask(&node, &query)).await;
    let mut writer = writer(&node).await;
    let writing = tokio::spawn(async move {
        let padding = "x".repeat(2000);
        for n in 0..EVENTS {
            let event = json!({ "channel": channels[n % 2], "id": n.to_string(), "data": padding });
            writer.ask("publish", event).await;
        }
    });
    let (mut seen, mut polls) = ([Vec::new(), Vec::new()], 0);
    while seen.iter().map(Vec::len).sum::<usize>() < EVENTS {
        last = answer(&ask(&node, &next(&last)).over(VERSIONS[polls % 3])).await;
        for id in ids(&last) {
            let n: usize = id.parse().expect("a number");
            seen[n % 2].push(n);
        }
        polls += 1;
    }
    writing.await.expect("no panic");
    for (parity, seen) in seen.iter().enumerate() {
        let all: Vec<_> = (0..EVENTS).filter(|n| n % 2 == parity).collect();
        assert_eq!(seen, &all);
    }
    println!("{EVENTS} events in {polls} polls");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_bounded_and_the_rest_comes_with_the_next() {
    let node = Node::start("").await;
    let mut writer = writer(&node).await;
    let padding = "x".repeat(60_000);
    let (mut expected, mut got) = (Vec::new(), Vec::new());
    let mut last = answer(&ask(&node, "channel=room:big")).await;
    for n in 0..40 {
        let id = n.to_string();
        let event = json!({ "channel": "room:big", "id": id, "data": padding });
        writer.ask("publish", event).await;
        expected.push(id);
    }
    while got.len() < expected.len() {
        last = answer(&ask(&node, &next(&last))).await;
        let bytes = last.to_string().len();
        assert!(bytes < 1 << 20, "{bytes} bytes in one answer");
        got.extend(ids(&last));
    }
    assert_eq!(got, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_events_come_with_the_first_answer() {
    let node = Node::start("").await;
    let mut writer = writer(&node).await;
    for n in 0..5 {
        writer.publish("room:a", &format!("e{n}")).await;
    }
    let first = answer(&ask(&node, "channel=room:a&last=2&channel=room:none&last=5")).await;
    assert_eq!(ids(&first), ["e3", "e4"]);
    assert!(first["cursors"]["room:none"].is_string(), "{first}");
    // Of a channel without any event there is nothing to wait for, either.
    let none = answer(&ask(&node, "channel=room:none&last=5")).await;
    assert_eq!(ids(&none).len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_greeting_tells_where_each_channel_begins_and_waits_for_nothing() {
    let node = Node::start("").await;
    let mut writer = writer(&node).await;
    let first = answer(&ask(&node, "channel=room:a&channel=room:b")).await;
    writer.publish("room:a", "e1").await;
    for version in VERSIONS {
        let query = format!("{}&greet=true", next(&first));
        let began = Instant::now();
        let greeted = answer(&ask(&node, &query).over(version)).await;
        assert!(began.elapsed() < Duration::from_secs(5), "it does not wait");
        let messages = greeted["messages"].as_array().expect("messages");
        assert_eq!(messages[0]["connected"]["user"], "reader", "{greeted}");
        let begins: Vec<_> = messages
            .iter()
            .filter_map(|message| message.get("subscribed"))
            .map(|at| {
                (
                    at["channel"].clone(),
                    format!("{}.{}", at["stream"].as_str().unwrap(), at["offset"]),
                )
            })
            .collect();
        let held = |channel: &str| {
            (json!(channel), first["cursors"][channel].as_str().unwrap().to_owned())
        };
        assert!(begins.contains(&held("room:a")) && begins.contains(&held("room:b")), "{greeted}");
        assert_eq!((begins.len(), ids(&greeted)), (2, vec!["e1".to_owned()]));
        // Nothing behind it: still at once, and without any channel as well.
        let rest =
            answer(&ask(&node, &format!("{}&greet=true", next(&greeted))).over(version)).await;
        let none = answer(&ask(&node, "greet=true").over(version)).await;
        assert_eq!((ids(&rest).len(), none["messages"].as_array().map(Vec::len)), (0, Some(1)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_token_subscribes_to_is_polled_as_well() {
    let node = Node::start("").await;
    let mut writer = writer(&node).await;
    let rights = Rights { subscribe: &["room:own", "room:asked"], ..Rights::default() };
    let token = token_with("reader", &rights);
    let poll = |query: &str| Ask::get(&node, &format!("/v1/poll?{query}")).token(&token);
    let first = answer(&poll("channel=room:asked&wait_ms=0")).await;
    assert!(first["cursors"]["room:own"].is_string(), "{first}");
    writer.publish("room:own", "o1").await;
    let second = answer(&poll(&next(&first))).await;
    assert_eq!(ids(&second), ["o1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_stays_followed_while_its_poller_is_away() {
    let node = Node::start("").await;
    answer(&ask(&node, "channel=room:a")).await;
    eventually_async("the channel to be counted", || async {
        (node.metric("meridian_channels", "").await >= 1.0).then_some(())
    })
    .await;
    let nobody = node.metric("meridian_subscriptions", "").await;
    assert_eq!(nobody, 0.0, "nothing of the poll is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poller_that_leaves_is_noticed_and_loses_nothing() {
    let node = Node::start("").await;
    let mut writer = writer(&node).await;
    let waiting = || async { node.metric("meridian_connections", "longpoll").await };
    for version in VERSIONS {
        let first = answer(&ask(&node, "channel=room:a").over(version)).await;
        let poll = ask(&node, &next(&first)).over(version);
        let polling = tokio::spawn(async move { poll.send().await });
        eventually_async("the poll", || async { (waiting().await == 1.0).then_some(()) }).await;
        polling.abort();
        eventually_async("its end", || async { (waiting().await == 0.0).then_some(()) }).await;
        let id = format!("missed-{version:?}");
        writer.publish("room:a", &id).await;
        let second = answer(&ask(&node, &next(&first)).over(version)).await;
        assert_eq!(ids(&second), [id]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_token_and_a_draining_node_end_the_wait() {
    let mut node = Node::start("[auth]\nleeway_s = 0\n").await;
    let rights = Rights { ttl: Some(Duration::from_secs(2)), ..Rights::default() };
    let short = token_with("reader", &rights);
    let first = answer(&ask(&node, "channel=room:a")).await;
    let path = format!("/v1/poll?{}", next(&first));
    let (status, problem) = Ask::get(&node, &path).token(&short).whole().await;
    assert_eq!((status, &problem["code"]), (401, &json!("token_expired")));
    let waiting = ask(&node, &next(&first));
    let waiting = tokio::spawn(async move { answer(&waiting).await });
    eventually_async("the poll to wait", || async {
        (node.metric("meridian_connections", "longpoll").await == 1.0).then_some(())
    })
    .await;
    node.terminate();
    let told = in_time("the answer", waiting).await.expect("no panic");
    assert!(told["messages"][0]["drain"]["after_ms"].is_u64(), "{told}");
    assert_eq!(told["cursors"], first["cursors"]);
    let status = node.ended(Duration::from_secs(15)).await;
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_sent_elsewhere_is_told_at_once_and_not_again_and_again() {
    let node = Node::start("[regions.far]\nurl = \"https://far.example\"\n").await;
    let first = answer(&ask(&node, "channel=room:a")).await;
    let waiting = ask(&node, &next(&first));
    let waiting = tokio::spawn(async move { answer(&waiting).await });
    eventually_async("the poll to wait", || async {
        (node.metric("meridian_connections", "longpoll").await == 1.0).then_some(())
    })
    .await;
    let order = json!({ "region": "far" }).to_string();
    let order = Request::new("POST", "/ops/v1/redirect").body("application/json", order);
    assert_eq!(order.by_operator().send(node.admin).await.expect("an answer").status, 202);
    let told = in_time("the answer", waiting).await.expect("no panic");
    assert_eq!(told["messages"][0]["redirect"]["url"], "https://far.example");
    // Who stays is told with each answer and waits as before.
    let began = Instant::now();
    let again = answer(&ask(&node, &format!("{}&wait_ms=500", next(&told)))).await;
    assert!(began.elapsed() >= Duration::from_millis(500));
    assert_eq!(again["messages"][0]["redirect"]["region"], "far");
    let sent = answer(&ask(&node, &format!("{}&wait_ms=0&redirected=drain", next(&told)))).await;
    assert_eq!(sent["messages"], json!([]));
    assert_eq!(node.metric("meridian_redirected_total", "drain").await, 1.0);
}
