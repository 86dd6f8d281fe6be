//! Logs beside `global`, on real servers: what stays in one region, on the region's Kafka or on a cluster of
//! its own.

use std::time::Duration;

use meridian_client::{Client, From, Publish, Subscription, Transport, Update};
use meridian_stack::{Counts, Stack};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use crate::client::{next_ids, token};
use crate::node::{eventually_async, in_time};
use crate::servers::Regions;
use crate::stores::redis_cli;

const LOCAL: &str = "local:a";
const ROOM: &str = "room:a";
/// It joins its group beside everything else that starts.
const A_BRIDGES_START: Duration = Duration::from_secs(90);

/// Two regions with a zone `near` of the first one only.
async fn with_zone(keys: &str) -> Regions {
    let mut regions = Regions::prepare();
    for name in ["router1", "router2", "edge1", "edge2"] {
        regions.append(name, &zone(keys));
    }
    for name in ["router1", "router2", "edge1", "edge2"] {
        regions.revive(name).await;
    }
    regions
}

fn zone(keys: &str) -> String {
    format!(
        "[zones.near]\nregions = ['region-1']\npartitions = 4\n{keys}\n\
         [namespaces.local]\nzone = 'near'\nsubscribe = ['tenant']\npublish = ['tenant']\n"
    )
}

async fn connect(regions: &Regions, region: usize) -> Client {
    let door = regions.only_door(region, Transport::WebSocket).token(token("ann"));
    door.connect().await.expect("a connection")
}

async fn subscribe(client: &Client, channel: &str, from: From) -> Subscription {
    client.subscribe(channel, from).await.expect("a subscription")
}

async fn publish(client: &Client, channel: &str, id: &str) -> String {
    let receipt = client.publish(Publish::json(channel, "1").id(id)).await.expect("acknowledged");
    receipt.cursor.expect("a cursor")
}

