//! Each server of a region away for longer than any bound: what goes on, what is refused and how, and what is
//! said about it. When it is back, nothing that was acknowledged is missing, and nothing comes twice.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use meridian_client::{
    Client, Codec, From, Publish, RequestError, Subscription, Transport, Update,
};
use meridian_core::auth::Claims;
use meridian_core::vocabulary::{Cursor, Tenant};
use tokio::task::JoinSet;

use crate::SECRET;
use crate::client::{claims, next_ids, now_ms, signed, token};
use crate::node::{eventually_async, in_time};
use crate::servers::{Regions, Setup};
use crate::stores::{counts, partition};

const CHANNEL: &str = "room:outage";
const TYPING: &str = "typing:outage";
/// The producer gives up what it holds after 30 s; nothing waits longer for Kafka.
const LONGER_THAN_KAFKAS_BOUNDS: Duration = Duration::from_secs(33);
/// A router goes on without Redis after 2 s, and hubs compare all heads within 5 s.
const LONGER_THAN_REDIS_BOUNDS: Duration = Duration::from_secs(10);
/// A refusal that waits for nothing, on a busy machine too.
const AT_ONCE: Duration = Duration::from_secs(1);
/// A flood's events, and so many in a batch: nearly what a frame may hold.
const BYTES: usize = 60_000;
const BATCH: usize = 15;
/// Events that Postgres does not hold yet, of a partition.
const UNWRITTEN_BYTES: f64 = (8 << 20) as f64;

async fn connect(regions: &Regions, user: &str) -> Client {
    let door = regions.only_door(1, Transport::WebSocket).token(token(user));
    let door = door.request_timeout(Duration::from_secs(90)).subscriber(user);
    door.connect().await.expect("a connection")
}

async fn publish(client: &Client, id: &str) -> String {
    let receipt = client.publish(Publish::json(CHANNEL, "1").id(id)).await;
    receipt.expect("acknowledged").cursor.expect("a cursor")
}

/// The metric of a part that `/readyz` names.
fn ready(part: &str) -> String {
    format!("meridian_part_ready{{part=\"{part}\"}}")
}

/// Clients of a region, whom its outages find at work.
struct Scene {
    writer: Client,
    reader: Client,
    room: Subscription,
    typing: Subscription,
    /// Behind `a`, of `a`, `b`, `c`.
    cursor: String,
    typed: usize,
}

impl Scene {
    async fn open(regions: &Regions) -> Self {
        let (writer, reader) = (connect(regions, "writer").await, connect(regions, "reader").await);
        let mut room = reader.subscribe(CHANNEL, From::Now).await.expect("a subscription");
        let typing = reader.subscribe(TYPING, From::Now).await.expect("a subscription");
        let cursor = publish(&writer, "a").await;
        publish(&writer, "b").await;
        publish(&writer, "c").await;
        assert_eq!(next_ids(&mut room, 3).await, ["a", "b", "c"]);
        Self { writer, reader, room, typing, cursor, typed: 0 }
    }

    /// Ephemeral events go from client to client.
    async fn types(&mut self) {
        self.typed += 1;
        let data = self.typed.to_string();
        let typed = Publish::json(TYPING, data.clone());
        self.writer.publish(typed).await.expect("on its way");
        let heard = in_time("an ephemeral event", self.typing.next()).await;
        let Some(Update::Event(event)) = heard else { panic!("{heard:?}") };
        assert_eq!(event.body.data, data);
    }

