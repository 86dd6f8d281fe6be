//! What is particular to WebTransport and QUIC: lanes that the client stops, and peers that begin and
//! go no further.

use std::collections::HashMap;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use meridian_client::{Transport, raw};
use meridian_core::protocol::{FrameReader, put_frame};
use serde_json::{Value, json};
use wtransport::tls::Sha256Digest;
use wtransport::{ClientConfig, Connection, RecvStream, SendStream, VarInt};

use crate::canary::Canary;
use crate::client::token;
use crate::node::{Node, eventually_async, in_time};
use crate::peer::Peer;
use crate::request;

const QUICK: &str = "[limits]\nhandshake_timeout_ms = 1000\n";

type Endpoint = wtransport::Endpoint<wtransport::endpoint::endpoint_side::Client>;

fn endpoint(node: &Node) -> Endpoint {
    let hash = Sha256Digest::new(node.certificate.0);
    let config = ClientConfig::builder()
        .with_bind_default()
        .with_server_certificate_hashes([hash])
        .keep_alive_interval(Some(Duration::from_millis(200)))
        .build();
    Endpoint::client(config).expect("a UDP socket")
}

async fn open(node: &Node, endpoint: &Endpoint) -> Connection {
    let url = format!("https://{}/v1/wt", node.client);
    in_time("the session", endpoint.connect(url)).await.expect("a session")
}

