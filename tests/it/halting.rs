//! A log that must not be followed, on real servers: routers halt it, edges refuse publishes and serve on,
//! a restart changes nothing, and `meridian log new-epoch` goes on.

use std::time::Duration;

use meridian_client::{Client, From, Publish, Subscription, Transport, Update};
use meridian_core::vocabulary::{Cursor, Partition};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use crate::client::{next_ids, token};
use crate::node::{eventually_async, in_time};
use crate::servers::{Regions, Setup};

const CHANNEL: &str = "room:halted";
const TOPIC: &str = "meridian.global.1";

async fn connect(regions: &Regions, user: &str) -> Client {
    let door = regions.door(1, Transport::WebSocket).token(token(user));
    door.connect().await.expect("a connection")
}

async fn publish(client: &Client, id: &str) -> Cursor {
    let receipt = client.publish(Publish::json(CHANNEL, "1").id(id)).await.expect("acknowledged");
    Cursor::parse(&receipt.cursor.expect("a cursor")).expect("a cursor")
}

/// The code of a publish that is refused; `None`: it was taken.
async fn refusal(regions: &Regions, id: &str) -> Option<String> {
    let answer = regions.publish(1, CHANNEL, id).await;
    let code = answer.json()["code"].as_str().map(str::to_owned);
    assert_eq!(code.is_none(), answer.status == 200, "{answer:?}");
    code
}

/// What comes: ids, and reasons of gaps.
async fn story(room: &mut Subscription, until: &str) -> Vec<String> {
    let mut story: Vec<String> = Vec::new();
    while story.last().is_none_or(|last| last != until) {
        story.push(match in_time("the next update", room.next()).await {
            Some(Update::Event(event)) => event.id.expect("an id"),
            Some(Update::Gap(gap)) => format!("gap: {}", gap.reason),
            other => panic!("{other:?} behind {story:?}"),
        });
    }
    story
}

/// Everything of the region says that the log is halted, and goes on saying so.
async fn all_halted(regions: &Regions) {
    for name in ["router1", "edge1"] {
        regions.tells(name, "halted").await;
        eventually_async("the metric", || async {
            let metrics = regions.asked(name, "/metrics").await.body;
            metrics.contains("meridian_log_halted{log=\"global\"} 1").then_some(())
        })
        .await;
        assert_eq!(regions.asked(name, "/healthz").await.status, 200);
    }
    assert_eq!(regions.asked("edge1", "/readyz").await.status, 200, "it serves on");
    assert_eq!(regions.asked("router1", "/readyz").await.status, 503);
    let code = eventually_async("a refusal", || refusal(regions, "refused")).await;
    assert_eq!(code, "log_halted");
}

/// Begins the next epoch; the processes end by themselves and are started again, as a supervisor would.
async fn go_on(regions: &mut Regions) {
    let told = regions.run(&["log", "new-epoch"], "router1");
    assert!(told.contains("epoch      2"), "{told}");
    for name in ["router1", "edge1"] {
        regions.ends(name).await;
        regions.revive(name).await;
    }
    for name in ["router1", "edge1"] {
        eventually_async("the metric", || async {
            let metrics = regions.asked(name, "/metrics").await.body;
            metrics.contains("meridian_log_halted{log=\"global\"} 0").then_some(())
        })
        .await;
    }
}

