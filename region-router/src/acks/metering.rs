//! The merger's metrics.

use meridian_core::acks::AckCounts;
use meridian_core::vocabulary::LogName;
use metrics::{Counter, Gauge, counter, gauge};

pub(super) struct Metering {
    pub(super) merged: Counter,
    /// Of a newer version, of another log, or damaged.
    pub(super) unreadable: Counter,
    /// The log of positions or the history did not do as asked.
    pub(super) failures: Counter,
    mended: Counter,
    lag: Gauge,
}

impl Metering {
    pub(super) fn new(log: &LogName) -> Self {
        let labels = [("log", log.to_string())];
        Self {
            merged: counter!("meridian_router_acks_merged_total", &labels),
            unreadable: counter!("meridian_router_acks_unreadable_total", &labels),
            failures: counter!("meridian_router_acks_failures_total", &labels),
            mended: counter!("meridian_router_acks_mended_total", &labels),
            lag: gauge!("meridian_router_acks_lag_records", &labels),
        }
    }

    pub(super) fn report(&self, lag: u64, mends: AckCounts) {
        self.lag.set(lag as f64);
        self.mended.increment(mends.sent);
        self.failures.increment(mends.failures + mends.dropped);
    }
}