    /// Somebody who comes back gets what was missed.
    async fn somebody_catches_up(&self, regions: &Regions) {
        let client = connect(regions, "returns").await;
        let from = From::Cursor(self.cursor.clone());
        let mut room = client.subscribe(CHANNEL, from).await.expect("a subscription");
        assert_eq!(next_ids(&mut room, 2).await, ["b", "c"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_serves_on_without_kafka_and_without_redis() {
    // A queue that a flood fills before Kafka counts as away, on a busy machine too.
    let setup = Setup { kafka_lines: "queue_bytes = 8388608", ..Setup::ONE };
    let mut regions = Regions::start_with(setup).await;
    let mut scene = Scene::open(&regions).await;
    without_kafka(&mut regions, &mut scene).await;
    without_redis(&mut regions, &mut scene).await;
    flooded_without_kafka(&mut regions).await;
}

async fn without_kafka(regions: &mut Regions, scene: &mut Scene) {
    regions.kill("kafka1");
    let gone = Instant::now();
    // One that asks once, and one whose client library tries until it is told.
    let patient = tokio::spawn({
        let writer = scene.writer.clone();
        async move { publish(&writer, "patient").await }
    });
    let (handed_over, ()) =
        tokio::join!(regions.publish(1, CHANNEL, "handed-over"), refused_at_once(regions));
    handed_over.assert_problem(504, "outcome_unknown");
    while gone.elapsed() < LONGER_THAN_KAFKAS_BOUNDS {
        refused_at_once(regions).await;
        scene.types().await;
        scene.somebody_catches_up(regions).await;
        scene.reader.ack(CHANNEL, &scene.cursor).await.expect("merged here");
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    others_know_more(regions, &scene.cursor).await;
    for name in ["edge1", "router1"] {
        regions.tells(name, "Kafka does not answer").await;
    }
    assert_eq!(regions.asked("edge1", "/readyz").await.status, 200, "it serves on");
    assert!(!patient.is_finished());
    assert_eq!(regions.metric("edge1", &ready("log")).await, Some(0.0));

    regions.revive("kafka1").await;
    eventually_async("the retry", || async {
        (regions.publish(1, CHANNEL, "handed-over").await.status == 200).then_some(())
    })
    .await;
    in_time("the patient one", patient).await.expect("acknowledged");
    publish(&scene.writer, "d").await;
    let heard = next_ids(&mut scene.room, 3).await;
    assert_eq!(heard[2], "d");
    let before: BTreeSet<&str> = heard[..2].iter().map(String::as_str).collect();
    assert_eq!(before, BTreeSet::from(["handed-over", "patient"]));
    for name in ["edge1", "router1"] {
        regions.tells(name, "\"degraded\":false").await;
    }
}

/// Waits until Kafka is known to be away; then nobody waits for it.
async fn refused_at_once(regions: &Regions) {
    regions.tells("edge1", "Kafka does not answer").await;
    let began = Instant::now();
    let refused = regions.publish(1, CHANNEL, "refused").await;
    refused.assert_problem(503, "log_unavailable");
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
}

/// Clients of another region come, which is further: nobody can tell where the log ends. The first learns it by
/// waiting for Kafka, and of the others one at most.
async fn others_know_more(regions: &Regions, cursor: &str) {
    let mut ahead = Cursor::parse(cursor).expect("a cursor");
    ahead.position.passed += 1_000;
    let mut clients = Vec::new();
    for n in 0..20 {
        clients.push(connect(regions, &format!("moved-{n}")).await);
    }
    let moves = |client: Client| {
        let from = From::Cursor(ahead.to_string());
        async move {
            let began = Instant::now();
            let room = client.subscribe(CHANNEL, from).await.expect("a subscription");
            assert!(room.behind().is_some(), "it is told how far the region is");
            began.elapsed()
        }
    };
    moves(clients.remove(0)).await;
    let took = clients.into_iter().map(moves).collect::<JoinSet<_>>().join_all().await;
    let waited = took.iter().filter(|took| **took > AT_ONCE).count();
    assert!(waited <= 1, "{took:?}");
}

async fn without_redis(regions: &mut Regions, scene: &mut Scene) {
    regions.kill("redis1");
    let gone = Instant::now();
    regions.tells("edge1", "Redis does not answer").await;
    let mut ids = Vec::new();
    while gone.elapsed() < LONGER_THAN_REDIS_BOUNDS {
        ids.push(format!("late-{}", ids.len()));
        publish(&scene.writer, ids.last().expect("one")).await;
        scene.somebody_catches_up(regions).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(regions.metric("edge1", &ready("backplane")).await, Some(0.0));
    regions.tells("router1", "not live: the backplane does not answer").await;
    assert_eq!(regions.asked("edge1", "/readyz").await.status, 200, "it serves on");
    assert_eq!(next_ids(&mut scene.room, ids.len()).await, ids);
    regions.publish(1, TYPING, "unsent").await.assert_problem(503, "not_stored");

    regions.revive("redis1").await;
    regions.tells("edge1", "\"degraded\":false").await;
    regions.tells("router1", "\"degraded\":false").await;
    scene.types().await;
    publish(&scene.writer, "live-again").await;
    assert_eq!(next_ids(&mut scene.room, 1).await, ["live-again"]);
}

/// The tenant that floods gets half of the queue; the other half is there for the others.
async fn flooded_without_kafka(regions: &mut Regions) {
    let loud = Claims::new(Tenant::parse("loud").expect("a tenant"), claims("loud").user);
    let loud = signed(&loud, SECRET, now_ms());
    let mut flooders = Vec::new();
    for _ in 0..8 {
        // The codec that costs less: it is to be full before Kafka counts as away.
        let door = regions.only_door(1, Transport::WebSocket).codec(Codec::MessagePack);
        let door = door.token(loud.clone());
        flooders.push(door.connect().await.expect("a connection"));
    }
    let quiet = connect(regions, "quiet").await;
    regions.kill("kafka1");
    let (began, mut flood) = (Instant::now(), JoinSet::new());
    for n in 0..8 {
        for client in &flooders {
            let client = client.clone();
            flood.spawn(async move { refusals(&client, &format!("room:loud-{n}")).await });
        }
    }
    let full = async {
        while let Some(told) = flood.join_next().await {
            if told.expect("an answer").contains("overloaded") {
                return;
            }
        }
        panic!("the flood fills no half of the queue");
    };
    full.await;
    println!("full after {:?}", began.elapsed());
    // It waits for Kafka, until its time is over.
    let asked = Instant::now();
    let told = refusals(&quiet, CHANNEL).await;
    assert!(!told.is_empty() && !told.contains("overloaded"), "{told:?}");
    assert!(asked.elapsed() > Duration::from_millis(500), "{told:?} after {:?}", asked.elapsed());
    flood.join_all().await;
    regions.revive("kafka1").await;
    let taken = async || refusals(&flooders[0], CHANNEL).await.is_empty().then_some(());
    eventually_async("a flood that is taken", taken).await;
    publish(&quiet, "taken").await;
}

/// The codes with which events of a batch are refused.
async fn refusals(client: &Client, channel: &str) -> BTreeSet<String> {
    let data = Bytes::from(vec![7; BYTES]);
    let event = |_| Publish::binary(channel, data.clone());
    let answers = client.publish_batch((0..BATCH).map(event).collect()).await;
    let code = |answer| match answer {
        Ok(_) => None,
        Err(RequestError::Refused(why)) => Some(why.code),
        Err(other) => panic!("{other:?}"),
    };
    answers.expect("an answer").into_iter().filter_map(code).collect()
}

/// More than a partition may hold for Postgres, then a router that dies, while Postgres is away.
#[tokio::test(flavor = "multi_thread")]
async fn a_region_without_postgres_goes_on_to_its_bound_and_waits_for_it() {
    let mut regions = Regions::start_with(Setup::ONE).await;
    regions.add_router("router11", 1).await;
    for name in ["router1", "router11"] {
        regions.tells(name, "4 of 8 partitions").await;
    }
    let mut scene = Scene::open(&regions).await;
    let elsewhere = other_partition();
    let mut other = scene.reader.subscribe(&elsewhere, From::Now).await.expect("a subscription");
    let event = |channel: &str, id: &str| Publish::json(channel, "1").id(id);
    scene.writer.publish(event(&elsewhere, "first")).await.expect("acknowledged");
    assert_eq!(next_ids(&mut other, 1).await, ["first"]);

    regions.kill("pg1");
    publish(&scene.writer, "d").await;
    assert_eq!(next_ids(&mut scene.room, 1).await, ["d"]);
    let ids = flood(&scene.writer).await;
    let (owner, successor) = owner(&regions).await;
    regions
        .tells(owner, "1 paused: events that the history has not stored are at their bound")
        .await;
    counts(&regions, owner, "meridian_router_paused", 1.0).await;
    counts(&regions, owner, "meridian_router_unwritten_bytes", UNWRITTEN_BYTES).await;
    regions.tells(owner, "Postgres does not answer").await;
    regions.tells("edge1", "Postgres does not answer").await;
    assert_eq!(regions.metric("edge1", &ready("history")).await, Some(0.0));
    assert_eq!(regions.asked("edge1", "/readyz").await.status, 200, "it serves on");
    // The others go on.
    scene.writer.publish(event(&elsewhere, "second")).await.expect("acknowledged");
    assert_eq!(next_ids(&mut other, 1).await, ["second"]);
    scene.types().await;

    regions.kill(owner);
    regions.tells(successor, "8 of 8 partitions").await;
    regions.tells(successor, "4 paused: the history does not answer").await;
    regions.revive("pg1").await;
    assert_eq!(next_ids(&mut scene.room, ids.len()).await, ids);
    publish(&scene.writer, "last").await;
    assert_eq!(next_ids(&mut scene.room, 1).await, ["last"]);
    scene.writer.publish(event(&elsewhere, "third")).await.expect("acknowledged");
    assert_eq!(next_ids(&mut other, 1).await, ["third"]);
    regions.tells(successor, "\"degraded\":false").await;
    // From Postgres: hot history keeps less.
    let client = connect(&regions, "anew").await;
    let from = From::Cursor(scene.cursor.clone());
    let mut room = client.subscribe(CHANNEL, from).await.expect("a subscription");
    let all: Vec<String> = ["b", "c", "d"].map(str::to_owned).into_iter().chain(ids).collect();
    assert_eq!(next_ids(&mut room, all.len()).await, all);
    assert_eq!(next_ids(&mut room, 1).await, ["last"]);
}

fn other_partition() -> String {
    let mut names = (0..).map(|n| format!("room:elsewhere-{n}"));
    names.find(|name| partition(name) != partition(CHANNEL)).expect("there are many")
}

/// Publishes half as much again as a partition may hold; the ids.
async fn flood(writer: &Client) -> Vec<String> {
    let data = format!("\"{}\"", "x".repeat(BYTES));
    let mut ids = Vec::new();
    while ids.len() * BYTES < UNWRITTEN_BYTES as usize * 3 / 2 {
        let batch: Vec<String> = (0..BATCH).map(|n| format!("flood-{}", ids.len() + n)).collect();
        let event = |id: &String| Publish::json(CHANNEL, data.clone()).id(id);
        let receipts = writer.publish_batch(batch.iter().map(event).collect()).await;
        for receipt in receipts.expect("an answer") {
            receipt.expect("acknowledged: the log has it");
        }
        ids.extend(batch);
    }
    ids
}

/// The router that owns the channel's partition, and the other one.
async fn owner(regions: &Regions) -> (&'static str, &'static str) {
    eventually_async("the owner", || async {
        let unwritten = "meridian_router_unwritten_bytes";
        let at_bound = regions.sum("router1", unwritten).await? >= UNWRITTEN_BYTES;
        let other_at_bound = regions.sum("router11", unwritten).await? >= UNWRITTEN_BYTES;
        match (at_bound, other_at_bound) {
            (true, false) => Some(("router1", "router11")),
            (false, true) => Some(("router11", "router1")),
            _ => None,
        }
    })
    .await
}