/// The code with which the server ends the session.
async fn close_code(connection: &Connection) -> u64 {
    let ending = async {
        loop {
            if let Err(why) = connection.accept_bi().await {
                return why;
            }
        }
    };
    match in_time("the close", ending).await {
        wtransport::error::ConnectionError::ApplicationClosed(close) => close.code().into_inner(),
        other => panic!("{other:?}"),
    }
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

/// A stream of frames, read by hand.
struct Lane {
    stream: RecvStream,
    reader: FrameReader,
}

impl Lane {
    fn new(stream: RecvStream) -> Self {
        Self { stream, reader: FrameReader::new(16 << 20) }
    }

    async fn next(&mut self) -> Value {
        let mut buffer = vec![0; 4096];
        loop {
            if let Some(frame) = self.reader.next_frame().expect("frames") {
                return serde_json::from_slice(&frame).expect("JSON");
            }
            let read = in_time("a frame", self.stream.read(&mut buffer)).await.expect("a lane");
            self.reader.push(&buffer[..read.expect("more of the lane")]);
        }
    }
}

async fn command(send: &mut SendStream, command: &Value) {
    let mut out = bytes::BytesMut::new();
    put_frame(&mut out, command.to_string().as_bytes());
    send.write_all(&out).await.expect("sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_the_client_stops_ends_its_channels_and_no_other() {
    let node = Node::start("").await;
    let endpoint = endpoint(&node);
    let connection = open(&node, &endpoint).await;
    let (mut send, recv) = connection.open_bi().await.expect("a stream").await.expect("opened");
    let mut session = Lane::new(recv);
    command(&mut send, &json!({ "id": 1, "connect": { "protocol": 1, "token": token("ann") } }))
        .await;
    assert!(session.next().await["connected"].is_object());
    let channels: Vec<String> = (0..16).map(|n| format!("room:lane-{n}")).collect();
    for (n, channel) in channels.iter().enumerate() {
        command(&mut send, &json!({ "id": 2 + n, "subscribe": { "channel": channel } })).await;
    }
    let (mut lanes, mut lane_of) = (Vec::new(), HashMap::new());
    while lane_of.len() < channels.len() {
        lanes.push(Lane::new(in_time("a lane", connection.accept_uni()).await.expect("a lane")));
        let index = lanes.len() - 1;
        // All lanes are open by the time the last channel has one; each tells which are its own.
        let lane = &mut lanes[index];
        while let Ok(message) = tokio::time::timeout(Duration::from_millis(300), lane.next()).await
        {
            let channel = message["subscribed"]["channel"].as_str().expect("subscribed").to_owned();
            lane_of.insert(channel, index);
        }
    }
    assert!(lanes.len() > 1, "channels are spread over lanes");
    let stopped = lane_of[&channels[0]];
    lanes.remove(stopped).stream.stop(VarInt::from_u32(7));
    let mut writer = Peer::connect(&node, Transport::WebSocket, &token("writer")).await;
    let mut lost: Vec<&String> =
        channels.iter().filter(|channel| lane_of[*channel] == stopped).collect();
    // A stopped lane is noticed where it is written to.
    while !lost.is_empty() {
        for channel in &lost {
            writer.publish(channel, "into the void").await;
        }
        let ended = session.next().await["unsubscribed"].take();
        assert_eq!((&ended["code"], &ended["action"]), (&json!("lane_stopped"), &json!("resume")));
        lost.retain(|channel| ended["channel"] != **channel);
    }
    for (index, lane) in (0..lanes.len() + 1).filter(|index| *index != stopped).zip(&mut lanes) {
        let channel = channels.iter().find(|channel| lane_of[*channel] == index).expect("one");
        writer.publish(channel, "still").await;
        assert_eq!(lane.next().await["events"]["channel"], **channel);
    }
    // The channel is free again, on whichever lane there is.
    command(&mut send, &json!({ "id": 90, "subscribe": { "channel": channels[0], "last": 1 } }))
        .await;
    command(&mut send, &json!({ "id": 91, "ping": {} })).await;
    loop {
        let message = session.next().await;
        assert!(message["error"].is_null(), "{message}");
        if message["id"] == 91 {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_without_a_stream_ends() {
    let node = Node::start(QUICK).await;
    let endpoint = endpoint(&node);
    let connection = open(&node, &endpoint).await;
    assert_eq!(close_code(&connection).await, 4007);
    eventually_empty(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_streams_say_nothing_ends() {
    let node = Node::start(QUICK).await;
    let endpoint = endpoint(&node);
    let connection = open(&node, &endpoint).await;
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(connection.open_bi().await.expect("a stream").await.expect("opened"));
    }
    let mut lanes = Vec::new();
    for _ in 0..3 {
        lanes.push(connection.open_uni().await.expect("a stream").await.expect("opened"));
    }
    assert_eq!(close_code(&connection).await, 4007);
    eventually_empty(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn further_streams_of_a_client_are_refused_and_the_session_goes_on() {
    let node = Node::start("").await;
    let endpoint = raw::Endpoint::new(&node.trust()).expect("a UDP socket");
    let url = format!("https://{}/v1/wt", node.client);
    let mut session = raw::WebTransport::connect(&endpoint, &url).await.expect("a session");
    let connect = json!({ "id": 1, "connect": { "protocol": 1, "token": token("ann") } });
    session.send_frame(connect.to_string().as_bytes()).await.expect("sent");
    session.next_frame().await.expect("connected");
    let connection = session.connection();
    for _ in 0..100 {
        let opening = async { connection.open_bi().await.expect("room for a stream").await };
        // The refusal may come while the stream still says whose it is.
        let Ok((mut send, mut receive)) = in_time("an opening", opening).await else { continue };
        let _ = send.write_all(b"x").await;
        let read = in_time("the refusal", receive.read(&mut [0; 8])).await;
        assert!(read.is_err(), "{read:?}");
    }
    // One that only sends might be HTTP/3's own: it is left unread, and there is room for few.
    let mut silent = Vec::new();
    for _ in 0..20 {
        let opening =
            async { connection.open_uni().await.expect("a stream").await.expect("opened") };
        let Ok(stream) = tokio::time::timeout(Duration::from_millis(500), opening).await else {
            break;
        };
        silent.push(stream);
    }
    assert!(silent.len() < 20, "room for any number of streams");
    session.send_frame(br#"{"id":2,"ping":{}}"#).await.expect("sent");
    let (_, reply) = in_time("a pong", session.next_frame()).await.expect("a pong");
    assert!(String::from_utf8_lossy(&reply).contains("pong"));
}

/// A QUIC connection that has asked for nothing yet.
async fn bare_quic(node: &Node) -> (quinn::Endpoint, quinn::Connection) {
    let tls = node.trust().client_config(&[b"h3"]).expect("a configuration");
    let tls = quinn::crypto::rustls::QuicClientConfig::try_from(tls).expect("TLS 1.3");
    let mut config = quinn::ClientConfig::new(Arc::new(tls));
    let mut transport = quinn::TransportConfig::default();
    transport.keep_alive_interval(Some(Duration::from_millis(200)));
    config.transport_config(Arc::new(transport));
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().expect("an address"));
    let endpoint = endpoint.expect("a UDP socket");
    let connecting = endpoint.connect_with(config, node.client, "localhost").expect("a dial");
    let connection = in_time("the handshake", connecting).await.expect("a connection");
    (endpoint, connection)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quic_connection_that_asks_for_nothing_ends() {
    let node = Node::start(QUICK).await;
    let (_endpoint, connection) = bare_quic(&node).await;
    in_time("its end", connection.closed()).await;
    eventually_empty(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_say_nothing_before_any_session_end() {
    let node = Node::start(QUICK).await;
    let (_endpoint, connection) = bare_quic(&node).await;
    let mut streams = Vec::new();
    for n in 0..10_u8 {
        let (mut send, receive) = in_time("room", connection.open_bi()).await.expect("a stream");
        // The first byte of a frame, and no more.
        send.write_all(&[[0x40, 0x01, 0xff][usize::from(n % 3)]]).await.expect("sent");
        streams.push((send, receive));
    }
    in_time("its end", connection.closed()).await;
    eventually_empty(&node).await;
}

/// The first datagram of a handshake, which nobody will go on with.
async fn first_flight(node: &Node) -> Vec<u8> {
    let trap = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let tls = node.trust().client_config(&[b"h3"]).expect("a configuration");
    let tls = quinn::crypto::rustls::QuicClientConfig::try_from(tls).expect("TLS 1.3");
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().expect("an address"));
    let endpoint = endpoint.expect("a UDP socket");
    let config = quinn::ClientConfig::new(Arc::new(tls));
    let to = trap.local_addr().expect("an address");
    let _connecting = endpoint.connect_with(config, to, "localhost").expect("a dial");
    let mut datagram = vec![0; 2048];
    let (length, _) = in_time("a datagram", trap.recv_from(&mut datagram)).await.expect("one");
    datagram.truncate(length);
    datagram
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quic_handshakes_that_go_no_further_harm_nobody_and_end() {
    let node = Node::start("[limits]\nhandshake_timeout_ms = 2000\n").await;
    let canary = Canary::start(&node).await;
    let before_kib = node.resident_kib();
    let mut sockets = Vec::new();
    for _ in 0..100 {
        let datagram = first_flight(&node).await;
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.send_to(&datagram, node.client).expect("sent");
        // Cut off, so that not even the first step of the handshake is whole.
        socket.send_to(&datagram[..datagram.len() / 2], node.client).expect("sent");
        sockets.push(socket);
    }
    let mut peer = Peer::connect(&node, Transport::WebTransport, &token("ann")).await;
    assert!(peer.ask("ping", json!({})).await["pong"].is_object());
    drop(peer);
    println!("{:?}", canary.finish().await);
    let grown_kib = node.resident_kib().saturating_sub(before_kib);
    assert!(grown_kib < 48 * 1024, "{grown_kib} KiB more");
    eventually_empty(&node).await;
}
