//! A region that is built from a log whose beginning is gone: it decides as the other does, says what it
//! cannot know, and that it is being rebuilt until it has caught up.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use meridian_client::{From, Publish, Transport, Update};
use meridian_core::seams::Log as _;
use meridian_core::vocabulary::{
    Body, Channel, ChannelKey, EventId, LogName, Partition, Position, Prev, Record, Scope, Tenant,
};
use meridian_kafka::{KafkaLog, Options};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sqlx::{Connection as _, PgConnection, Row as _};

use crate::client::{next_event, next_ids, token};
use crate::node::{LOOK_EVERY, in_time};
use crate::servers::{PARTITIONS, Regions};

/// W of the log.
const WINDOW: u32 = 1_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const PATIENCE: Duration = Duration::from_secs(60);
const CHANNEL: &str = "room:rebuilt";

/// The log, made before any process would make it with a window that takes long to fill: W, D in
/// milliseconds.
pub(crate) async fn narrow_log(regions: &Regions, window: (u32, u64)) -> KafkaLog {
    let mut options = Options::new(regions.stack.kafka());
    options.topics.partitions = PARTITIONS;
    options.topics.replication = Some(1);
    options.topics.min_insync = Some(1);
    (options.topics.window_records, options.topics.window_ms) = window;
    let global = LogName::parse("global").expect("a log");
    KafkaLog::open(options, global).await.expect("a log")
}

fn key(channel: &str) -> ChannelKey {
    let tenant = Tenant::parse("acme").expect("a tenant");
    ChannelKey { tenant, channel: Channel::parse(channel).expect("a channel") }
}

pub(crate) fn record(log: &KafkaLog, channel: &str, id: &str) -> Record {
    let body = Body { data: Bytes::from_static(b"1"), ..Body::default() };
    Record {
        key: key(channel),
        scope: Scope::of_token("tests", "ann"),
        id: EventId::parse(id).expect("an id"),
        epoch: log.incarnation().epoch,
        body: body.encode(),
    }
}

/// Appends one record; its offset.
pub(crate) async fn append(log: &KafkaLog, channel: &str, id: &str) -> i64 {
    let appended = log.append(vec![record(log, channel, id)]).await.remove(0);
    appended.expect("acknowledged").cursor.position.passed
}

/// Channels beside `CHANNEL` in its partition.
fn neighbours(log: &KafkaLog) -> Vec<String> {
    let of = log.partition(&key(CHANNEL));
    let names = (0..).map(|n| format!("room:beside-{n}"));
    names.filter(|name| log.partition(&key(name)) == of).take(3).collect()
}

/// Removes a partition's records before an offset, as retention does.
async fn truncate(regions: &Regions, log: &KafkaLog, partition: Partition, before: i64) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", regions.stack.kafka());
    let admin: AdminClient<DefaultClientContext> = config.create().expect("a client");
    let mut offsets = TopicPartitionList::new();
    let offset = Offset::Offset(before);
    offsets.add_partition_offset(&log.record().topic, partition.0 as i32, offset).expect("a place");
    let done = admin.delete_records(&offsets, &AdminOptions::new()).await.expect("an answer");
    for element in done.elements() {
        element.error().expect("removed");
    }
}

/// An event as a region has stored it.
#[derive(Debug, PartialEq, Eq)]
struct Stored {
    partition: i32,
    passed: i64,
    channel: String,
    id: String,
    time_ms: i64,
    body: Vec<u8>,
    prev: (i32, i64),
}

/// What a region has stored of a partition from an offset on, and of all others.
async fn stored(connection: &mut PgConnection, partition: Partition, from: i64) -> Vec<Stored> {
    let sql = "SELECT e.partition, e.passed, c.name, e.id, e.time_ms, e.body, e.prev_epoch, e.prev_passed \
               FROM events e JOIN channels c ON c.id = e.channel_id \
               WHERE e.partition <> $1 OR e.passed >= $2 ORDER BY e.partition, e.passed";
    let rows = sqlx::query(sql).bind(partition.0 as i32).bind(from).fetch_all(connection).await;
    let read = |row: sqlx::postgres::PgRow| Stored {
        partition: row.get(0),
        passed: row.get(1),
        channel: row.get(2),
        id: row.get(3),
        time_ms: row.get(4),
        body: row.get(5),
        prev: (row.get(6), row.get(7)),
    };
    rows.expect("rows").into_iter().map(read).collect()
}

async fn connect(regions: &Regions, region: u32) -> PgConnection {
    let mut connection =
        PgConnection::connect(regions.stack.postgres(region)).await.expect("Postgres");
    sqlx::raw_sql("SET search_path = meridian").execute(&mut connection).await.expect("a schema");
    connection
}

