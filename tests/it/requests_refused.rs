//! Requests for event streams and long polls that are wrong, slow or hostile: each refused with its code,
//! on each version of HTTP, and at nobody else's cost.

use meridian_client::{Publish, Transport};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::canary::Canary;
use crate::client::{connect, token};
use crate::node::{Node, eventually_async, in_time};
use crate::web::{Ask, VERSIONS};

const BOTH: [&str; 2] = ["/v1/sse", "/v1/poll"];

async fn refusal(ask: &Ask) -> (u16, String, Value) {
    let answer = ask.send().await;
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let (status, problem) = answer.whole().await;
    (status, problem["code"].as_str().expect("a code").to_owned(), problem)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_wrong_query_has_its_code() {
    let node = Node::start("").await;
    let long_id = format!("1{}", "A".repeat(4096));
    let long_query = format!("channel=room:a&x={}", "x".repeat(8192));
    let cases = [
        ("channel=nonsense", 400, "bad_channel"),
        ("channel=", 400, "bad_channel"),
        ("channel=closed:a", 403, "forbidden"),
        ("channel=nowhere:a", 403, "forbidden"),
        ("channel=room:a&channel=room:a", 409, "already_subscribed"),
        ("channel=room:a&cursor=nonsense", 400, "bad_cursor"),
        ("channel=room:a&cursor=1.global.1.999.0", 400, "foreign_cursor"),
        ("channel=room:a&cursor=1.other.1.0.0", 400, "foreign_cursor"),
        ("channel=room:a&cursor=1.global.9.0.0&last=2", 400, "bad_request"),
        ("cursor=1.global.1.0.0&channel=room:a", 400, "bad_request"),
        ("channel=room:a&last=many", 400, "bad_request"),
        ("channel=%ff", 400, "bad_request"),
        ("channel=room:a&wait_ms=60001", 400, "bad_request"),
        ("channel=room:a&padding=100000", 400, "bad_request"),
        ("channel=room:a&codec=msgpack", 400, "unsupported"),
        ("channel=room:a&lastEventId=nonsense", 400, "bad_cursor"),
        (&format!("channel=room:a&lastEventId={long_id}"), 400, "bad_cursor"),
        (&long_query, 413, "frame_too_large"),
    ];
    for path in BOTH {
        for (at, (query, status, code)) in cases.iter().enumerate() {
            let ask = Ask::get(&node, &format!("{path}?{query}")).token(&token("ann"));
            let refused = refusal(&ask.over(VERSIONS[at % 3])).await;
            assert_eq!((refused.0, refused.1.as_str()), (*status, *code), "{path} {query}");
        }
        for version in VERSIONS {
            let good = Ask::get(&node, &format!("{path}?channel=room:a")).over(version);
            assert_eq!(refusal(&good).await.1, "unauthenticated");
            assert_eq!(refusal(&good.clone().token("nonsense")).await.1, "unauthenticated");
            let put = good.clone().token(&token("ann")).method(http::Method::PUT);
            let answer = put.send().await;
            assert_eq!(answer.header("allow"), Some("GET, POST, OPTIONS"));
            assert_eq!(answer.whole().await.0, 405);
            let head = good.token(&token("ann")).method(http::Method::HEAD).send().await;
            assert_eq!(head.status, 405);
        }
    }
}

/// An unknown namespace and one that is closed look alike, and one bad channel refuses all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_names_its_channel_and_nothing_else() {
    let node = Node::start("").await;
    for path in BOTH {
        let of = |channel: &str| {
            let query = format!("channel=room:a&channel={channel}");
            Ask::get(&node, &format!("{path}?{query}")).token(&token("ann"))
        };
        let (_, _, mut closed) = refusal(&of("closed:a")).await;
        let (_, _, mut nowhere) = refusal(&of("nowhere:a")).await;
        assert_eq!(closed["channel"].take(), "closed:a");
        assert_eq!(nowhere["channel"].take(), "nowhere:a");
        assert_eq!(closed, nowhere);
    }
    // Nothing of a refused session is left.
    for transport in ["sse", "longpoll"] {
        assert_eq!(node.metric("meridian_connections", transport).await, 0.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_wrong_body_has_its_code() {
    let node = Node::start("[limits]\nevent_bytes = 1024\nframe_bytes = 65536\n").await;
    let json = "application/json";
    let cases: [(&str, Vec<u8>, u16, &str); 8] = [
        (json, b"{".to_vec(), 400, "malformed"),
        (json, Vec::new(), 400, "malformed"),
        (json, b"[]".to_vec(), 400, "malformed"),
        (json, b"{\"channels\":\"room:a\"}".to_vec(), 400, "malformed"),
        (json, vec![b'{'; 40_000], 400, "malformed"),
        (json, vec![b' '; 65_537], 413, "frame_too_large"),
        ("text/plain", b"{\"channels\":[]}".to_vec(), 400, "unsupported"),
        (json, b"{\"channels\":[{\"channel\":\"x\"}]}".to_vec(), 400, "bad_channel"),
    ];
    for path in BOTH {
        for version in VERSIONS {
            for (media_type, body, status, code) in &cases {
                let ask = Ask::get(&node, path).token(&token("ann")).over(version);
                let refused = refusal(&ask.post_bytes(media_type, body.clone())).await;
                let what = String::from_utf8_lossy(&body[..body.len().min(40)]);
                assert_eq!((refused.0, refused.1.as_str()), (*status, *code), "{version:?} {what}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_bodies_and_large_heads_end_by_themselves() {
    let node = Node::start("[limits]\nhandshake_timeout_ms = 1000\n").await;
    for path in BOTH {
        let mut stream = TcpStream::connect(node.client).await.expect("a connection");
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{{");
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut text = Vec::new();
        in_time("the end", stream.read_to_end(&mut text)).await.expect("read");
        assert!(String::from_utf8_lossy(&text).contains("connect_timeout"), "{text:?}");
        let mut stream = TcpStream::connect(node.client).await.expect("a connection");
        let head =
            format!("GET {path} HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(64 * 1024));
        let _ = stream.write_all(head.as_bytes()).await;
        let mut text = Vec::new();
        let _ = in_time("the end", stream.read_to_end(&mut text)).await;
        let text = String::from_utf8_lossy(&text);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 431"), "{text}");
    }
}

/// Asks for a stream and reads nothing of it.
async fn sleeper(node: &Node, channel: &str) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(16 * 1024).expect("a small buffer");
    let mut stream = socket.connect(node.client).await.expect("a connection");
    let token = token("sleeper");
    let head = format!(
        "GET /v1/sse?channel={channel}&token={token} HTTP/1.1\r\nhost: {}\r\n\r\n",
        node.client
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_never_read_cost_little_and_are_given_up() {
    const READERS: usize = 20;
    const EVENTS: usize = 400;
    let node = Node::start("[hub]\nring_events = 32\n[limits]\nheartbeat_ms = 2000\n").await;
    let canary = Canary::start(&node).await;
    let mut readers = Vec::new();
    for _ in 0..READERS {
        readers.push(sleeper(&node, "room:flood").await);
    }
    let sessions = || async { node.metric("meridian_connections", "sse").await };
    let all = READERS as f64;
    eventually_async("the streams", || async { (sessions().await == all).then_some(()) }).await;
    let before_kib = node.resident_kib();
    let client = connect(&node, Transport::WebSocket, "writer").await;
    let text = "x".repeat(32 * 1024);
    for first in (0..EVENTS).step_by(16) {
        let batch = (first..first + 16)
            .map(|n| Publish::text("room:flood", text.clone()).id(n.to_string()))
            .collect();
        let results = client.publish_batch(batch).await.expect("an answer");
        assert!(results.iter().all(Result::is_ok), "{results:?}");
    }
    let grown_kib = node.resident_kib().saturating_sub(before_kib);
    // Kept for each it would be 250 MiB.
    assert!(grown_kib < 64 * 1024, "{grown_kib} KiB more for {READERS} readers");
    eventually_async("the end of all", || async { (sessions().await == 0.0).then_some(()) }).await;
    let cause = "transport=\"sse\",cause=\"heartbeat_timeout\"";
    assert_eq!(node.metric("meridian_sessions_ended_total", cause).await, all);
    // Their connections end too: each is a place that another could have.
    for mut reader in readers {
        let mut rest = Vec::new();
        let _ = in_time("the connection's end", reader.read_to_end(&mut rest)).await;
    }
    println!("{:?}, {grown_kib} KiB more", canary.finish().await);
}

/// The bound of a poll flood is the one of connections; what it costs is told by the canary.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_polls_harms_nobody() {
    let node = Node::start("").await;
    let canary = Canary::start(&node).await;
    let mut floods = tokio::task::JoinSet::new();
    for n in 0..32 {
        let path = format!("/v1/poll?channel=room:flood-{n}");
        let ask = Ask::get(&node, &path).token(&token("mallory")).over(VERSIONS[n % 2]);
        floods.spawn(async move {
            for _ in 0..25 {
                assert_eq!(ask.whole().await.0, 200);
            }
        });
    }
    while let Some(done) = in_time("the flood", floods.join_next()).await {
        done.expect("no panic");
    }
    println!("{:?}", canary.finish().await);
    eventually_async("nothing to be left", || async {
        (node.metric("meridian_connections", "longpoll").await == 0.0).then_some(())
    })
    .await;
}
