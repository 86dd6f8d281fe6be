//! The acknowledged positions' topic as edges and routers use it. Owns the name of the region's group.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use meridian_core::config::RegionStores;
use meridian_kafka::{AckGroup, KafkaAckReader, KafkaAcks};
use meridian_region_router::AckMerger;

use crate::region::{self, Region};

/// A router that gave no sign of life for so long leaves its part to the others.
const SESSION: Duration = Duration::from_secs(10);

/// Opens the topic, made if there is none.
pub(crate) async fn open(stores: &RegionStores) -> Result<KafkaAcks> {
    KafkaAcks::open(region::kafka(&stores.kafka), region::log_name()?)
        .await
        .context("cannot open the topic of acknowledged positions on Kafka")
}

/// What takes other regions' positions into this one's history.
pub(crate) async fn merger(
    name: &str,
    stores: &RegionStores,
    region: &Region,
) -> Result<AckMerger<KafkaAckReader>> {
    let acks = open(stores).await?;
    let history = region.history.identity().await.context("cannot ask Postgres who it is")?;
    let group = AckGroup { region: name.to_owned(), history, session: SESSION };
    let reader = acks.reader(group);
    Ok(AckMerger::new(Arc::new(acks), reader, region.history.clone()))
}
