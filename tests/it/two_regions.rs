//! Two regions on real servers: one order everywhere, cursors that are good in either, and what any
//! killed part costs: nothing that was acknowledged.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use meridian_client::{Client, From, Transport};
use meridian_core::seams::AckReader as _;
use meridian_core::vocabulary::LogName;
use meridian_kafka::{AckGroup, KafkaAcks};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::acks::{go_on_with_nothing_but_a_name, resumed_at, take_new};
use crate::client::{go_on_elsewhere, next_ids, token};
use crate::servers::{Regions, Setup};
use crate::stores::in_sync;
use crate::wanderers::{beginnings, let_loose};
use crate::witnesses::{Cast, Witnesses};

const BROKERS: [&str; 3] = ["kafka1", "kafka2", "kafka3"];
/// What may die. A broker takes a while to start: any of the three is one part of nine.
const PARTS: [&str; 9] =
    ["edge1", "edge2", "router1", "router2", "redis1", "redis2", "pg1", "pg2", "broker"];

/// Readers that change transport and region.
const WANDERERS: u64 = 8;
/// After the last of a few faults every reader hears again within this: a session of the routers' group
/// that has to end, a WebTransport client that learns of a dead node by its keep-alive, and Kafka's
/// start, one after the other.
const RECOVERY: Duration = Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_one_region_goes_on_in_the_other() {
    let regions = Regions::start().await;
    let connect = async |at: usize, transport, user: &str| {
        let door = regions.door(1 + at, transport).token(token(user));
        door.connect().await.expect("a connection")
    };
    go_on_elsewhere(10, connect).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_position_of_one_region_goes_on_in_the_other() {
    let mut regions = Regions::start().await;
    go_on_with_nothing_but_a_name(async |at| kiosk(&regions, 1 + at).await).await;

    // A region that is gone, while the other one's router is away and back.
    let channel = "room:gone";
    let client = kiosk(&regions, 1).await;
    let mut room = client.subscribe(channel, From::Now).await.expect("a subscription");
    let cursors = take_new(&client, &mut room, &["a", "b", "c"]).await;
    regions.kill("router2");
    client.ack(channel, &cursors[1]).await.expect("acknowledged");
    travels(&regions, &cursors[1]).await;
    for part in ["edge1", "router1", "redis1", "pg1"] {
        regions.kill(part);
    }
    drop((room, client));
    regions.revive("router2").await;
    let connect = async || kiosk(&regions, 2).await;
    let (_client, mut room) = resumed_at(connect, channel, &cursors[1]).await;
    assert_eq!(next_ids(&mut room, 1).await, ["c"]);
}

/// Waits until Kafka has an acknowledged position.
async fn travels(regions: &Regions, cursor: &str) {
    let log = LogName::parse("global").expect("a name");
    let options = meridian_kafka::Options::new(regions.stack.kafka());
    let acks = KafkaAcks::open(options, log).await.expect("a topic");
    let (region, history) = ("witness".to_owned(), "none".to_owned());
    let mut reader = acks.reader(AckGroup { region, history, session: Duration::from_secs(10) });
    let arrival = async {
        let mut found = false;
        while !found {
            let batch = reader.next().await.expect("a batch");
            found = batch.acks.iter().any(|(_, ack)| ack.cursor.to_string() == cursor);
        }
    };
    crate::node::in_time("an acknowledged position in Kafka", arrival).await;
}

/// A named subscriber of the region that keeps nothing.
async fn kiosk(regions: &Regions, region: usize) -> Client {
    let door = regions.door(region, Transport::WebSocket).token(token("ann"));
    door.subscriber("kiosk").connect().await.expect("a connection")
}

/// `SEED` and `FAULTS` of the environment, or a random seed and as many faults as a test run has time for.
fn plan() -> (u64, usize) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("SEED").unwrap_or_else(rand::random);
    (seed, number("FAULTS").map_or(20, |faults| faults as usize))
}

