//! Reads a partition's records in order, as soon as they are there. Never skips one.

use meridian_core::seams::{LogError, LogRecord};
use meridian_core::vocabulary::Offset;

use super::context::Context;
use super::{Backoff, Outcome};
use crate::Pause;

/// Large records are still read a few at a time: a round trip each would be worse.
const FEWEST_RECORDS: usize = 8;

/// Where to read next, and how many records at once.
pub(super) struct Reader {
    next: Offset,
    records: usize,
    backoff: Backoff,
    failing: bool,
}

impl Reader {
    pub(super) fn new(context: &Context, next: Offset) -> Self {
        let options = &context.options;
        Self { next, records: options.read_records, backoff: Backoff::new(options), failing: false }
    }

    /// The next records, at least one. Waits for them; dropping the future loses nothing.
    pub(super) async fn next_batch(
        &mut self,
        context: &Context,
    ) -> Result<Vec<LogRecord>, Outcome> {
        loop {
            match self.try_batch(context).await {
                Ok(batch) => return Ok(self.passed(batch, context)),
                Err(error) => {
                    if let Some(outcome) = context.log_outcome(&error, self.next) {
                        return Err(outcome);
                    }
                    context.metering.log_failures.increment(1);
                    context.pause(Pause::LogUnavailable);
                    self.failing = true;
                    self.backoff.wait().await;
                }
            }
        }
    }

    async fn try_batch(&self, context: &Context) -> Result<Vec<LogRecord>, LogError> {
        let partition = context.partition();
        loop {
            // Known before the read: if it lies above and nothing is read, there is only a hole.
            let known = context.log.known_end(partition);
            let batch = context.log.read(partition, self.next, self.records).await?;
            if !batch.is_empty() {
                return Ok(batch);
            }
            context.log.wait_for(partition, known.max(self.next)).await?;
        }
    }

    fn passed(&mut self, batch: Vec<LogRecord>, context: &Context) -> Vec<LogRecord> {
        self.backoff.reset();
        if std::mem::take(&mut self.failing) {
            context.resume();
        }
        if let Some(last) = batch.last() {
            self.next = Offset(last.offset.0 + 1);
        }
        let options = &context.options;
        let bytes: usize = batch.iter().map(|record| record.stored.len()).sum();
        let each = (bytes / batch.len().max(1)).max(1);
        let most = options.read_records;
        self.records = (options.read_bytes / each).clamp(FEWEST_RECORDS.min(most), most);
        batch
    }
}
