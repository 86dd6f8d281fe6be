//! Publishes a demo's events into the log at their times. What is told when is `demo`'s.

use std::sync::Arc;

use anyhow::Result;
use meridian_core::seams::Log;
use meridian_core::vocabulary::{Body, Channel, ChannelKey, Epoch, EventId, Record, Scope, Tenant};

use crate::demo::{self, Departure};
use crate::dev::Demo;
use crate::development::TENANT;

/// Replays until it is dropped; without a demo it just waits.
pub(crate) async fn run(demo: Option<Demo>, log: Arc<dyn Log>, started_ms: u64) -> Result<()> {
    let Some(Demo::Flights) = demo else { return std::future::pending().await };
    let mut schedule = demo::schedule(&format!("{started_ms:x}"))?;
    loop {
        let (wait, departure) = schedule.next();
        tokio::time::sleep(wait).await;
        let record = record(&departure, log.incarnation().epoch)?;
        for answer in log.append(vec![record]).await {
            if let Err(error) = answer {
                tracing::warn!(%error, "a departure was not stored");
            }
        }
    }
}

fn record(departure: &Departure, epoch: Epoch) -> Result<Record> {
    let key =
        ChannelKey { tenant: Tenant::parse(TENANT)?, channel: Channel::parse(&departure.channel)? };
    let body = Body {
        data: departure.data.to_string().into(),
        publisher: Some("demo".to_owned()),
        ..Body::default()
    };
    Ok(Record {
        key,
        scope: Scope::of_token("", "demo"),
        id: EventId::parse(&departure.id)?,
        epoch,
        body: body.encode(),
    })
}
