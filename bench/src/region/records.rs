//! Filling a log with what publishers would have written.

use anyhow::{Context as _, Result};
use meridian_core::seams::Log;
use meridian_core::vocabulary::{
    Body, Channel, ChannelKey, Epoch, EventId, Offset, Partition, Record, Scope, Tenant,
};

use super::{NAMESPACE, TENANT};
use crate::clock::monotonic_ns;
use crate::payload;

/// Well below what a log lets one tenant have under way.
const BATCH: usize = 2_000;

/// Appends so many records of `bytes` each, over the channels in turn; where each partition ends.
pub(crate) async fn fill(
    log: &dyn Log,
    records: usize,
    channels: usize,
    bytes: usize,
) -> Result<Vec<u64>> {
    let epoch = log.incarnation().epoch;
    let mut made = 0;
    while made < records {
        let until = (made + BATCH).min(records);
        let batch: Result<Vec<Record>> =
            (made..until).map(|n| record(epoch, n, channels, bytes)).collect();
        for answer in log.append(batch?).await {
            answer.context("filling the log")?;
        }
        made = until;
    }
    let mut ends = Vec::new();
    for partition in 0..log.incarnation().partitions {
        let Offset(end) = log.end(Partition(partition)).await?;
        ends.push(end);
    }
    Ok(ends)
}

fn record(epoch: Epoch, n: usize, channels: usize, bytes: usize) -> Result<Record> {
    let channel = Channel::parse(&format!("{NAMESPACE}:filled-{}", n % channels.max(1)))?;
    let body = Body {
        data: payload::make(bytes, monotonic_ns()).into(),
        publisher: Some("bench".to_owned()),
        ..Body::default()
    };
    Ok(Record {
        key: ChannelKey { tenant: Tenant::parse(TENANT)?, channel },
        scope: Scope::of_token("bench", "bench"),
        id: EventId::parse(&format!("event-{n}"))?,
        epoch,
        body: body.encode(),
    })
}
