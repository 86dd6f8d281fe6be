//! `kill -9` of the node, again and again, while publishers and resuming clients are at work.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::node::{Node, eventually};
use crate::request;
use crate::witnesses::{Cast, Witnesses};

/// `MERIDIAN_KILLS` makes it longer or shorter.
fn kills() -> usize {
    std::env::var("MERIDIAN_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_lose_nothing_that_was_acknowledged() {
    let seed = std::env::var("MERIDIAN_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    println!("MERIDIAN_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    // While the node is away, a client over QUIC learns of a crash by silence only.
    let mut node = Node::start_lasting("[limits]\nheartbeat_ms = 1000\n").await;
    let cast = Cast { publishers: 10, readers: 100, channels: 5, pace: Duration::from_millis(5) };
    let witnesses = Witnesses::start(&node, &cast).await;
    for _ in 0..kills() {
        at_work(&node, &witnesses, &cast).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..300))).await;
        node.kill();
        node.restart().await;
    }
    let verdict = witnesses.finish(&node).await;
    println!("{verdict:?}");
    assert!(verdict.received >= verdict.acknowledged, "{verdict:?}");
    assert!(verdict.acknowledged > 20 * kills(), "{verdict:?}");
    assert!(verdict.reconnects as usize >= cast.readers / 2 * kills() / 2, "{verdict:?}");
}

/// Waits until the node works for most: publishes are acknowledged, and clients are back.
async fn at_work(node: &Node, witnesses: &Witnesses, cast: &Cast) {
    let before = witnesses.acknowledged();
    eventually("acknowledgements", || (witnesses.acknowledged() >= before + 20).then_some(()))
        .await;
    let began = Instant::now();
    let most = (cast.publishers + cast.readers) as u64 * 9 / 10;
    while began.elapsed() < Duration::from_secs(3) {
        let answer = request::get(node.admin, "/readyz").await.expect("an answer");
        if answer.json()["connections"].as_u64() >= Some(most) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
