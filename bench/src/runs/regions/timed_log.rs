//! A log that notes when each record was handed to the router. Changes nothing that passes through.

use std::sync::Arc;

use async_trait::async_trait;
use meridian_core::seams::{AppendError, Appended, Incarnation, Log, LogError, LogRecord};
use meridian_core::vocabulary::{Offset, Partition, Record};

use super::tally::Tally;
use crate::clock::monotonic_ns;

pub(super) struct TimedLog<L> {
    pub(super) log: L,
    pub(super) tally: Arc<Tally>,
}

#[async_trait]
impl<L: Log> Log for TimedLog<L> {
    fn incarnation(&self) -> &Incarnation {
        self.log.incarnation()
    }

    async fn append(&self, records: Vec<Record>) -> Vec<Result<Appended, AppendError>> {
        self.log.append(records).await
    }

    async fn end(&self, partition: Partition) -> Result<Offset, LogError> {
        self.log.end(partition).await
    }

    fn known_end(&self, partition: Partition) -> Offset {
        self.log.known_end(partition)
    }

    async fn read(
        &self,
        partition: Partition,
        from: Offset,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<LogRecord>, LogError> {
        let records = self.log.read(partition, from, max_records, max_bytes).await?;
        let now = monotonic_ns();
        for record in &records {
            self.tally.at_router(&record.stored, now);
        }
        Ok(records)
    }

    async fn wait_for(&self, partition: Partition, offset: Offset) -> Result<(), LogError> {
        self.log.wait_for(partition, offset).await
    }
}
