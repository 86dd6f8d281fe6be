//! Records at the edges of the rules, in a real log: repeats around the ends of W and D, what this version
//! can't read, and what retention removed while its reader slept. Every region decides as the log alone says.

use std::time::Duration;

use bytes::Bytes;
use meridian_client::{Client, EventKind, From, Publish, Subscription, Transport, Update};
use meridian_core::seams::{Log as _, LogRecord};
use meridian_core::vocabulary::{Body, Offset, Record};
use meridian_kafka::KafkaLog;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::client::{next_event, next_ids, token};
use crate::node::in_time;
use crate::rebuild::{append, narrow_log, record};
use crate::servers::Regions;
use crate::stores::{counts, neighbour, partition};

const CHANNEL: &str = "room:odd";
const BRIEF: &str = "brief:nap";
/// W and D of the log.
const WINDOW: usize = 20;
const WINDOW_MS: u64 = 1_000;
/// How long `brief` keeps events.
const AGE: Duration = Duration::from_millis(1_500);
const NAMESPACE: &str = "[namespaces.brief]\nsubscribe = ['tenant']\npublish = ['tenant']\n\
                         history = { age_ms = 1500 }\n[hub]\nlinger_ms = 0\n";

/// An event as its readers get it: offset, id, whether it can be read.
type Told = (i64, String, bool);

