//! A bridge that appends again what the log has held for longer than its window looks back, or what it does
//! not know the log to hold: every record of the source is one event, in order.

use std::time::{Duration, Instant};

use meridian_client::{Client, From, Subscription, Transport};
use meridian_core::seams::Log as _;
use meridian_core::vocabulary::Offset;
use meridian_kafka::KafkaLog;
use meridian_stack::{Counts, Stack};
use serde_json::json;

use crate::bridge::{make_topic, produce};
use crate::client::{next_event, token};
use crate::node::{LOOK_EVERY, eventually_async};
use crate::rebuild::{append, narrow_log};
use crate::request::{self, Request};
use crate::servers::Regions;
use crate::stores::{neighbour, partition};

const TOPIC: &str = "shop.late";
const CHANNEL: &str = "room:late";
/// W and D of the log.
const WINDOW: u32 = 20;
const WINDOW_MS: u64 = 1_000;
/// Records of the source in each part of the test.
const RECORDS: usize = 30;

/// Two regions on a log with a small window, a bridge from a cluster of its own, and a reader.
struct World {
    source: Stack,
    regions: Regions,
    log: KafkaLog,
    room: Subscription,
    _client: Client,
    /// So many were produced.
    produced: usize,
}

impl World {
    async fn start() -> Self {
        let source = Stack::start(Counts { kafka: 1, ..Counts::default() });
        make_topic(&source, TOPIC, 1).await;
        let mut regions = Regions::prepare();
        let log = narrow_log(&regions, (WINDOW, WINDOW_MS)).await;
        for name in ["router1", "router2", "edge1", "edge2"] {
            regions.revive(name).await;
        }
        let client = regions.door(2, Transport::WebSocket).token(token("reader"));
        let client = client.connect().await.expect("a connection");
        let room = client.subscribe(CHANNEL, From::Now).await.expect("a subscription");
        let route = format!(
            "[bridge]\nbootstrap = '{}'\n[bridge.routes.late]\ntopic = '{TOPIC}'\ntenant = 'acme'\n\
             channel = '{CHANNEL}'\nfields = ['']\n",
            source.kafka()
        );
        regions.add_bridge("bridge1", 1, &route).await;
        Self { source, regions, log, room, _client: client, produced: 0 }
    }

    async fn produce(&mut self, count: usize) {
        for _ in 0..count {
            produce(&self.source, TOPIC, "k", &self.produced.to_string()).await;
            self.produced += 1;
        }
    }

    /// The reader gets the next so many, and nothing else before them.
    async fn arrive(&mut self, count: usize) {
        for n in self.produced - count..self.produced {
            let event = next_event(&mut self.room).await;
            assert_eq!(String::from_utf8_lossy(&event.body.data), n.to_string());
        }
    }

    async fn end(&self) -> Offset {
        self.log.end(partition(CHANNEL)).await.expect("an end")
    }

    /// Appends beside the channel until W records and D have gone by.
    async fn outlast_the_window(&self) {
        let beside = neighbour(CHANNEL);
        let first = append(&self.log, &beside, "first").await;
        eventually_async("a log that outlasts its window", || async {
            let id = format!("late-{}", rand::random::<u64>());
            let last = append(&self.log, &beside, &id).await;
            let from = Offset(first.unsigned_abs());
            let held = self.log.read(partition(CHANNEL), from, 10_000, usize::MAX).await;
            let held = held.expect("records");
            let took = held.last()?.time_ms - held.first()?.time_ms;
            (took > WINDOW_MS && last - first > i64::from(WINDOW)).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_bridge_appends_again_is_no_new_event_at_any_age() {
    let mut world = World::start().await;
    world.produce(RECORDS).await;
    world.arrive(RECORDS).await;

    // Down for longer than either bound; back, it appends again all that it ever appended.
    world.regions.kill("bridge1");
    world.outlast_the_window().await;
    world.regions.revive("bridge1").await;
    let before = world.end().await;
    let ask = json!({ "reason": "a test", "mode": "fill", "partition": 0, "offset": 0 });
    let replay = || async {
        let request = Request::new("POST", "/ops/v1/bridge/late/replay").by_operator();
        let request = request.body("application/json", ask.to_string());
        let answer = request.send(world.regions.admin("bridge1")).await.expect("an answer");
        (answer.status == 200).then_some(())
    };
    eventually_async("the bridge to have its partition back", replay).await;
    let again = || async { (world.end().await.0 >= before.0 + RECORDS as u64).then_some(()) };
    eventually_async("the repeats in the log", again).await;
    world.produce(RECORDS).await;
    world.arrive(RECORDS).await;

    // A batch that times out while the log's broker stands still: it may be in the log all the same.
    world.regions.stack.pause("kafka1");
    world.produce(RECORDS).await;
    let (admin, patience) = (world.regions.admin("bridge1"), Duration::from_secs(90));
    let mut told = String::new();
    let began = Instant::now();
    while !told.contains("the log: ") {
        assert!(began.elapsed() < patience, "{told}");
        told = request::get(admin, "/readyz").await.map_or_else(|e| e.to_string(), |a| a.body);
        tokio::time::sleep(LOOK_EVERY).await;
    }
    world.regions.stack.resume("kafka1");
    world.arrive(RECORDS).await;
    world.produce(1).await;
    world.arrive(1).await;
    world.log.close().await;
}
