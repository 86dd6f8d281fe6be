//! Connections that begin and go no further, on TCP and TLS: each ends by itself.

use std::time::Duration;

use meridian_client::Transport;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::canary::Canary;
use crate::client::token;
use crate::node::{Node, eventually_async, in_time};
use crate::peer::Peer;
use crate::request;

const QUICK: &str = "[limits]\nhandshake_timeout_ms = 1000\n";
const PACE: Duration = Duration::from_millis(100);

/// Sends `first` at once and `drip` again and again, until the server ends it.
async fn drip(node: &Node, first: &[u8], drip: &[u8]) {
    let mut stream = TcpStream::connect(node.client).await.expect("a connection");
    stream.write_all(first).await.expect("sent");
    let mut buffer = [0; 1024];
    let ending = async {
        loop {
            tokio::select! {
                read = stream.read(&mut buffer) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                },
                () = tokio::time::sleep(PACE) => {
                    if !drip.is_empty() && stream.write_all(drip).await.is_err() {
                        return;
                    }
                }
            }
        }
    };
    let what = format!("the end of {:?}", String::from_utf8_lossy(first));
    in_time(&what, ending).await;
}

async fn connections(node: &Node) -> u64 {
    let answer = request::get(node.admin, "/readyz").await.expect("an answer");
    answer.json()["connections"].as_u64().expect("a number")
}

async fn eventually_empty(node: &Node) {
    eventually_async("all connections to end", || async {
        (connections(node).await == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_tcp_connection_ends() {
    let node = Node::start(QUICK).await;
    drip(&node, b"", b"").await;
    eventually_empty(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_drips_in_ends() {
    let node = Node::start(QUICK).await;
    drip(&node, b"GET /v1/ws HTTP/1.1\r\nhost: x\r\nx: ", b"x").await;
    eventually_empty(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_drips_in_ends() {
    let node = Node::start(QUICK).await;
    let head = b"POST /v1/publish HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n";
    drip(&node, head, b"x").await;
    eventually_empty(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http2_connection_that_asks_for_nothing_ends() {
    let node = Node::start(QUICK).await;
    drip(&node, b"PRI * HTTP/2.0\r\n\r\nSM", b"").await;
    drip(&node, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"").await;
    let settings = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let ping = b"\0\0\x08\x06\0\0\0\0\0abcdefgh";
    drip(&node, settings, ping).await;
    eventually_empty(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_never_connects_ends() {
    let node = Node::start(QUICK).await;
    let upgrade = b"GET /v1/ws HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                    sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    drip(&node, upgrade, b"").await;
    // A frame of which one byte comes at a time.
    drip(&node, &[upgrade, &[0x81, 0xfe, 0x10, 0, 0, 0, 0, 0][..]].concat(), b"[").await;
    eventually_empty(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tls_handshake_that_drips_in_ends() {
    let node = Node::start_with(QUICK, &["--listen", "127.0.0.1:0", "--tls"]).await;
    drip(&node, b"", b"").await;
    // A record of 512 bytes with a ClientHello, a byte at a time.
    drip(&node, &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3], b"x").await;
    drip(&node, b"GET / HTTP/1.1\r\n\r\n", b"x").await;
    eventually_empty(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keep_alive_connection_that_asks_nothing_more_ends() {
    let node = Node::start(QUICK).await;
    drip(&node, b"GET /v1/none HTTP/1.1\r\nhost: x\r\n\r\n", b"").await;
    eventually_empty(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_half_open_connections_harm_nobody_and_end() {
    let node = Node::start("[limits]\nhandshake_timeout_ms = 3000\n").await;
    let canary = Canary::start(&node).await;
    let before_kib = node.resident_kib();
    let mut streams = Vec::new();
    for n in 0..600 {
        let mut stream = TcpStream::connect(node.client).await.expect("a connection");
        let part = [&b""[..], b"GET /v1/ws HT", b"PRI * HTTP/2.0\r\n"][n % 3];
        stream.write_all(part).await.expect("sent");
        streams.push(stream);
    }
    eventually_async("all of them", || async { (connections(&node).await >= 600).then_some(()) })
        .await;
    for transport in [Transport::WebSocket, Transport::WebTransport] {
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        assert!(peer.ask("ping", json!({})).await["pong"].is_object());
    }
    let grown_kib = node.resident_kib().saturating_sub(before_kib);
    assert!(grown_kib < 32 * 1024, "{grown_kib} KiB more");
    println!("{:?}", canary.finish().await);
    eventually_empty(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_connections_than_allowed_are_refused_until_others_leave() {
    let node = Node::start("[limits]\nsessions = 8\nhandshake_timeout_ms = 2000\n").await;
    let mut peer = Peer::connect(&node, Transport::WebSocket, &token("ann")).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(TcpStream::connect(node.client).await.expect("a connection"));
    }
    eventually_async("the limit", || async {
        (node.metric("meridian_refusals_total", "too_many_sessions").await > 0.0).then_some(())
    })
    .await;
    assert!(connections(&node).await <= 8);
    assert!(peer.ask("ping", json!({})).await["pong"].is_object());
    drop(streams);
    eventually_async("room", || async { (connections(&node).await <= 1).then_some(()) }).await;
    Peer::connect(&node, Transport::WebTransport, &token("ann")).await;
}
