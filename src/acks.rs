//! The acknowledged positions' topic as edges and routers use it: opened when it is needed first, since Kafka
//! and Postgres may be away when a process starts. Owns the name of the region's group.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use meridian_core::seams::{AckLog, AckLogError, KeyedAck};
use meridian_core::vocabulary::LogName;
use meridian_kafka::{AckGroup, KafkaAckReader, KafkaAcks, OpenError};
use meridian_postgres::PostgresHistory;
use meridian_region_router::AckMerger;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::region::{self, LogPlace};

/// A router that gave no sign of life for so long leaves its part to the others.
const SESSION: Duration = Duration::from_secs(10);
/// Between two tries to open the topic, each of which has its own bounds.
const RETRY: Duration = Duration::from_secs(2);

/// The topic, opened (and made if there is none) with the first append that reaches Kafka.
pub(crate) struct Acks {
    options: meridian_kafka::Options,
    log: LogName,
    opened: OnceCell<KafkaAcks>,
}

impl Acks {
    pub(crate) fn new(place: &LogPlace) -> Arc<Self> {
        let (options, log) = (region::kafka(&place.kafka), place.name.clone());
        Arc::new(Self { options, log, opened: OnceCell::new() })
    }

    async fn open(&self) -> Result<&KafkaAcks, OpenError> {
        let opening = || KafkaAcks::open(self.options.clone(), self.log.clone());
        self.opened.get_or_try_init(opening).await
    }
}

#[async_trait]
impl AckLog for Acks {
    fn log(&self) -> &LogName {
        &self.log
    }

    async fn append(&self, acks: Vec<KeyedAck>) -> Result<(), AckLogError> {
        match self.open().await {
            Ok(opened) => opened.append(acks).await,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "the acknowledged positions' topic can't be opened");
                Err(AckLogError)
            }
        }
    }
}

/// Takes other regions' positions into this one's history, until it is told to stop.
pub(crate) async fn merge(
    acks: Arc<Acks>,
    region: String,
    history: Arc<PostgresHistory>,
    stop: CancellationToken,
) {
    loop {
        match merger(&acks, &region, &history).await {
            Ok(merger) => return merger.run(stop).await,
            Err(error) => {
                let error: &dyn std::error::Error = error.as_ref();
                tracing::warn!(error, "other regions' acknowledged positions can't be read yet");
            }
        }
        if stop.run_until_cancelled(tokio::time::sleep(RETRY)).await.is_none() {
            return;
        }
    }
}

async fn merger(
    acks: &Arc<Acks>,
    region: &str,
    history: &Arc<PostgresHistory>,
) -> Result<AckMerger<KafkaAckReader>> {
    let opened = acks.open().await.context("cannot open the topic of acknowledged positions")?;
    let identity = history.identity().await.context("cannot ask Postgres who it is")?;
    let group = AckGroup { region: region.to_owned(), history: identity, session: SESSION };
    let reader = opened.reader(group);
    Ok(AckMerger::new(acks.clone(), reader, history.clone()))
}