async fn stored(regions: &Regions, region: u32, channel: &str) -> Option<()> {
    let sql = "SELECT count(*) FROM meridian.events e JOIN meridian.channels c ON c.id = e.channel_id \
               JOIN meridian.logs l ON l.id = e.log_id WHERE c.name = $1 AND l.name = $2";
    let log = if channel == LOCAL { "near" } else { "global" };
    let mut connection =
        PgConnection::connect(regions.stack.postgres(region)).await.expect("Postgres");
    let stored = sqlx::query_scalar(sql).bind(channel).bind(log).fetch_one(&mut connection).await;
    let stored: i64 = stored.expect("a number");
    (stored > 0).then_some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zones_records_stay_in_its_regions() {
    let mut regions = with_zone("").await;
    let client = connect(&regions, 1).await;
    let mut local = subscribe(&client, LOCAL, From::Now).await;
    let mut room = subscribe(&client, ROOM, From::Now).await;
    let first = publish(&client, LOCAL, "l1").await;
    publish(&client, ROOM, "r1").await;
    assert_eq!(next_ids(&mut local, 1).await, ["l1"]);
    assert_eq!(next_ids(&mut room, 1).await, ["r1"]);
    for (region, channel) in [(1, LOCAL), (1, ROOM), (2, ROOM)] {
        eventually_async("a stored event", || stored(&regions, region, channel)).await;
    }
    assert_eq!(stored(&regions, 2, LOCAL).await, None, "it stays in its region");

    // The other region says where to go, and has no part of it.
    let answer = regions.publish(2, LOCAL, "l2").await;
    let told = answer.json();
    assert_eq!((answer.status, &told["code"]), (421, &json!("wrong_region")));
    assert_eq!(told["elsewhere"][0]["region"], "region-1");
    assert!(regions.asked("router1", "/readyz").await.body.contains("router near"));
    assert!(!regions.asked("router2", "/readyz").await.body.contains("near"));

    // Everything of both logs that the region's Redis had is gone, while it is used.
    redis_cli(regions.stack.redis(1), &["FLUSHALL"]);
    publish(&client, LOCAL, "l2").await;
    publish(&client, ROOM, "r2").await;
    assert_eq!(next_ids(&mut local, 1).await, ["l2"]);
    assert_eq!(next_ids(&mut room, 1).await, ["r2"]);

    // A cursor of the zone goes on after a restart of everything that the region runs.
    drop((local, room, client));
    for name in ["edge1", "router1"] {
        regions.terminate(name).await;
    }
    for name in ["router1", "edge1"] {
        regions.revive(name).await;
    }
    let client = connect(&regions, 1).await;
    let mut local = subscribe(&client, LOCAL, From::Cursor(first)).await;
    assert_eq!(next_ids(&mut local, 1).await, ["l2"]);
    publish(&client, LOCAL, "l3").await;
    assert_eq!(next_ids(&mut local, 1).await, ["l3"]);

    let told = regions.run(&["log", "show", "--log", "near"], "router1");
    assert!(told.contains("topic      meridian.near.1"), "{told}");
    assert!(told.contains("partitions 4"), "{told}");
    let refused = regions.command(&["log", "show", "--log", "near", "--config", "router2.toml"]);
    let refused = { refused }.output().expect("the built command starts");
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(why.contains("the region `region-2` has no log `near`; it has: global"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zones_cluster_that_is_gone_takes_nothing_else_along() {
    let cluster = Stack::start(Counts { kafka: 1, ..Counts::default() });
    let mut regions = with_zone(&format!("bootstrap = '{}'", cluster.kafka())).await;
    let client = connect(&regions, 1).await;
    let mut local = subscribe(&client, LOCAL, From::Now).await;
    let mut room = subscribe(&client, ROOM, From::Now).await;
    publish(&client, LOCAL, "l1").await;
    assert_eq!(next_ids(&mut local, 1).await, ["l1"]);

    cluster.kill("kafka1");
    regions.tells("edge1", "Kafka does not answer").await;
    let parts = regions.asked("edge1", "/readyz").await.json();
    let ready = |part: &str| {
        let parts = parts["parts"].as_array().expect("parts");
        let found = parts.iter().find(|found| found["part"] == part);
        found.unwrap_or_else(|| panic!("no part {part}: {parts:?}"))["ready"].clone()
    };
    assert_eq!((ready("log near"), ready("log")), (json!(false), json!(true)));
    eventually_async("a refusal", || async {
        let answer = regions.publish(1, LOCAL, "refused").await;
        (answer.json()["code"] == "log_unavailable").then_some(())
    })
    .await;
    publish(&client, ROOM, "r1").await;
    assert_eq!(next_ids(&mut room, 1).await, ["r1"]);

    // Whoever starts meanwhile knows the zone's log from the history.
    regions.kill("edge1");
    regions.launch("edge1");
    regions.tells("edge1", "log near").await;
    let client = connect(&regions, 1).await;
    let mut read = subscribe(&client, LOCAL, From::Last(10)).await;
    assert_eq!(next_ids(&mut read, 1).await, ["l1"], "what is stored is served");

    cluster.restart("kafka1");
    eventually_async("a publish", || async {
        (regions.publish(1, LOCAL, "l2").await.status == 200).then_some(())
    })
    .await;
    let update = in_time("the event after the outage", read.next()).await;
    assert!(matches!(update, Some(Update::Event(event)) if event.id.as_deref() == Some("l2")));
}

/// Routes append to the log of their namespace's zone.
#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_fills_the_log_of_its_namespace() {
    let mut regions = with_zone("").await;
    let client = connect(&regions, 1).await;
    let mut local = subscribe(&client, LOCAL, From::Now).await;
    let topic = "shop.names";
    let routes = format!(
        "{}[bridge.routes.orders]\ntopic = '{topic}'\ntenant = 'acme'\nchannel = 'local:{{key}}'\n\
         fields = ['/name']\n",
        zone("")
    );
    crate::bridge::make_topic(&regions.stack, topic, 1).await;
    crate::bridge::produce(&regions.stack, topic, "a", r#"{"name":"x","secret":1}"#).await;
    regions.add_bridge("bridge1", 1, &routes).await;
    let update = tokio::time::timeout(A_BRIDGES_START, local.next()).await;
    let Ok(Some(Update::Event(event))) = update else {
        let state = regions.asked("bridge1", "/ops/v1/bridge").await.body;
        panic!("{update:?}; {state}; {}", regions.log("bridge1"))
    };
    assert_eq!(event.body.data.as_ref(), br#"{"name":"x"}"#);
}
