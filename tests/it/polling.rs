//! Operators' polling: bounded reads at the pace of the policy, which cost the store one read an interval
//! however many ask.

use std::time::{Duration, Instant};

use meridian_client::Transport;
use serde_json::json;

use crate::client::token;
use crate::node::{Node, eventually_async, in_time};
use crate::peer::{Peer, id_of};
use crate::request::{Answer, Request};
use crate::web::{Ask, VERSIONS};

/// A node whose namespace `board` may be polled so often.
async fn node(polling_ms: u64) -> Node {
    let board = "[namespaces.board]\nsubscribe = ['tenant']\npublish = ['tenant']";
    Node::start(&format!("{board}\npolling_ms = {polling_ms}\n")).await
}

fn ask(what: &str, user: &str) -> Request {
    let path = format!("/v1/channels/{what}");
    Request::new("GET", &path).header("Authorization", &format!("Bearer {}", token(user)))
}

async fn send(node: &Node, request: Request) -> Answer {
    in_time("the answer", request.send(node.client)).await.expect("an answer")
}

async fn writer(node: &Node) -> Peer {
    Peer::connect(node, Transport::WebSocket, &token("writer")).await
}

/// Waits until the region has applied what was published: the last is with the newest.
async fn applied(node: &Node, channel: &str, id: &str) {
    let mut reader = Peer::connect(node, Transport::WebSocket, &token("reader")).await;
    reader.subscribe(channel, json!({ "last": 1 })).await;
    assert_eq!(reader.event_ids(channel, 1).await, [id]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_event_and_those_after_a_cursor_come_with_a_tag() {
    let node = node(1).await;
    let mut writer = writer(&node).await;
    let first = writer.publish("board:a/b", "e0").await;
    for n in 1..=120 {
        writer.publish("board:a/b", &format!("e{n}")).await;
    }
    applied(&node, "board:a/b", "e120").await;
    let latest = send(&node, ask("board:a/b/latest", "ann")).await;
    assert_eq!((latest.status, latest.header("poll-interval-ms")), (200, Some("1")));
    let page = latest.json()["history"].take();
    assert_eq!(
        (page["events"].as_array().map(Vec::len), id_of(&page["events"][0])),
        (Some(1), "e120".into())
    );
    let cursor = format!("{}.{}", page["stream"].as_str().expect("a stream"), page["offset"]);
    // From the first on, a hundred at a time, to the same cursor.
    let (mut after, mut ids) = (first, Vec::new());
    loop {
        let what = format!("board%3Aa%2Fb/events?after={after}");
        let answer = send(&node, ask(&what, &format!("user-{}", ids.len()))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let page = answer.json()["history"].take();
        ids.extend(page["events"].as_array().expect("events").iter().map(id_of));
        after = format!("{}.{}", page["stream"].as_str().expect("a stream"), page["offset"]);
        if page["more"] == false {
            break;
        }
        assert_eq!(ids.len(), 100);
    }
    assert_eq!(ids, (1..=120).map(|n| format!("e{n}")).collect::<Vec<_>>());
    assert_eq!(after, cursor);
    // What has not changed is not sent again, though other channels go on.
    let tag = latest.header("etag").expect("a tag").to_owned();
    for n in 0..20 {
        writer.publish(&format!("board:other-{n}"), "o").await;
    }
    for (n, version) in VERSIONS.into_iter().enumerate() {
        for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
            let user = format!("{n}-{known}").replace(['"', '*', ' ', ',', '/'], "_");
            let ask = Ask::get(&node, "/v1/channels/board:a%2Fb/latest").over(version);
            let ask = ask.token(&token(&user)).header("if-none-match", &known);
            let answer = ask.send().await;
            assert_eq!((answer.status, answer.header("etag")), (304, Some(tag.as_str())));
            assert_eq!(answer.header("poll-interval-ms"), Some("1"));
        }
    }
    writer.publish("board:a/b", "newer").await;
    let newer = eventually_async("the newer one", || async {
        let answer =
            send(&node, ask("board:a/b/latest", "ben").header("If-None-Match", &tag)).await;
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(id_of(&newer.await.json()["history"]["events"][0]), "newer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_too_soon_is_told_when_to_come() {
    let node = node(2000).await;
    let mut writer = writer(&node).await;
    writer.publish("board:a", "e0").await;
    let began = Instant::now();
    assert_eq!(send(&node, ask("board:a/latest", "ann")).await.status, 200);
    let early = send(&node, ask("board:a/latest", "ann")).await;
    early.assert_problem(429, "rate_limited");
    assert_eq!(
        (early.header("poll-interval-ms"), early.header("retry-after")),
        (Some("2000"), Some("2"))
    );
    assert_eq!(early.json()["limit"], 2000);
    let wait = early.json()["retry_after_ms"].as_u64().expect("a time");
    // Another user's and another channel's pace is another one.
    assert_eq!(send(&node, ask("board:a/latest", "ben")).await.status, 200);
    assert_eq!(send(&node, ask("board:b/latest", "ann")).await.status, 200);
    tokio::time::sleep(Duration::from_millis(wait)).await;
    assert_eq!(send(&node, ask("board:a/latest", "ann")).await.status, 200);
    assert!(began.elapsed() >= Duration::from_millis(1800));
    assert_eq!(node.metric("meridian_polls_total", "early").await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_pollers_cost_the_store_one_read_an_interval() {
    const POLLERS: usize = 500;
    let node = node(600_000).await;
    let mut writer = writer(&node).await;
    let first = writer.publish("board:a", "e0").await;
    writer.publish("board:a", "e1").await;
    applied(&node, "board:a", "e1").await;
    let mut polls = tokio::task::JoinSet::new();
    for n in 0..POLLERS {
        let what = match n % 2 {
            0 => "board:a/latest".to_owned(),
            _ => format!("board:a/events?after={first}"),
        };
        let (request, to) = (ask(&what, &format!("user-{n}")), node.client);
        polls.spawn(async move { request.send(to).await.expect("an answer") });
    }
    while let Some(answer) = in_time("the polls", polls.join_next()).await {
        let answer = answer.expect("no panic");
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(id_of(&answer.json()["history"]["events"][0]), "e1");
    }
    assert_eq!(node.metric("meridian_polls_total", "ok").await, POLLERS as f64);
    assert_eq!(node.metric("meridian_poll_reads_total", "").await, 2.0, "one a question");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_the_policy_allows_is_answered() {
    let node = node(1).await;
    let cases = [
        ("room:a/latest", 400, "unsupported"),
        ("typing:a/latest", 400, "unsupported"),
        ("closed:a/latest", 403, "forbidden"),
        ("nowhere:a/latest", 403, "forbidden"),
        ("nonsense/latest", 400, "bad_channel"),
        ("board:%ff/latest", 400, "bad_channel"),
        ("board:a/oldest", 404, "not_found"),
        ("board:a", 404, "not_found"),
        ("board:a/events", 400, "bad_request"),
        ("board:a/events?after=x", 400, "bad_cursor"),
        ("board:a/events?after=1.other.1.0.0", 400, "foreign_cursor"),
        ("board:a/events?after=1.global.1.0.0&limit=0", 400, "bad_request"),
        ("board:a/events?after=1.global.1.0.0&limit=101", 400, "bad_request"),
    ];
    for (n, (what, status, code)) in cases.into_iter().enumerate() {
        send(&node, ask(what, &format!("user-{n}"))).await.assert_problem(status, code);
    }
    let nobody = Request::new("GET", "/v1/channels/board:a/latest");
    send(&node, nobody).await.assert_problem(401, "unauthenticated");
    let post = Request::new("POST", "/v1/channels/board:a/latest");
    let answer = send(&node, post).await;
    answer.assert_problem(405, "method_not_allowed");
    assert_eq!(answer.header("allow"), Some("GET, OPTIONS"));
    // A channel without any event has an answer as well.
    let empty = send(&node, ask("board:none/latest", "ann")).await;
    assert_eq!((empty.status, &empty.json()["history"]["events"]), (200, &json!([])));
}
