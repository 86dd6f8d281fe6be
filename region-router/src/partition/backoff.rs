//! How long to wait before a failed store is tried again: doubled each time, capped, jittered.

use std::time::Duration;

use rand::Rng;

use crate::Options;

/// A row of failures of one store.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    first: Duration,
    most: Duration,
}

impl Backoff {
    pub(crate) fn new(options: &Options) -> Self {
        Self::between(options.retry_first, options.retry_most)
    }

    pub(crate) fn between(first: Duration, most: Duration) -> Self {
        Self { next: first, first, most }
    }

    /// The next wait: between half and all of the current step.
    pub(crate) fn step(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.most);
        step.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// Waits it out.
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.step()).await;
    }

    /// The store answered.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}
