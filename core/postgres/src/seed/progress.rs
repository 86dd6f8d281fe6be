//! How far a copy is: counts, and a line in the log now and then for who waits.

use std::time::{Duration, Instant};

/// Between two lines about one table.
const EVERY: Duration = Duration::from_secs(10);

/// What was copied so far.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    began: Instant,
    what: String,
    /// Of the table that is being copied.
    own_bytes: u64,
    own_began: Instant,
    told: Instant,
}

impl Progress {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let what = String::new();
        Self { rows: 0, bytes: 0, began: now, what, own_bytes: 0, own_began: now, told: now }
    }

    pub(super) fn begin(&mut self, what: &str) {
        what.clone_into(&mut self.what);
        self.own_bytes = 0;
        self.own_began = Instant::now();
        self.told = self.own_began;
    }

    /// So many bytes went over.
    pub(super) fn moved(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.own_bytes += bytes as u64;
        if self.told.elapsed() >= EVERY {
            self.told = Instant::now();
            let seconds = seconds(self.own_began.elapsed());
            tracing::info!(bytes = self.own_bytes, seconds, "copying {}", self.what);
        }
    }

    /// The table is there, with so many rows.
    pub(super) fn end(&mut self, rows: u64) {
        self.rows += rows;
        let seconds = seconds(self.own_began.elapsed());
        tracing::info!(rows, bytes = self.own_bytes, seconds, "copied {}", self.what);
    }

    pub(super) fn took(&self) -> Duration {
        self.began.elapsed()
    }
}

/// To the millisecond.
fn seconds(took: Duration) -> f64 {
    took.as_millis() as f64 / 1000.0
}
