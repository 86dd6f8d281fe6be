//! SIGTERM: clients are told when to move, nothing is lost, and the process ends in order.

use std::time::{Duration, Instant};

use meridian_client::Transport;
use serde_json::json;

use crate::client::token;
use crate::node::{Node, eventually_async};
use crate::peer::{Opening, Peer};
use crate::request::{self, Request};
use crate::witnesses::{Cast, Witnesses};

const DEADLINE: Duration = Duration::from_secs(6);
const DRAIN: &str = "[drain]\ndeadline_ms = 6000\nspread_ms = 3000\n";

const BOTH: [Transport; 2] = [Transport::WebSocket, Transport::WebTransport];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_is_told_when_to_move_spread_over_the_time() {
    let mut node = Node::start(DRAIN).await;
    let mut peers = Vec::new();
    for _ in 0..30 {
        for transport in BOTH {
            peers.push(Peer::connect(&node, transport, &token("ann")).await);
        }
    }
    // One that has not connected yet, and one that is only a connection.
    let mut early = Peer::open(&node, Transport::WebSocket).await;
    let idle = tokio::net::TcpStream::connect(node.client).await.expect("a connection");
    let began = Instant::now();
    node.terminate();
    assert_eq!(early.closed().await, (4050, "draining".to_owned()));
    let mut times = Vec::new();
    for peer in &mut peers {
        let drain = peer.find("drain", |m| m["drain"].is_object()).await["drain"].take();
        assert_eq!(drain["deadline_ms"], 6000);
        times.push(drain["after_ms"].as_u64().expect("a time"));
    }
    assert!(began.elapsed() < Duration::from_secs(3), "told at once: {:?}", began.elapsed());
    times.sort_unstable();
    assert!(times.iter().all(|ms| *ms <= 3000), "{times:?}");
    let in_quarter = |n: u64| times.iter().filter(|ms| **ms / 751 == n).count();
    for quarter in 0..4 {
        assert!((4..=28).contains(&in_quarter(quarter)), "{times:?}");
    }
    let ready = request::get(node.admin, "/readyz").await.expect("an answer");
    assert_eq!((ready.status, ready.json()["phase"].clone()), (503, json!("draining")));
    assert_eq!(request::get(node.admin, "/healthz").await.expect("an answer").status, 200);
    for transport in BOTH {
        let refused =
            tokio::time::timeout(Duration::from_secs(1), Opening::new().open(&node, transport));
        assert!(!matches!(refused.await, Ok(Ok(_))), "a new session on {transport:?}");
    }
    // Until they go, they are served.
    peers[0].publish("room:drain", "late").await;
    // Those that stay are closed at the deadline, with a code.
    for peer in &mut peers {
        assert_eq!(peer.closed().await, (4050, "draining".to_owned()));
    }
    assert!(began.elapsed() + Duration::from_millis(500) >= DEADLINE, "{:?}", began.elapsed());
    let status = node.ended(Duration::from_secs(10)).await;
    assert!(status.success(), "{status}");
    assert!(began.elapsed() < DEADLINE + Duration::from_secs(4), "{:?}", began.elapsed());
    drop(idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_clients_have_left_ends_at_once() {
    let mut node = Node::start("[drain]\ndeadline_ms = 60000\nspread_ms = 0\n").await;
    let mut peers = Vec::new();
    for transport in BOTH {
        peers.push(Peer::connect(&node, transport, &token("ann")).await);
    }
    let idle = Request::new("GET", "/v1/none").send(node.client).await.expect("an answer");
    assert_eq!(idle.status, 404);
    node.terminate();
    for mut peer in peers {
        peer.find("drain", |m| m["drain"].is_object()).await;
    }
    let status = node.ended(Duration::from_secs(15)).await;
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_clients_under_load_lose_nothing() {
    let mut node = Node::start_lasting(&format!("{DRAIN}[limits]\nheartbeat_ms = 2000\n")).await;
    let cast = Cast { publishers: 4, readers: 200, channels: 4, pace: Duration::from_millis(10) };
    let witnesses = Witnesses::start(&node, &cast).await;
    let flowing = |more: usize| {
        let (witnesses, before) = (&witnesses, witnesses.acknowledged());
        eventually_async("acknowledgements", move || async move {
            (witnesses.acknowledged() >= before + more).then_some(())
        })
    };
    flowing(100).await;
    let began = Instant::now();
    node.terminate();
    flowing(50).await;
    let status = node.ended(DEADLINE + Duration::from_secs(6)).await;
    assert!(status.success(), "{status} after {:?}", began.elapsed());
    node.restart().await;
    flowing(100).await;
    let verdict = witnesses.finish(&node).await;
    println!("{verdict:?}");
    assert!(verdict.received >= verdict.acknowledged, "{verdict:?}");
    assert_eq!(verdict.unacknowledged, 0, "{verdict:?}");
}