async fn recreate(regions: &Regions, topic: &str) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", regions.stack.kafka());
    let admin: AdminClient<DefaultClientContext> = config.create().expect("a client");
    let deleted = admin.delete_topics(&[topic], &AdminOptions::new()).await.expect("an answer");
    assert!(deleted[0].is_ok(), "{deleted:?}");
    let frame = NewTopic::new(topic, 8, TopicReplication::Fixed(1))
        .set("message.timestamp.type", "LogAppendTime");
    eventually_async("the topic to be made again", || async {
        let made = admin.create_topics([&frame], &AdminOptions::new()).await.expect("an answer");
        made[0].is_ok().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_topic_halts_the_region_until_the_next_epoch() {
    let mut regions = Regions::start_with(Setup::ONE).await;
    let writer = connect(&regions, "writer").await;
    let mut live = writer.subscribe(CHANNEL, From::Now).await.expect("a subscription");
    let a = publish(&writer, "a").await;
    publish(&writer, "b").await;
    publish(&writer, "c").await;
    assert_eq!(next_ids(&mut live, 3).await, ["a", "b", "c"]);

    recreate(&regions, TOPIC).await;
    all_halted(&regions).await;
    // Sessions and catch-up go on.
    let reader = connect(&regions, "reader").await;
    let from = From::Cursor(a.to_string());
    let mut older = reader.subscribe(CHANNEL, from).await.expect("a subscription");
    assert_eq!(next_ids(&mut older, 2).await, ["b", "c"]);

    // A restart changes nothing, and is no reason for another.
    for name in ["router1", "edge1"] {
        regions.kill(name);
        regions.launch(name);
    }
    all_halted(&regions).await;

    go_on(&mut regions).await;
    let writer = connect(&regions, "writer").await;
    let d = publish(&writer, "d").await;
    assert_eq!((d.position.epoch.0, d.position.passed), (2, 0));
    let from = From::Cursor(a.to_string());
    let mut anew = writer.subscribe(CHANNEL, from).await.expect("a subscription");
    assert_eq!(story(&mut anew, "d").await, ["b", "c", "gap: epoch", "d"]);
    // Those who stayed through all of it hear what they lack.
    assert_eq!(story(&mut live, "d").await, ["gap: epoch", "d"]);
    assert_eq!(story(&mut older, "d").await, ["gap: epoch", "d"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lost_its_tail_and_grew_again_halts_the_region() {
    let mut regions = Regions::start_with(Setup::ONE).await;
    let writer = connect(&regions, "writer").await;
    let mut live = writer.subscribe(CHANNEL, From::Now).await.expect("a subscription");
    let a = publish(&writer, "a").await;
    publish(&writer, "b").await;
    let Partition(partition) = a.partition;
    regions.kill("kafka1");
    let kept = regions.stack.keep("kafka1", &format!("data/{TOPIC}-{partition}"));
    regions.revive("kafka1").await;
    eventually_async("the log", || async { refusal(&regions, "c").await.is_none().then_some(()) })
        .await;
    assert_eq!(next_ids(&mut live, 3).await, ["a", "b", "c"]);
    regions.kill("kafka1");
    regions.stack.put_back(&kept);
    regions.revive("kafka1").await;

    // It grows again until somebody notices.
    let code = eventually_async("a halt", || async {
        refusal(&regions, "other").await.filter(|code| code == "log_halted")
    })
    .await;
    assert_eq!(code, "log_halted");
    all_halted(&regions).await;
    regions.kill("router1");
    regions.launch("router1");
    regions.tells("router1", "halted").await;
    all_halted(&regions).await;

    go_on(&mut regions).await;
    publish(&connect(&regions, "writer").await, "d").await;
    assert_eq!(story(&mut live, "d").await, ["gap: epoch", "d"], "nothing of what grew");
    let writer = connect(&regions, "writer").await;
    let from = From::Cursor(a.to_string());
    let mut anew = writer.subscribe(CHANNEL, from).await.expect("a subscription");
    assert_eq!(story(&mut anew, "d").await, ["b", "c", "gap: epoch", "d"]);
}

/// The halt that one router noted holds for the region until a router goes on with that partition.
#[tokio::test(flavor = "multi_thread")]
async fn a_noted_halt_is_over_once_a_router_goes_on() {
    let mut regions = Regions::start_with(Setup::ONE).await;
    assert_eq!(refusal(&regions, "a").await, None);
    let topic = "shop.halted";
    crate::bridge::make_topic(&regions.stack, topic, 1).await;
    let route = format!(
        "[bridge.routes.orders]\ntopic = '{topic}'\ntenant = 'acme'\nchannel = 'room:{{key}}'\nfields = ['']\n"
    );
    regions.add_bridge("bridge1", 1, &route).await;
    let client = connect(&regions, "reader").await;
    let mut bridged = client.subscribe("room:k", From::Now).await.expect("a subscription");
    let noted = "INSERT INTO meridian.halts (log_id, epoch, partition, why) \
                 SELECT id, 1, 3, 'a test' FROM meridian.logs";
    regions.sql(1, noted).await;
    all_halted(&regions).await;
    regions.tells("edge1", "partition 3: a test").await;
    regions.tells("router1", "another router of the region halted the log: a test").await;
    eventually_async("the bridge to know", || async {
        let metrics = regions.asked("bridge1", "/metrics").await.body;
        metrics.contains("meridian_log_halted{log=\"global\"} 1").then_some(())
    })
    .await;
    crate::bridge::produce(&regions.stack, topic, "k", "1").await;
    regions.tells("bridge1", "the log: ").await;
    assert!(bridged.try_next().is_none(), "nothing is bridged into a halted log");
    regions.kill("router1");
    regions.revive("router1").await;
    let taken = || async { refusal(&regions, "b").await.is_none().then_some(()) };
    eventually_async("publishes", taken).await;
    let event = in_time("what was bridged", bridged.next()).await;
    assert!(matches!(event, Some(Update::Event(_))), "{event:?}");
    tokio::time::timeout(Duration::from_secs(5), regions.tells("edge1", "\"degraded\":false"))
        .await
        .expect("nothing is missed any more");
}