/// Waits until a region's checkpoint of a partition has passed an offset.
async fn until_applied(connection: &mut PgConnection, partition: Partition, passed: i64) {
    let sql = "SELECT coalesce(max(passed), -1) FROM streams WHERE partition = $1";
    let began = tokio::time::Instant::now();
    loop {
        let query = sqlx::query_scalar::<_, i64>(sql).bind(partition.0 as i32);
        let now = query.fetch_one(&mut *connection).await.expect("a checkpoint");
        if now >= passed {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{now} of {passed}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn until_state(regions: &Regions, region: usize, wanted: &str) {
    let began = tokio::time::Instant::now();
    loop {
        let told = regions.state(region).await;
        if told["state"] == wanted {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "not {wanted}: {told}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_built_from_a_truncated_log_decides_alike_and_tells_its_gaps() {
    let mut regions = Regions::prepare();
    let log = narrow_log(&regions, (WINDOW, DAY_MS)).await;
    let (partition, beside) = (log.partition(&key(CHANNEL)), neighbours(&log));
    for name in ["router1", "edge1"] {
        regions.revive(name).await;
    }
    let door = |region, user: &str| {
        regions.door(region, Transport::WebSocket).token(token(user)).request_timeout(PATIENCE)
    };
    let reader = door(1, "reader").connect().await.expect("a connection");
    let mut heard = reader.subscribe(CHANNEL, From::Now).await.expect("a subscription");
    let old = heard.cursor().expect("a cursor").to_owned();

    // Gone: these; left: `twice` and what fills the window; then what both regions must decide alike.
    for id in ["early-1", "early-2"] {
        append(&log, CHANNEL, id).await;
        append(&log, &beside[0], id).await;
    }
    let first = append(&log, CHANNEL, "twice").await;
    for n in 1..i64::from(WINDOW) {
        append(&log, &beside[0], &format!("fill-{n}")).await;
    }
    let begins = first + i64::from(WINDOW);
    append(&log, CHANNEL, "twice").await;
    for (channel, id) in [
        (CHANNEL, "one"),
        (&*beside[0], "fill-999"),
        (&beside[0], "other"),
        (CHANNEL, "one"),
        (&beside[1], "new"),
        (CHANNEL, "twice"),
        (CHANNEL, "two"),
    ] {
        append(&log, channel, id).await;
    }
    for n in 0..100 {
        append(&log, &format!("room:{n}"), &n.to_string()).await;
    }
    let mut ours = connect(&regions, 1).await;
    let end = log.end(partition).await.expect("an end").0 as i64 - 1;
    until_applied(&mut ours, partition, end).await;
    truncate(&regions, &log, partition, first).await;

    // Before its routers have begun, the second region says what it is.
    regions.amend_node("edge2", "rebuilding_after_ms = 2000");
    regions.revive("edge2").await;
    until_state(&regions, 2, "rebuilding").await;
    regions.tells("edge2", "rebuilding: ").await;
    assert_eq!(regions.metric("edge2", "meridian_region_rebuilding").await, Some(1.0));
    assert!(regions.metric("edge2", "meridian_region_lag_seconds").await > Some(2.0));
    // Who has a choice goes to the other one, nearest or not.
    let choosy = regions.door(2, Transport::WebSocket).token(token("choosy"));
    let choosy = choosy.connect().await.expect("a connection");
    let region = choosy.region().borrow().clone().expect("a region");
    assert_eq!(region.name, "region-1");
    let local = async |user| {
        let door = regions.only_door(2, Transport::WebSocket).token(token(user));
        door.request_timeout(PATIENCE).connect().await.expect("a connection")
    };
    let (present, back) = (local("present").await, local("back").await);
    let mut now = present.subscribe(CHANNEL, From::Now).await.expect("a subscription");
    assert!(now.behind().is_some(), "it is told how far the region is");
    let mut resumed = back.subscribe(CHANNEL, From::Cursor(old)).await.expect("a subscription");

    regions.revive("router2").await;
    let mut theirs = connect(&regions, 2).await;
    until_applied(&mut theirs, partition, end).await;
    until_state(&regions, 2, "serving").await;
    assert_alike(
        &stored(&mut ours, partition, begins).await,
        &stored(&mut theirs, partition, begins).await,
        (partition, begins),
    );

    // The old cursor meets one gap, then what is there; from now means what comes now.
    let gap = in_time("the gap", resumed.next()).await;
    let Some(Update::Gap(gap)) = gap else { panic!("{gap:?}") };
    assert_eq!(gap.reason, "unknown");
    let one = next_event(&mut resumed).await;
    let place = one.place.expect("a place");
    // No event, but the place from which on the region knows all that came.
    let begins_behind = Position { epoch: place.position.epoch, passed: begins - 1 };
    assert_eq!((one.id.as_deref(), place.prev), (Some("one"), Prev::At(begins_behind)));
    assert_eq!(next_ids(&mut resumed, 1).await, ["two"]);
    reader.publish(Publish::json(CHANNEL, "1").id("three")).await.expect("acknowledged");
    assert_eq!(next_ids(&mut now, 1).await, ["three"]);
    assert_eq!(next_ids(&mut resumed, 1).await, ["three"]);
    let all = next_ids(&mut heard, 6).await;
    assert_eq!(all, ["early-1", "early-2", "twice", "one", "two", "three"]);
    log.close().await;
}

/// The same events from where the view begins, and the same predecessors but those that lie before it.
fn assert_alike(ours: &[Stored], theirs: &[Stored], (partition, begins): (Partition, i64)) {
    let facts = |of: &Stored| {
        (of.partition, of.passed, of.channel.clone(), of.id.clone(), of.time_ms, of.body.clone())
    };
    assert!(ours.iter().map(facts).eq(theirs.iter().map(facts)), "{ours:#?} {theirs:#?}");
    assert!(ours.len() >= 104, "{}", ours.len());
    let mut first = BTreeSet::new();
    for (ours, theirs) in ours.iter().zip(theirs) {
        let is_first = first.insert(&ours.channel);
        if ours.partition == partition.0 as i32 && is_first {
            assert_eq!(theirs.prev, (-1, -1), "unknown: {theirs:?}");
            assert!(ours.prev.1 < begins, "{ours:?}");
        } else {
            assert_eq!(ours.prev, theirs.prev, "{ours:?}");
        }
    }
}
