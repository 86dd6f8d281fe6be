//! Random input against a live server: nobody else notices, and the server stays.

use std::time::{Duration, Instant};

use meridian_client::{Transport, raw};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::canary::Canary;
use crate::client::token;
use crate::node::Node;
use crate::peer::{Link, Peer};

/// `MERIDIAN_FUZZ_SECONDS` makes it longer, `MERIDIAN_SEED` repeats a run.
fn duration() -> Duration {
    let seconds = std::env::var("MERIDIAN_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(4))
}

fn seed() -> u64 {
    let given = std::env::var("MERIDIAN_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(rand::random);
    println!("MERIDIAN_SEED={seed}");
    seed
}

const GOOD: &[&str] = &[
    r#"{"id":1,"ping":{}}"#,
    r#"{"id":2,"subscribe":{"channel":"room:fuzz"}}"#,
    r#"{"id":3,"subscribe":{"channel":"room:fuzz2","last":20}}"#,
    r#"{"id":4,"subscribe":{"channel":"room:fuzz3","cursor":"1.global.1.3.8340"}}"#,
    r#"{"id":5,"unsubscribe":{"channel":"room:fuzz"}}"#,
    r#"{"id":6,"publish":{"channel":"room:fuzz","id":"a","data":{"b":[1,2,{"c":null}]}}}"#,
    r#"{"id":7,"publish_batch":{"events":[{"channel":"room:fuzz","data":1},{"channel":"typing:x","text":"t"}]}}"#,
    r#"{"id":8,"ack":{"channel":"room:fuzz","cursor":"1.global.1.3.8341","reset":true}}"#,
    r#"{"id":9,"history":{"channel":"room:fuzz","last":100}}"#,
    r#"[{"id":1,"ping":{}},{"id":10,"refresh":{"token":"eyJ"}},{"pong":{}}]"#,
    r#"{"id":11,"connect":{"protocol":1,"token":"x","capabilities":["gap"],"subscriber":"s"}}"#,
];
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "null",
    "true",
    "-1",
    "1e999",
    "\\u0000",
    "\\ud800",
    "\u{0}",
    "id",
    "publish",
    "subscribe",
    "room:",
    "1.global.1.",
    "999999999999999999999",
    "\u{1F600}",
];

/// A frame that was good once, or never.
fn frame(random: &mut StdRng) -> Vec<u8> {
    let mut bytes = GOOD.choose(random).expect("some").as_bytes().to_vec();
    for _ in 0..random.random_range(0..4) {
        let at = random.random_range(0..=bytes.len());
        match random.random_range(0..6) {
            0 => bytes.truncate(at),
            1 => drop(bytes.splice(at..at, PIECES.choose(random).expect("some").bytes())),
            2 if at < bytes.len() => bytes[at] = random.random(),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            4 => {
                let copy = bytes[at..].to_vec();
                bytes.extend_from_slice(&copy);
            }
            _ => {
                let noise: Vec<u8> =
                    (0..random.random_range(0..64)).map(|_| random.random()).collect();
                bytes.splice(at..at, noise);
            }
        }
    }
    bytes
}

/// One hostile session, from its start to its end.
async fn attack(node: &Node, transport: Transport, random: &mut StdRng) {
    let mut peer = if random.random_bool(0.8) {
        Peer::connect(node, transport, &token("mallory")).await
    } else {
        Peer::open(node, transport).await
    };
    for _ in 0..random.random_range(1..40) {
        let frame = frame(random);
        let sent = match (random.random_range(0..20), &mut peer.link) {
            (0, _) => peer.send_bytes(&frame).await,
            (1, Link::WebSocket(socket)) => socket.send_frame(raw::Opcode::Binary, &frame).await,
            (2, Link::WebSocket(socket)) => {
                let opcode = raw::Opcode::Reserved(random.random_range(0..16));
                socket.send_frame(opcode, &frame[..frame.len().min(125)]).await
            }
            _ => peer.send(&frame).await,
        };
        if sent.is_err() {
            return;
        }
    }
    // Half of them read what they were told, the others leave without a word.
    if random.random_bool(0.5) {
        let reading = async { while peer.next().await.is_ok() {} };
        let _ = tokio::time::timeout(Duration::from_millis(20), reading).await;
    }
}

on_both! {
    async fn random_frames_harm_nobody(transport: Transport) {
        let mut random = StdRng::seed_from_u64(seed());
        let node = Node::start("[limits]\nhandshake_timeout_ms = 2000\n").await;
        let canary = Canary::start(&node).await;
        attack(&node, transport, &mut random).await;
        let before_kib = node.resident_kib();
        let (began, mut sessions) = (Instant::now(), 0);
        while began.elapsed() < duration() {
            attack(&node, transport, &mut random).await;
            sessions += 1;
        }
        let sung = canary.finish().await;
        let grown_kib = node.resident_kib().saturating_sub(before_kib);
        println!("{sessions} sessions, {sung:?}, {grown_kib} KiB more");
        assert!(grown_kib < 96 * 1024, "{grown_kib} KiB more");
        assert!(!node.log().contains("panicked"), "{}", node.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_datagrams_and_bytes_harm_nobody() {
    let mut random = StdRng::seed_from_u64(seed());
    let node = Node::start("[limits]\nhandshake_timeout_ms = 500\n").await;
    let canary = Canary::start(&node).await;
    let udp = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let began = Instant::now();
    while began.elapsed() < duration() / 2 {
        for _ in 0..20 {
            let mut datagram: Vec<u8> =
                (0..random.random_range(1..1400)).map(|_| random.random()).collect();
            // Long headers of version 1, short ones, and noise.
            match random.random_range(0..3) {
                0 => datagram.splice(0..0, [0xc3, 0, 0, 0, 1, 8]).for_each(drop),
                1 => datagram[0] = 0x40,
                _ => {}
            }
            let _ = udp.send_to(&datagram, node.client).await;
        }
        let mut tcp = tokio::net::TcpStream::connect(node.client).await.expect("a connection");
        let noise: Vec<u8> = (0..random.random_range(1..4096)).map(|_| random.random()).collect();
        let _ = tokio::io::AsyncWriteExt::write_all(&mut tcp, &noise).await;
    }
    println!("{:?}", canary.finish().await);
    assert!(!node.log().contains("panicked"), "{}", node.log());
}
