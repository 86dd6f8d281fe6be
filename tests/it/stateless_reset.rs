//! How a client over QUIC learns of a crash: the restarted node answers what still comes for the
//! connections that it lost, and the client believes that answer, since it knows the node's own.

use std::time::{Duration, Instant};

use meridian_client::{From, Publish, Transport};

use crate::client::{builder, connect, next_ids, token};
use crate::node::{Node, in_time};
use crate::peer::Peer;

/// Heartbeats tell nothing within these tests. QUIC's own idle timeout, 30 s, is beyond them too.
const SILENT: &str = "[limits]\nheartbeat_ms = 600000\n";

async fn crash(node: &mut Node) {
    node.kill();
    node.restart().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_resets_the_sessions_that_it_lost() {
    let mut node = Node::start_lasting(SILENT).await;
    let mut peer = Peer::connect(&node, Transport::WebTransport, &token("ann")).await;
    crash(&mut node).await;
    let began = Instant::now();
    // It may have been told already: what it last acknowledged was lost in the crash.
    let _ = peer.send(br#"{"id":2,"ping":{}}"#).await;
    let (_, why) = peer.closed().await;
    assert!(why.contains("reset"), "{why}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_publishes_is_back_at_once() {
    let mut node = Node::start_lasting(SILENT).await;
    let client = builder(&node, Transport::WebTransport).token(token("ann")).connect().await;
    let client = client.expect("a connection");
    client.publish(Publish::json("room:reset", "1").id("before")).await.expect("stored");
    crash(&mut node).await;
    let began = Instant::now();
    client.publish(Publish::json("room:reset", "1").id("after")).await.expect("stored");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(client.session().expect("connected").reconnects, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_only_reads_is_back_with_its_next_keep_alive() {
    let mut node = Node::start_lasting(SILENT).await;
    let client = builder(&node, Transport::WebTransport).token(token("ann")).connect().await;
    let client = client.expect("a connection");
    let mut room = client.subscribe("room:reset", From::Now).await.expect("a subscription");
    crash(&mut node).await;
    let began = Instant::now();
    let writer = connect(&node, Transport::WebSocket, "writer").await;
    writer.publish(Publish::json("room:reset", "1").id("missed")).await.expect("stored");
    assert_eq!(in_time("the event", next_ids(&mut room, 1)).await, ["missed"]);
    println!("back after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}
