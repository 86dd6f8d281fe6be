//! Processes that start while a server is away: they say what is missing, serve what they can, and go on by
//! themselves when it is back.

use std::time::Duration;

use meridian_client::{Choice, From, Publish, Transport, Update};

use crate::client::{next_ids, token};
use crate::node::{eventually_async, in_time};
use crate::servers::{Regions, Setup};

const CHANNEL: &str = "room:away";

/// Publishes until it is taken; no refusal says anything but this.
async fn taken(regions: &Regions, id: &str, refused: &[&str]) {
    eventually_async("a publish", || async {
        let answer = regions.publish(1, CHANNEL, id).await;
        if answer.status == 200 {
            return Some(());
        }
        let told = answer.json();
        let code = told["code"].as_str().expect("a code");
        assert!(refused.contains(&code), "{answer:?}");
        None
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_starts_while_a_server_is_away_goes_on_when_it_is_back() {
    let mut regions = Regions::start_with(Setup::ONE).await;
    let connect = async |regions: &Regions| {
        let door = regions.door(1, Transport::WebSocket).token(token("reader"));
        door.transport(Choice::Only(Transport::WebSocket)).connect().await.expect("a connection")
    };
    let client = connect(&regions).await;
    let mut cursors = Vec::new();
    for id in ["a", "b", "c"] {
        let receipt = client.publish(Publish::json(CHANNEL, "1").id(id)).await;
        cursors.push(receipt.expect("acknowledged").cursor.expect("a cursor"));
    }
    let mut room =
        client.subscribe(CHANNEL, From::Cursor(cursors[0].clone())).await.expect("a subscription");
    assert_eq!(next_ids(&mut room, 2).await, ["b", "c"]);
    drop((room, client));
    let all_down = |regions: &mut Regions, server: &str| {
        for name in ["edge1", "router1", server] {
            regions.kill(name);
        }
        regions.launch("edge1");
        regions.launch("router1");
    };

    // Kafka: Postgres knows the log, so that clients catch up; publishes are refused.
    all_down(&mut regions, "kafka1");
    regions.ready("edge1").await;
    regions.tells("edge1", "Kafka does not answer").await;
    regions.tells("router1", "Kafka does not answer").await;
    let client = connect(&regions).await;
    let mut older =
        client.subscribe(CHANNEL, From::Cursor(cursors[0].clone())).await.expect("a subscription");
    assert_eq!(next_ids(&mut older, 2).await, ["b", "c"]);
    let mut now = client.subscribe("room:now", From::Now).await.expect("a subscription");
    let refused = regions.publish(1, CHANNEL, "refused").await;
    refused.assert_problem(503, "log_unavailable");
    regions.revive("kafka1").await;
    taken(&regions, "d", &["log_unavailable"]).await;
    assert_eq!(next_ids(&mut older, 1).await, ["d"]);
    regions.ready("router1").await;
    let receipt = client.publish(Publish::json("room:now", "1").id("now")).await;
    receipt.expect("acknowledged");
    assert_eq!(next_ids(&mut now, 1).await, ["now"], "and nothing from before");
    drop((older, now, client));

    // Postgres: hot history serves, routers wait for it.
    all_down(&mut regions, "pg1");
    regions.ready("edge1").await;
    regions.tells("router1", "Postgres does not answer").await;
    taken(&regions, "e", &[]).await;
    regions.revive("pg1").await;
    regions.ready("router1").await;
    let client = connect(&regions).await;
    let from = From::Cursor(cursors[2].clone());
    let mut room = client.subscribe(CHANNEL, from.clone()).await.expect("a subscription");
    assert_eq!(next_ids(&mut room, 2).await, ["d", "e"]);
    drop((room, client));

    // Redis: events come from Postgres.
    all_down(&mut regions, "redis1");
    regions.ready("edge1").await;
    regions.tells("edge1", "Redis does not answer").await;
    taken(&regions, "f", &[]).await;
    let client = connect(&regions).await;
    let mut room = client.subscribe(CHANNEL, from).await.expect("a subscription");
    assert_eq!(next_ids(&mut room, 3).await, ["d", "e", "f"]);
    regions.revive("redis1").await;
    regions.tells("edge1", "\"degraded\":false").await;
    taken(&regions, "g", &[]).await;
    let Some(Update::Event(last)) = in_time("the last event", room.next()).await else { panic!() };
    assert_eq!(last.id.as_deref(), Some("g"));
    drop((room, client));

    // Kafka and Postgres: nobody knows the log; the processes are there and say so.
    regions.kill("pg1");
    all_down(&mut regions, "kafka1");
    for name in ["edge1", "router1"] {
        regions.tells(name, "the log is not known yet").await;
        assert_eq!(regions.asked(name, "/readyz").await.status, 503);
    }
    regions.revive("pg1").await;
    regions.ready("edge1").await;
    regions.revive("kafka1").await;
    regions.ready("router1").await;
    taken(&regions, "h", &["log_unavailable"]).await;
    // An end in order is one while it waits, too.
    regions.terminate("edge1").await;
    regions.kill("pg1");
    regions.kill("kafka1");
    regions.launch("edge1");
    regions.tells("edge1", "the log is not known yet").await;
    tokio::time::timeout(Duration::from_secs(15), regions.terminate("edge1")).await.expect("ended");
}
