//! What tests ask of a region's servers themselves, and do to them, past Meridian.

use std::process::Command;
use std::time::Duration;

use meridian_core::vocabulary::{Channel, ChannelKey, Cursor, Partition, Tenant, partition_of};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use sqlx::Connection as _;

use crate::node::{eventually_async, eventually_within};
use crate::servers::{PARTITIONS, Regions};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What `redis-cli` prints.
pub(crate) fn redis_cli(url: &str, args: &[&str]) -> String {
    let output = Command::new("redis-cli").arg("-u").arg(url).args(args).output();
    let output = output.expect("redis-cli runs");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The port of a Redis's address.
pub(crate) fn port(url: &str) -> &str {
    url.rsplit(':').next().expect("a port")
}

fn ask_sentinel(regions: &Regions, args: &[&str]) -> String {
    let url = format!("redis://{}", regions.stack.sentinel(1));
    redis_cli(&url, &[&["SENTINEL"], args].concat())
}

/// Has the second Redis copy the first; returns when Sentinel knows of the copy.
pub(crate) async fn replicate(regions: &Regions) {
    let [master, replica] = [regions.stack.redis(1), regions.stack.redis(2)];
    // A replica that asks for its copy waits for 5 s otherwise.
    redis_cli(master, &["CONFIG", "SET", "repl-diskless-sync-delay", "0"]);
    redis_cli(replica, &["REPLICAOF", "127.0.0.1", port(master)]);
    eventually_within(PATIENCE, "Sentinel to know the copy", || {
        let told = ask_sentinel(regions, &["REPLICAS", "main"]);
        told.contains("master-link-status\nok").then_some(())
    })
    .await;
}

/// Promotes the second Redis in place of the first, which is dead; returns when Sentinel says so.
pub(crate) async fn promote(regions: &Regions) {
    let replica = regions.stack.redis(2);
    redis_cli(replica, &["REPLICAOF", "NO", "ONE"]);
    eventually_within(PATIENCE, "a promotion", || {
        let told = ask_sentinel(regions, &["GET-MASTER-ADDR-BY-NAME", "main"]);
        (told.lines().nth(1) == Some(port(replica))).then_some(())
    })
    .await;
}

/// Waits until every copy in Kafka is whole.
pub(crate) async fn in_sync(regions: &Regions) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", regions.stack.kafka());
    let client: BaseConsumer = config.create().expect("a client");
    eventually_within(PATIENCE, "whole copies in Kafka", || {
        let found = client.fetch_metadata(None, Duration::from_secs(5)).ok()?;
        let mut partitions = found.topics().iter().flat_map(|topic| topic.partitions());
        partitions.all(|copies| copies.isr().len() == copies.replicas().len()).then_some(())
    })
    .await;
}

/// Waits until a region's Postgres holds all up to a cursor.
pub(crate) async fn stored(regions: &Regions, region: u32, cursor: &str) {
    let cursor = Cursor::parse(cursor).expect("a cursor");
    let url = regions.stack.postgres(region);
    let mut connection = sqlx::PgConnection::connect(url).await.expect("a connection");
    let sql = "SELECT max(passed) FROM meridian.streams WHERE partition = $1";
    loop {
        let asked = sqlx::query_scalar::<_, Option<i64>>(sql).bind(cursor.partition.0 as i32);
        let passed = asked.fetch_one(&mut connection).await.expect("an answer");
        if passed >= Some(cursor.position.passed) {
            return;
        }
        tokio::time::sleep(crate::node::LOOK_EVERY).await;
    }
}

/// Waits until the sum of a process's metric over all labels is at least this.
pub(crate) async fn counts(regions: &Regions, name: &str, metric: &str, least: f64) {
    let what = format!("{metric} of {least} in {name}");
    eventually_async(&what, || async {
        let sum = regions.sum(name, metric).await?;
        (sum >= least).then_some(())
    })
    .await;
}

/// The partition of a channel of these tests' tenant.
pub(crate) fn partition(channel: &str) -> Partition {
    let tenant = Tenant::parse("acme").expect("a tenant");
    let key = ChannelKey { tenant, channel: Channel::parse(channel).expect("a channel") };
    partition_of(&key.log_key(), PARTITIONS)
}

/// Another channel of the same partition.
pub(crate) fn neighbour(channel: &str) -> String {
    let mut names = (0..).map(|n| format!("room:beside-{n}"));
    names.find(|name| partition(name) == partition(channel)).expect("there are many")
}
