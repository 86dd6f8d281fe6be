//! Two regions on real servers: one order everywhere, cursors that are good in either, and what any
//! killed part costs: nothing that was acknowledged.

use std::time::Duration;

use meridian_client::{From, Publish, Transport};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::client::{next_event, next_ids, token};
use crate::servers::Regions;
use crate::witnesses::{Cast, Witnesses};

const PARTS: [&str; 9] =
    ["edge1", "edge2", "router1", "router2", "redis1", "redis2", "pg1", "pg2", "kafka1"];

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_one_region_goes_on_in_the_other() {
    let regions = Regions::start().await;
    let channel = "room:moves";
    let connect = async |region: usize, transport, user: &str| {
        let door = regions.door(region, transport).token(token(user));
        door.connect().await.expect("a connection")
    };
    let writer = connect(1, Transport::WebSocket, "writer").await;
    let mut reader = connect(1, Transport::WebTransport, "reader").await;
    let mut room = reader.subscribe(channel, From::Now).await.expect("a subscription");
    for n in 0..10 {
        let publish = |part: &str| Publish::json(channel, "1").id(format!("{n}-{part}"));
        writer.publish(publish("seen")).await.expect("acknowledged");
        let seen = next_event(&mut room).await;
        assert_eq!(seen.id.as_deref(), Some(format!("{n}-seen").as_str()));
        let cursor = seen.cursor().expect("a cursor");
        drop((room, reader));
        writer.publish(publish("missed")).await.expect("acknowledged");
        reader = connect(1 + (n + 1) % 2, Transport::WebSocket, "reader").await;
        room = reader.subscribe(channel, From::Cursor(cursor)).await.expect("a subscription");
        assert_eq!(next_ids(&mut room, 1).await, [format!("{n}-missed")]);
    }
}

/// Each part is killed once, in a random order, and comes back; publishers and readers of both
/// regions go on all the while.
#[tokio::test(flavor = "multi_thread")]
async fn any_part_may_be_killed_under_load() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    println!("SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut regions = Regions::start().await;
    let cast = Cast { publishers: 4, readers: 16, channels: 4, pace: Duration::from_millis(10) };
    let doors = |regions: &Regions, n: usize, transport| regions.door(1 + n / 2 % 2, transport);
    let witnesses = Witnesses::start_at(&|n, transport| doors(&regions, n, transport), &cast).await;
    let mut left = PARTS.to_vec();
    while !left.is_empty() {
        let part = left.swap_remove(random.random_range(0..left.len()));
        let before = witnesses.acknowledged();
        progress(&witnesses, before + 50).await;
        println!("kills {part} after {} events", witnesses.acknowledged());
        regions.kill(part);
        tokio::time::sleep(Duration::from_millis(random.random_range(0..500))).await;
        regions.revive(part).await;
    }
    let before = witnesses.acknowledged();
    progress(&witnesses, before + 50).await;
    let verdict = witnesses.finish_at(&|n, transport| doors(&regions, n, transport)).await;
    println!("{verdict:?}");
    assert!(verdict.acknowledged > 400, "{verdict:?}");
}

async fn progress(witnesses: &Witnesses, to: usize) {
    crate::node::eventually_within(Duration::from_secs(60), "more acknowledged events", || {
        (witnesses.acknowledged() >= to).then_some(())
    })
    .await;
}
