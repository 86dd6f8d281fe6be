//! A client whose address changes under its QUIC connection, as it does behind a NAT that forgot it: the
//! session goes on and misses nothing, on whichever worker's socket its datagrams now arrive.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use meridian_client::Transport;
use serde_json::json;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client::token;
use crate::node::{Node, eventually};
use crate::peer::{Opening, Peer};

const CHANNEL: &str = "room:moving";
/// The kernel spreads ports over workers by a hash: so many on one side do not happen by chance.
const MOVES_MOST: usize = 40;

/// Stands between one client and the node. Ends with its owner.
struct Nat {
    /// Where the client finds the node.
    address: SocketAddr,
    moves: mpsc::Sender<UdpSocket>,
    /// Datagrams of the node that reached the present port.
    heard: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Nat {
    async fn before(node: &Node) -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let address = front.local_addr().expect("an address");
        let (moves, moved) = mpsc::channel(1);
        let (heard, mut tasks) = (Arc::<AtomicU64>::default(), JoinSet::new());
        tasks.spawn(pass_on(front, port_to(node).await, moved, heard.clone()));
        Self { address, moves, heard, _tasks: tasks }
    }

    /// From now on the node sees another port, and what it sends to the old one is lost.
    async fn move_to(&self, port: UdpSocket) {
        self.moves.send(port).await.expect("the tasks live as long as this");
    }
}

/// A port of the NAT's outer side.
async fn port_to(node: &Node) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    socket.connect(node.client).await.expect("an address");
    socket
}

async fn pass_on(
    front: UdpSocket,
    mut port: UdpSocket,
    mut moved: mpsc::Receiver<UdpSocket>,
    heard: Arc<AtomicU64>,
) {
    let (mut inward, mut outward) = (vec![0; 65_536], vec![0; 65_536]);
    let mut client = None;
    loop {
        // A datagram that is not taken is lost, as on any network.
        tokio::select! {
            Some(next) = moved.recv() => {
                port = next;
                heard.store(0, Ordering::SeqCst);
            }
            Ok((length, from)) = front.recv_from(&mut outward) => {
                client = Some(from);
                let _ = port.send(&outward[..length]).await;
            }
            Ok(length) = port.recv(&mut inward) => {
                heard.fetch_add(1, Ordering::SeqCst);
                if let Some(client) = client {
                    let _ = front.send_to(&inward[..length], client).await;
                }
            }
        }
    }
}

/// Publishes one after the other until it is stopped; how many.
async fn publish_until(mut writer: Peer, stop: CancellationToken) -> usize {
    let mut count = 0;
    while !stop.is_cancelled() {
        writer.publish(CHANNEL, &count.to_string()).await;
        count += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    writer.publish(CHANNEL, "end").await;
    count
}

/// Moves the client until it is `enough`, while events flow; all of them must come.
async fn session_survives(node: &Node, enough: impl AsyncFn(usize) -> bool) {
    let nat = Nat::before(node).await;
    let opened = Opening::new().at(nat.address).open(node, Transport::WebTransport).await;
    let mut peer = opened.expect("a session");
    peer.introduce(&token("ann")).await;
    peer.subscribe(CHANNEL, json!({})).await;
    let writer = Peer::connect(node, Transport::WebSocket, &token("writer")).await;
    let stop = CancellationToken::new();
    let writing = tokio::spawn(publish_until(writer, stop.clone()));
    let mut moves = 0;
    while !enough(moves).await {
        assert!(moves < MOVES_MOST, "{moves} moves did not do");
        let port = port_to(node).await;
        nat.move_to(port).await;
        // The node learns of the new port from what the client sends.
        assert!(peer.ask("ping", json!({})).await["pong"].is_object());
        eventually("the node's datagrams at the new port", || {
            (nat.heard.load(Ordering::SeqCst) > 2).then_some(())
        })
        .await;
        moves += 1;
    }
    stop.cancel();
    let count = writing.await.expect("acknowledged");
    let events = peer.events_until(CHANNEL, "end").await;
    let ids: Vec<_> = events.iter().map(|event| event["id"].clone()).collect();
    let wanted: Vec<_> = (0..count).map(|n| json!(n.to_string())).chain([json!("end")]).collect();
    assert_eq!(ids, wanted);
    assert!(peer.held().is_empty(), "{:?}", peer.held());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_survives_a_change_of_address() {
    let node = Node::start("[listen]\nworkers = 1\n").await;
    session_survives(&node, async |moves| moves == 3).await;
    assert_eq!(node.metric("meridian_quic_steered_total", "").await, 0.0);
    assert_eq!(node.metric("meridian_sessions_total", "webtransport").await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_survives_a_change_of_address_to_another_workers_socket() {
    let node = Node::start("[listen]\nworkers = 2\n").await;
    let steered = async |_| node.metric("meridian_quic_steered_total", "").await > 0.0;
    session_survives(&node, steered).await;
    assert_eq!(node.metric("meridian_sessions_total", "webtransport").await, 1.0);
}
