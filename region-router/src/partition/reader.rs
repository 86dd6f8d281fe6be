//! Reads a partition's records in order, as soon as they are there. Never skips one.

use meridian_core::seams::{LogError, LogRecord};
use meridian_core::vocabulary::Offset;

use super::context::Context;
use super::{Backoff, Outcome};
use crate::Pause;

/// Where to read next.
pub(super) struct Reader {
    next: Offset,
    backoff: Backoff,
    failing: bool,
}

impl Reader {
    pub(super) fn new(context: &Context, next: Offset) -> Self {
        Self { next, backoff: Backoff::new(&context.options), failing: false }
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
        let (partition, options) = (context.partition(), &context.options);
        loop {
            // Known before the read: if it lies above and nothing is read, there is only a hole.
            let known = context.log.known_end(partition);
            let (records, bytes) = (options.read_records, options.read_bytes);
            let batch = context.log.read(partition, self.next, records, bytes).await?;
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
        batch
    }
}
