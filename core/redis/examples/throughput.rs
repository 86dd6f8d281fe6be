//! Prints how many events a second one router can apply, by the size of its batches, with a link that
//! follows half of the channels. Starts a Redis of its own.

#![expect(clippy::unwrap_used, reason = "an example that can't go on has nothing else to do")]

use std::time::{Duration, Instant};

use meridian_core::seams::conformance::{Samples, channel, stream};
use meridian_core::seams::{Applied, ApplyOutcome, Backplane, Delivery, Link, Stale};
use meridian_core::vocabulary::ChannelKey;
use meridian_redis::{RedisBackplane, RedisOptions};
use meridian_stack::{Counts, Stack};

const CHANNELS: usize = 100;
const EVENT_BYTES: usize = 200;
const BATCHES: [usize; 3] = [1, 100, 500];
const RUN: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() {
    let stack = Stack::start(Counts { redis: 1, ..Counts::default() });
    let options = RedisOptions { url: stack.redis(1).to_owned(), ..RedisOptions::default() };
    let backplane = RedisBackplane::start(&options).unwrap();
    assert!(backplane.wait_connected(Duration::from_secs(10)).await);
    let channels: Vec<_> = (0..CHANNELS).map(|n| channel(&format!("c{n}"))).collect();
    println!("{CHANNELS} channels, {EVENT_BYTES} B events, one partition");
    println!(
        "{:>6} {:>10} {:>12} {:>12} {:>10} {:>6}",
        "batch", "events/s", "p50", "p99", "read", "lossy"
    );
    for (partition, batch) in (0..).zip(BATCHES) {
        run(&backplane, Samples::new(stream(1, partition)), &channels, batch).await;
    }
}

/// Applies for a while, one batch after the other, as a router does.
async fn run(
    backplane: &RedisBackplane,
    mut samples: Samples,
    channels: &[ChannelKey],
    batch: usize,
) {
    let partition = samples.stream().clone();
    let restored = samples.position();
    assert_eq!(backplane.repair(&partition, None, Stale::All, restored).await, Ok(true));
    let link = backplane.link().await.unwrap();
    let followed: Vec<_> =
        channels.iter().step_by(2).map(|key| (key.clone(), partition.clone())).collect();
    link.control.follow(&followed).await.unwrap();
    let reads = tokio::spawn(read(link));

    let (mut times, mut applied, start) = (Vec::new(), 0_usize, Instant::now());
    while start.elapsed() < RUN {
        let events = make(&mut samples, channels, applied, batch);
        let began = Instant::now();
        let outcomes = backplane.apply(&partition, &events).await.unwrap();
        times.push(began.elapsed());
        assert!(outcomes.iter().all(|outcome| *outcome == ApplyOutcome::Applied));
        // The history keeps up: hot history stays within its bounds.
        if times.len() % 64 == 0 {
            backplane.trim_below(&partition, samples.position()).await.unwrap();
        }
        applied += batch;
    }
    let a_second = applied as f64 / start.elapsed().as_secs_f64();
    let (read, lossy) = reads.await.unwrap();
    times.sort_unstable();
    let at = |percent: usize| times[times.len() * percent / 100];
    println!(
        "{batch:>6} {a_second:>10.0} {:>12.1?} {:>12.1?} {read:>10} {lossy:>6}",
        at(50),
        at(99)
    );
}

fn make(samples: &mut Samples, channels: &[ChannelKey], from: usize, count: usize) -> Vec<Applied> {
    let data = "x".repeat(EVENT_BYTES);
    (from..from + count).map(|n| samples.event(&channels[n % channels.len()], &data)).collect()
}

/// Until nothing comes for a second: events, and how often some were missed.
async fn read(mut link: Link) -> (usize, usize) {
    let (mut events, mut lossy) = (0, 0);
    while let Ok(Some(delivery)) =
        tokio::time::timeout(Duration::from_secs(1), link.deliveries.recv()).await
    {
        match delivery {
            Delivery::Event(_) => events += 1,
            Delivery::Lossy => lossy += 1,
            Delivery::Ephemeral(_) => {}
        }
    }
    (events, lossy)
}
