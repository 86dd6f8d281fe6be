//! Two routers of one region: how long events wait while one ends in order, is killed, or is back at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use meridian_client::{Client, From, Publish, Subscription, Transport, Update};
use tokio::task::JoinSet;

use crate::client::{now_ms, token};
use crate::node::LOOK_EVERY;
use crate::servers::Regions;

/// Several of them in each router's half of the partitions.
const CHANNELS: usize = 16;
/// Between two publishes of one channel.
const PACE: Duration = Duration::from_millis(50);
/// The routers' session in their group.
const SESSION: Duration = Duration::from_secs(10);

/// A publisher and a reader a channel, and how long the slowest event took.
struct Clock {
    /// Events by channel.
    heard: Vec<AtomicUsize>,
    longest_ms: AtomicU64,
}

impl Clock {
    /// From now until each channel has heard an event that was published after this call: the longest
    /// that any event took.
    async fn longest(self: &Arc<Self>) -> Duration {
        // What was published by now has arrived with the next but one.
        let load = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        let before: Vec<usize> = self.heard.iter().map(load).collect();
        let began = Instant::now();
        while !self.heard.iter().map(load).zip(&before).all(|(now, before)| now > before + 1) {
            assert!(began.elapsed() < Duration::from_secs(60), "{before:?} {:?}", self.heard);
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Duration::from_millis(self.longest_ms.swap(0, Ordering::Relaxed))
    }
}

/// As long as its client lives.
async fn read(n: usize, _client: Client, mut room: Subscription, clock: Arc<Clock>) {
    while let Some(update) = room.next().await {
        let Update::Event(event) = update else { panic!("{update:?}") };
        let sent_ms: u64 = event.id.expect("an id").parse().expect("a time");
        clock.longest_ms.fetch_max(now_ms().saturating_sub(sent_ms), Ordering::Relaxed);
        clock.heard[n].fetch_add(1, Ordering::Relaxed);
    }
}

async fn write(channel: String, client: Client) {
    loop {
        let event = Publish::json(&channel, "1").id(now_ms().to_string());
        client.publish(event).await.expect("acknowledged");
        tokio::time::sleep(PACE).await;
    }
}

async fn start(regions: &Regions) -> (Arc<Clock>, JoinSet<()>) {
    let connect = async |user: &str| {
        let door = regions.door(1, Transport::WebSocket).token(token(user));
        door.connect().await.expect("a connection")
    };
    let (reader, writer) = (connect("reader").await, connect("writer").await);
    let heard = (0..CHANNELS).map(|_| AtomicUsize::new(0)).collect();
    let clock = Arc::new(Clock { heard, longest_ms: AtomicU64::new(0) });
    let mut tasks = JoinSet::new();
    for n in 0..CHANNELS {
        let channel = format!("room:takeover-{n}");
        let room = reader.subscribe(&channel, From::Now).await.expect("a subscription");
        tasks.spawn(read(n, reader.clone(), room, clock.clone()));
        tasks.spawn(write(channel, writer.clone()));
    }
    (clock, tasks)
}

#[tokio::test(flavor = "multi_thread")]
async fn events_wait_no_longer_than_a_takeover_may_take() {
    let mut regions = Regions::start().await;
    regions.add_router("router11", 1).await;
    let halves = async |regions: &Regions| {
        for name in ["router1", "router11"] {
            regions.tells(name, "4 of 8 partitions").await;
        }
    };
    halves(&regions).await;
    let (clock, mut tasks) = start(&regions).await;
    clock.longest().await;

    regions.terminate("router11").await;
    let in_order = clock.longest().await;
    regions.tells("router1", "8 of 8 partitions").await;

    regions.revive("router11").await;
    halves(&regions).await;
    let joined = clock.longest().await;

    regions.kill("router11");
    regions.revive("router11").await;
    let back = clock.longest().await;
    halves(&regions).await;

    regions.kill("router11");
    let killed = clock.longest().await;
    regions.tells("router1", "8 of 8 partitions").await;

    println!("in order {in_order:?}, joined {joined:?}, back {back:?}, killed {killed:?}");
    let slack = Duration::from_secs(5);
    assert!(in_order <= slack && joined <= slack, "{in_order:?} {joined:?}");
    assert!(back < SESSION, "{back:?}");
    assert!(killed <= SESSION + slack, "{killed:?}");
    tasks.abort_all();
}