/// What is killed next: each part once in a random order, then any; at times two at once, but never two
/// of the brokers.
fn victims(random: &mut StdRng, once: &mut Vec<&'static str>) -> Vec<&'static str> {
    let any = |random: &mut StdRng| PARTS[random.random_range(0..PARTS.len())];
    let first = match once.len() {
        0 => any(random),
        left => once.swap_remove(random.random_range(0..left)),
    };
    let second = any(random);
    let mut victims = vec![first];
    if second != first && random.random_range(0..4) == 0 {
        victims.push(second);
    }
    if let Some(part) = victims.iter_mut().find(|part| **part == "broker") {
        *part = BROKERS[random.random_range(0..BROKERS.len())];
    }
    victims
}

/// Parts are killed at random moments and come back; publishers and readers of both regions go on
/// all the while.
#[tokio::test(flavor = "multi_thread")]
async fn any_part_may_be_killed_under_load() {
    let (seed, faults) = plan();
    println!("SEED={seed} FAULTS={faults}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut regions = Regions::start_with(Setup { kafka: 3, ..Setup::default() }).await;
    let cast = Cast { publishers: 4, readers: 16, channels: 4, pace: Duration::from_millis(10) };
    let doors = |regions: &Regions, n: usize, transport| regions.door(1 + n / 2 % 2, transport);
    let places = [1, 2].map(|region| (regions.client(region), regions.certificate()));
    let beginnings = beginnings(places[0], cast.channels).await;
    let mut witnesses =
        Witnesses::start_at(&|n, transport| doors(&regions, n, transport), &cast).await;
    // Beside the SDK's readers some on every transport, that change it and the region as they go.
    let heard = let_loose(&mut witnesses, &beginnings, (&places, WANDERERS), seed);
    let (mut once, mut done) = (PARTS.to_vec(), 0);
    let (mut in_a_row, mut longest, began) = (0, Duration::ZERO, Instant::now());
    while done < faults {
        progress(&witnesses, witnesses.acknowledged() + 50).await;
        let victims = victims(&mut random, &mut once);
        if victims.iter().any(|part| BROKERS.contains(part)) {
            // A broker that died before would be a second one that lacks.
            in_sync(&regions).await;
        }
        let (at, events) = (began.elapsed(), witnesses.acknowledged());
        println!("{at:.1?}: kills {} after {events} events", victims.join(" and "));
        victims.iter().for_each(|part| regions.kill(part));
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1_000))).await;
        // Servers first: a process that starts needs them.
        let (servers, processes): (Vec<_>, Vec<_>) = victims
            .iter()
            .partition(|part| !part.starts_with("edge") && !part.starts_with("router"));
        for part in servers.into_iter().chain(processes) {
            regions.revive(part).await;
        }
        done += victims.len();
        in_a_row += 1;
        // Now and then the next part dies while the last one's death is not overcome.
        if in_a_row == 3 || random.random() {
            longest = longest.max(witnesses.caught_up(RECOVERY).await);
            in_a_row = 0;
        }
    }
    longest = longest.max(witnesses.caught_up(RECOVERY).await);
    let each = began.elapsed() / u32::try_from(done).expect("a small number");
    println!("the longest recovery took {longest:?}; {each:?} a fault");
    let verdict = witnesses.finish_at(&|n, transport| doors(&regions, n, transport)).await;
    println!("{verdict:?}, heard on each transport by those who change it: {heard:?}");
    assert!(verdict.acknowledged > 50 * faults / 2, "{verdict:?}");
    assert!(heard.iter().all(|heard| heard.load(Ordering::Relaxed) > 50), "{heard:?}");
}

async fn progress(witnesses: &Witnesses, to: usize) {
    crate::node::eventually_within(Duration::from_secs(60), "more acknowledged events", || {
        (witnesses.acknowledged() >= to).then_some(())
    })
    .await;
}
