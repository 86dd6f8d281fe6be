//! What tests ask of a region's servers themselves, and do to them, past Meridian.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::node::eventually_within;
use crate::servers::Regions;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

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
