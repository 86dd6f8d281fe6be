//! Two routers of one region: how long events wait while one joins, ends in order, is killed, or is back at
//! once; here, and where Kafka is behind a slow link.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use meridian_client::{Client, From, Publish, Subscription, Transport, Update};
use meridian_core::vocabulary::{Channel, ChannelKey, Tenant, partition_of};
use tokio::task::JoinSet;

use crate::client::{now_ms, token};
use crate::far;
use crate::node::LOOK_EVERY;
use crate::servers::Regions;

const PARTITIONS: usize = 8;
/// Of each partition.
const CHANNELS: usize = 2;
/// Between two publishes of one channel.
const PACE: Duration = Duration::from_millis(50);
/// The routers' session in their group.
const SESSION: Duration = Duration::from_secs(10);
const SLACK: Duration = Duration::from_secs(5);

/// A publisher and a reader a channel, and how long the slowest event took.
struct Clock {
    /// Events by channel.
    heard: Vec<AtomicUsize>,
    /// By partition.
    longest_ms: Vec<AtomicU64>,
}

/// The longest that an event of each partition took from its publish to its reader, in order.
struct Waits(Vec<Duration>);

impl Clock {
    /// From now until each channel has heard an event that was published after this call.
    async fn waits(&self) -> Waits {
        // What was published by now has arrived with the next but one.
        let load = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        let before: Vec<usize> = self.heard.iter().map(load).collect();
        let began = Instant::now();
        while !self.heard.iter().map(load).zip(&before).all(|(now, before)| now > before + 1) {
            assert!(began.elapsed() < Duration::from_secs(60), "{before:?} {:?}", self.heard);
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let take = |longest: &AtomicU64| Duration::from_millis(longest.swap(0, Ordering::Relaxed));
        let mut waits: Vec<Duration> = self.longest_ms.iter().map(take).collect();
        waits.sort_unstable();
        Waits(waits)
    }
}

impl Waits {
    fn longest(&self) -> Duration {
        self.0[PARTITIONS - 1]
    }
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} / {:?} / {:?}", self.0[0], self.0[PARTITIONS / 2], self.longest())
    }
}

/// Some channels of each partition, with the partition.
fn channels() -> Vec<(String, usize)> {
    let mut found = vec![Vec::new(); PARTITIONS];
    for channel in (0..).map(|n| format!("room:takeover-{n}")) {
        let tenant = Tenant::parse("acme").expect("a tenant");
        let key = ChannelKey { tenant, channel: Channel::parse(&channel).expect("a channel") };
        let partition = partition_of(&key.log_key(), PARTITIONS as u32).0 as usize;
        if found[partition].len() < CHANNELS {
            found[partition].push((channel, partition));
        }
        if found.iter().all(|channels| channels.len() == CHANNELS) {
            break;
        }
    }
    found.concat()
}

/// As long as its client lives.
async fn read(at: (usize, usize), _client: Client, mut room: Subscription, clock: Arc<Clock>) {
    let (n, partition) = at;
    while let Some(update) = room.next().await {
        let Update::Event(event) = update else { panic!("{update:?}") };
        let sent_ms: u64 = event.id.expect("an id").parse().expect("a time");
        let took_ms = now_ms().saturating_sub(sent_ms);
        clock.longest_ms[partition].fetch_max(took_ms, Ordering::Relaxed);
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

/// Readers in a region, and writers in the first.
async fn start(regions: &Regions, region: usize) -> (Arc<Clock>, JoinSet<()>) {
    let connect = async |region: usize, user: &str| {
        let door = regions.only_door(region, Transport::WebSocket).token(token(user));
        regions.connect(region, door).await
    };
    let (reader, writer) = (connect(region, "reader").await, connect(1, "writer").await);
    let channels = channels();
    let clock = Arc::new(Clock {
        heard: channels.iter().map(|_| AtomicUsize::new(0)).collect(),
        longest_ms: (0..PARTITIONS).map(|_| AtomicU64::new(0)).collect(),
    });
    let mut tasks = JoinSet::new();
    for (n, (channel, partition)) in channels.into_iter().enumerate() {
        let room = reader.subscribe(&channel, From::Now).await.expect("a subscription");
        tasks.spawn(read((n, partition), reader.clone(), room, clock.clone()));
        tasks.spawn(write(channel, writer.clone()));
    }
    (clock, tasks)
}

/// Has the second router of a region come and go in every way.
async fn take_over(regions: &mut Regions, region: usize) {
    let (first, second) = (format!("router{region}"), format!("router{region}1"));
    regions.add_router(&second, region).await;
    let halves = async |regions: &Regions| {
        for name in [&first, &second] {
            regions.tells(name, "4 of 8 partitions").await;
        }
    };
    halves(regions).await;
    let (clock, mut tasks) = start(regions, region).await;
    clock.waits().await;
    let undisturbed = clock.waits().await;

    regions.terminate(&second).await;
    let in_order = clock.waits().await;
    regions.tells(&first, "8 of 8 partitions").await;

    regions.revive(&second).await;
    halves(regions).await;
    let joined = clock.waits().await;

    regions.kill(&second);
    regions.revive(&second).await;
    let back = clock.waits().await;
    halves(regions).await;

    regions.kill(&second);
    let killed = clock.waits().await;
    regions.tells(&first, "8 of 8 partitions").await;

    println!(
        "min / median / max over the partitions of region {region}: undisturbed {undisturbed}; \
         one ends in order {in_order}; one joins {joined}; one is killed {killed}; \
         one is killed and back at once {back}"
    );
    for clean in [in_order, joined] {
        assert!(clean.longest() <= SLACK, "{clean}");
    }
    assert!(back.longest() < SESSION, "{back}");
    assert!(killed.longest() <= SESSION + SLACK, "{killed}");
    tasks.abort_all();
}

#[tokio::test(flavor = "multi_thread")]
async fn events_wait_no_longer_than_a_takeover_may_take() {
    take_over(&mut Regions::start().await, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_wait_no_longer_behind_a_slow_link() {
    let Some(link) = far::link(0.0) else { return };
    take_over(&mut Regions::start_over(link).await, 2).await;
}
