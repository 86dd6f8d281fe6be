//! A Redis that loses what it was told, under a region with clients: the last writes of a quiet partition, in a
//! failover or together with the router, everything at once, and one message. Clients get each event once
//! and in order, and are told of no gap.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use meridian_client::{Choice, Client, From, Publish, Subscription, Transport};

use crate::client::{next_ids, token};
use crate::servers::{Regions, Setup};
use crate::stores::{counts, neighbour, promote, redis_cli, replicate, stored};
use crate::wire::Wire;
use crate::witnesses::{Cast, Witnesses};

const CHANNEL: &str = "room:quiet";
const REPAIRS: &str = "meridian_router_repairs_total";
/// The hubs' sweep finds what a channel lacks within this.
const FOUND_WITHIN: Duration = Duration::from_secs(5);
/// Writes that are lost.
const LOST: usize = 100;

/// Somebody who has been there from the beginning, and who publishes.
struct Scene {
    client: Client,
    live: Subscription,
    /// The cursor before everything.
    start: String,
}

impl Scene {
    async fn open(regions: &Regions) -> Self {
        let client = connect(regions, "witness").await;
        let live = client.subscribe(CHANNEL, From::Now).await.expect("a subscription");
        let start = live.cursor().expect("a cursor").to_owned();
        Self { client, live, start }
    }

    /// Publishes events; their cursors, once they were heard live.
    async fn publish(&mut self, ids: &[String]) -> Vec<String> {
        let cursors = publish(&self.client, CHANNEL, ids).await;
        assert_eq!(next_ids(&mut self.live, ids.len()).await, ids);
        cursors
    }
}

fn numbered(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{name}-{n}")).collect()
}

async fn connect(regions: &Regions, user: &str) -> Client {
    let door = regions.only_door(1, Transport::WebSocket).token(token(user));
    door.connect().await.expect("a connection")
}

async fn resume(regions: &Regions, user: &str, cursor: &str) -> (Client, Subscription) {
    let client = connect(regions, user).await;
    let from = From::Cursor(cursor.to_owned());
    let room = client.subscribe(CHANNEL, from).await.expect("a subscription");
    (client, room)
}

async fn publish(client: &Client, channel: &str, ids: &[String]) -> Vec<String> {
    let events = ids.iter().map(|id| Publish::json(channel, "1").id(id)).collect();
    let receipts = client.publish_batch(events).await.expect("an answer");
    let cursor = |receipt: Result<meridian_client::Receipt, _>| {
        receipt.expect("acknowledged").cursor.expect("a cursor")
    };
    receipts.into_iter().map(cursor).collect()
}

/// Nothing is published while the loss is found: only the marker tells.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_that_loses_the_last_writes_of_a_quiet_partition_is_made_good() {
    let mut regions = Regions::start_with(Setup { replica: true, ..Setup::ONE }).await;
    replicate(&regions).await;
    let mut scene = Scene::open(&regions).await;
    let (kept, lost) = (numbered("kept", 5), numbered("lost", LOST));
    scene.publish(&kept).await;
    redis_cli(regions.stack.redis(1), &["WAIT", "1", "5000"]);
    // From here on the replica gets nothing, and does not know that it lacks anything.
    redis_cli(regions.stack.redis(2), &["REPLICAOF", "127.0.0.1", "1"]);
    let cursors = scene.publish(&lost).await;
    stored(&regions, 1, &cursors[LOST - 1]).await;
    let before = regions.sum("router1", REPAIRS).await.expect("metrics");
    regions.kill("redis1");
    promote(&regions).await;

    let (_late, mut late) = resume(&regions, "late", &cursors[49]).await;
    assert_eq!(next_ids(&mut late, LOST - 50).await, lost[50..]);
    counts(&regions, "router1", REPAIRS, before + 1.0).await;
    let (_anew, mut anew) = resume(&regions, "anew", &scene.start).await;
    assert_eq!(next_ids(&mut anew, kept.len() + LOST).await, [kept, lost].concat());
    let after = numbered("after", 3);
    scene.publish(&after).await;
    assert_eq!(next_ids(&mut late, 3).await, after);
    assert_eq!(next_ids(&mut anew, 3).await, after);
}

/// The same Redis comes back in an older state, and the router dies with it.
#[tokio::test(flavor = "multi_thread")]
async fn what_redis_loses_together_with_the_router_or_as_a_whole_is_made_good() {
    let mut regions = Regions::start_with(Setup::ONE).await;
    let mut scene = Scene::open(&regions).await;
    older_than_the_checkpoint(&mut regions, &mut scene).await;
    older_than_what_was_stored(&mut regions, &mut scene).await;
    emptied_under_load(&regions).await;
}

/// Redis goes back to what `SAVE` kept, and the router is gone.
fn set_back(regions: &mut Regions) {
    regions.kill("router1");
    regions.kill("redis1");
    regions.stack.restart("redis1");
}