async fn connect(regions: &Regions, region: usize, user: &str) -> Client {
    let door = regions.only_door(region, Transport::WebSocket).token(token(user));
    door.connect().await.expect("a connection")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_region_decides_as_the_log_says() {
    let mut regions = Regions::prepare();
    let log = narrow_log(&regions, (WINDOW as u32, WINDOW_MS)).await;
    for name in ["router1", "router2", "edge1", "edge2"] {
        regions.append(name, NAMESPACE);
        regions.revive(name).await;
    }
    let mut rooms = Vec::new();
    for region in 1..=2 {
        let client = connect(&regions, region, "reader").await;
        let room = client.subscribe(CHANNEL, From::Now).await.expect("a subscription");
        rooms.push((client, room));
    }
    around_w(&log).await;
    around_d(&log).await;
    unreadable(&regions, &log).await;
    append(&log, CHANNEL, "end").await;

    let told = decided(&held(&log).await);
    let count = |id: &str| told.iter().filter(|(_, told, _)| told == id).count();
    assert_eq!([count("w-19"), count("w-20"), count("w-21")], [1, 1, 2], "{told:?}");
    assert!((2..8).contains(&count("d")), "{told:?}");
    for (_, room) in &mut rooms {
        assert_eq!(until_end(room).await, told);
    }
    for name in ["router1", "router2"] {
        let of = |part| {
            format!(
                "meridian_router_unreadable_total{{log=\"global\",partition=\"{}\",part=\"{part}\"}}",
                partition(CHANNEL).0
            )
        };
        counts(&regions, name, &of("body"), 2.0).await;
        counts(&regions, name, &of("envelope"), 1.0).await;
    }
    sleepers_are_told(&regions).await;
    log.close().await;
}

/// The same id again, W less one, W and W and one records later.
async fn around_w(log: &KafkaLog) {
    let beside = neighbour(CHANNEL);
    for distance in WINDOW - 1..=WINDOW + 1 {
        let again = record(log, CHANNEL, &format!("w-{distance}"));
        let between = (1..distance).map(|n| record(log, &beside, &format!("{distance}-{n}")));
        let call = [vec![again.clone()], between.collect(), vec![again]].concat();
        assert!(log.append(call).await.iter().all(Result::is_ok));
    }
}

/// The same id again and again, around D after the one before. Where exactly, the log's times say.
async fn around_d(log: &KafkaLog) {
    append(log, CHANNEL, "d").await;
    for later_ms in [0, 900, 980, 1_000, 1_020, 1_100, 1_500] {
        tokio::time::sleep(Duration::from_millis(later_ms)).await;
        append(log, CHANNEL, "d").await;
    }
}

/// A body of a newer format, a damaged one, and bytes that are no record.
async fn unreadable(regions: &Regions, log: &KafkaLog) {
    let newer = Bytes::from_static(b"\x02newer");
    let damaged = record(log, CHANNEL, "damaged").body.slice(..4);
    for (id, body) in [("newer", newer), ("damaged", damaged)] {
        let sent = Record { body, ..record(log, CHANNEL, id) };
        log.append(vec![sent]).await.remove(0).expect("acknowledged");
    }
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", regions.stack.kafka());
    let producer: FutureProducer = config.create().expect("a producer");
    let at = partition(CHANNEL).0 as i32;
    let none = FutureRecord::<(), _>::to(&log.record().topic).partition(at).payload("no record");
    producer.send(none, Duration::from_secs(30)).await.expect("produced");
}

/// The channel's partition of the log.
async fn held(log: &KafkaLog) -> Vec<LogRecord> {
    let (partition, mut held) = (partition(CHANNEL), Vec::new());
    let end = log.end(partition).await.expect("an end");
    let mut next = Offset(0);
    while next < end {
        held.extend(log.read(partition, next, 1_000, usize::MAX).await.expect("records"));
        next = Offset(held.last().map_or(0, |last: &LogRecord| last.offset.0 + 1));
    }
    held
}

/// The rule, worked out naively: a record is dropped iff one of the W before it, at most D older, has its key.
fn decided(log: &[LogRecord]) -> Vec<Told> {
    let key = |held: &LogRecord| {
        let record = Record::decode(&held.stored).ok()?;
        Some((record.key, record.scope, record.id))
    };
    let repeats = |n: usize| {
        let before = &log[n.saturating_sub(WINDOW)..n];
        let recent = |held: &&LogRecord| log[n].time_ms - held.time_ms <= WINDOW_MS;
        before.iter().filter(recent).any(|held| key(held) == key(&log[n]))
    };
    let told = |(n, held): (usize, &LogRecord)| {
        let record = Record::decode(&held.stored).ok()?;
        let of_channel = record.key.channel.as_str() == CHANNEL && !repeats(n);
        let readable = Body::decode(&record.body).is_ok();
        of_channel.then(|| (held.offset.0 as i64, record.id.as_str().to_owned(), readable))
    };
    log.iter().enumerate().filter_map(told).collect()
}

async fn until_end(room: &mut Subscription) -> Vec<Told> {
    let mut told: Vec<Told> = Vec::new();
    while told.last().is_none_or(|(_, id, _)| id != "end") {
        let event = next_event(room).await;
        let offset = event.place.expect("a place").position.passed;
        let readable = event.body.kind != EventKind::Unreadable;
        told.push((offset, event.id.expect("an id"), readable));
    }
    told
}

/// In either region: a gap where events are too old by now, then what comes.
async fn sleepers_are_told(regions: &Regions) {
    let writer = connect(regions, 1, "writer").await;
    let publish = async |id: &str| {
        let receipt = writer.publish(Publish::json(BRIEF, "1").id(id)).await;
        receipt.expect("acknowledged").cursor.expect("a cursor")
    };
    let cursor = publish("a").await;
    publish("b").await;
    let last = publish("c").await;
    tokio::time::sleep(AGE + Duration::from_millis(500)).await;
    let mut sleepers = Vec::new();
    for region in 1..=2 {
        let client = connect(regions, region, "sleeper").await;
        let from = From::Cursor(cursor.clone());
        let room = client.subscribe(BRIEF, from).await.expect("a subscription");
        sleepers.push((client, room));
    }
    for (_, room) in &mut sleepers {
        let told = in_time("the gap", room.next()).await;
        let Some(Update::Gap(gap)) = told else { panic!("{told:?}") };
        assert_eq!((&*gap.reason, &gap.from, &gap.cursor), ("retention", &cursor, &last));
    }
    publish("d").await;
    for (_, room) in &mut sleepers {
        assert_eq!(next_ids(room, 1).await, ["d"]);
    }
}