/// [Redis lost X@95; the checkpoint says 120; a client told "you are at 120" would accept 130 with
/// prev 95.]
async fn older_than_the_checkpoint(regions: &mut Regions, scene: &mut Scene) {
    let x = |n: usize| vec![format!("x-{n}")];
    let known = scene.publish(&x(80)).await.remove(0);
    redis_cli(regions.stack.redis(1), &["SAVE"]);
    scene.publish(&x(95)).await;
    let others = publish(&scene.client, &neighbour(CHANNEL), &numbered("y", 25)).await;
    stored(regions, 1, &others[24]).await;
    set_back(regions);
    // Without a router: Postgres knows more than Redis, and is believed.
    let (_late, mut late) = resume(regions, "late", &known).await;
    assert_eq!(next_ids(&mut late, 1).await, x(95));
    regions.revive("router1").await;
    counts(regions, "router1", REPAIRS, 1.0).await;
    scene.publish(&x(130)).await;
    assert_eq!(next_ids(&mut late, 1).await, x(130));
}

/// What Redis loses went out, and Postgres never got it: only the log has it.
async fn older_than_what_was_stored(regions: &mut Regions, scene: &mut Scene) {
    redis_cli(regions.stack.redis(1), &["SAVE"]);
    regions.kill("pg1");
    let lost = numbered("unstored", LOST);
    let cursors = scene.publish(&lost).await;
    set_back(regions);
    let (_late, mut late) = resume(regions, "late", &cursors[49]).await;
    regions.revive("pg1").await;
    regions.revive("router1").await;
    counts(regions, "router1", "meridian_router_applied_events_total", LOST as f64).await;
    assert_eq!(next_ids(&mut late, LOST - 50).await, lost[50..]);
    let (_anew, mut anew) = resume(regions, "anew", &cursors[0]).await;
    assert_eq!(next_ids(&mut anew, LOST - 1).await, lost[1..]);
    let after = numbered("restored", 3);
    scene.publish(&after).await;
    assert_eq!(next_ids(&mut late, 3).await, after);
    assert_eq!(next_ids(&mut anew, 3).await, after);
}

async fn emptied_under_load(regions: &Regions) {
    let cast = Cast { publishers: 4, readers: 8, channels: 4, pace: Duration::from_millis(5) };
    let door = |_, transport: Transport| regions.only_door(1, transport);
    let witnesses = Witnesses::start_at(&door, &cast).await;
    let before = regions.sum("router1", REPAIRS).await.expect("metrics");
    for round in [1.0, 2.0, 3.0] {
        let wanted = witnesses.acknowledged() + 200;
        crate::node::eventually("more events", || {
            (witnesses.acknowledged() >= wanted).then_some(())
        })
        .await;
        redis_cli(regions.stack.redis(1), &["FLUSHALL"]);
        counts(regions, "router1", REPAIRS, before + round).await;
    }
    let verdict = witnesses.finish_at(&door).await;
    println!("{verdict:?}");
    assert_eq!((verdict.unacknowledged, verdict.reconnects), (0, 0), "{verdict:?}");
}

/// A message that Redis published and the edge never got; nothing else is published.
#[tokio::test(flavor = "multi_thread")]
async fn a_last_message_that_is_dropped_is_found_by_the_sweep() {
    let mut regions = Regions::start_with(Setup::ONE).await;
    let redis = regions.stack.redis(1).to_owned();
    let wire = Wire::to(redis.trim_start_matches("redis://")).await;
    let at = regions.configure_edge("edge11", 1);
    regions.amend("edge11", &redis, &format!("redis://{}", wire.address));
    regions.revive("edge11").await;
    let behind = connect_at(at).await;
    let mut room = behind.subscribe(CHANNEL, From::Now).await.expect("a subscription");
    let mut scene = Scene::open(&regions).await;
    scene.publish(&numbered("heard", 2)).await;
    assert_eq!(next_ids(&mut room, 2).await, numbered("heard", 2));

    for round in 1..=2 {
        let id = format!("dropped-{round}");
        wire.drop_message_with(&id);
        scene.publish(std::slice::from_ref(&id)).await;
        // Others have heard it.
        let began = Instant::now();
        assert_eq!(next_ids(&mut room, 1).await, [id]);
        let took = began.elapsed();
        println!("found after {took:?}");
        assert_eq!(wire.dropped(), round);
        assert!(took < FOUND_WITHIN, "{took:?}");
    }
    scene.publish(&numbered("after", 2)).await;
    assert_eq!(next_ids(&mut room, 2).await, numbered("after", 2));
}

async fn connect_at(at: SocketAddr) -> Client {
    let builder = Client::builder(format!("http://{at}")).token(token("behind"));
    let builder = builder.transport(Choice::Only(Transport::WebSocket));
    builder.connect().await.expect("a connection")
}
