//! The router's metrics, one set of handles a partition. Counts what the workers tell it.

use std::time::{SystemTime, UNIX_EPOCH};

use meridian_core::lag::Lag;
use meridian_core::vocabulary::Stream;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// A partition's metrics.
pub(crate) struct Metering {
    pub(crate) applied: Counter,
    /// Events that the backplane held already: applied by a predecessor, or before a lost answer.
    pub(crate) repeated: Counter,
    pub(crate) duplicates: Counter,
    pub(crate) unreadable_bodies: Counter,
    pub(crate) unreadable_envelopes: Counter,
    pub(crate) unknown_prevs: Counter,
    pub(crate) repairs: Counter,
    pub(crate) history_failures: Counter,
    pub(crate) backplane_failures: Counter,
    pub(crate) log_failures: Counter,
    pub(crate) read_batch: Histogram,
    pub(crate) commit_batch: Histogram,
    pub(crate) commit_seconds: Histogram,
    /// The backplane's latency: one `apply`, of however many events.
    pub(crate) apply_seconds: Histogram,
    pub(crate) unwritten_bytes: Gauge,
    paused: Gauge,
    window_short: Gauge,
}

/// How far a partition is behind, as this router sees it; 0 for one of another router's.
pub(crate) struct LagMetering {
    records: Gauge,
    seconds: Gauge,
}

impl Metering {
    pub(crate) fn new(stream: &Stream) -> Self {
        let labels = labels(stream);
        let unreadable = |part: &str| {
            let labels = [labels[0].clone(), labels[1].clone(), ("part", part.to_owned())];
            counter!("meridian_router_unreadable_total", &labels)
        };
        let failures = |store: &str| {
            let labels = [labels[0].clone(), labels[1].clone(), ("store", store.to_owned())];
            counter!("meridian_router_store_failures_total", &labels)
        };
        Self {
            applied: counter!("meridian_router_applied_events_total", &labels),
            repeated: counter!("meridian_router_repeated_events_total", &labels),
            duplicates: counter!("meridian_router_duplicates_total", &labels),
            unreadable_bodies: unreadable("body"),
            unreadable_envelopes: unreadable("envelope"),
            unknown_prevs: counter!("meridian_router_unknown_prev_total", &labels),
            repairs: counter!("meridian_router_repairs_total", &labels),
            history_failures: failures("history"),
            backplane_failures: failures("backplane"),
            log_failures: failures("log"),
            read_batch: histogram!("meridian_router_read_batch_records", &labels),
            commit_batch: histogram!("meridian_router_commit_batch_records", &labels),
            commit_seconds: histogram!("meridian_router_commit_seconds", &labels),
            apply_seconds: histogram!("meridian_router_apply_seconds", &labels),
            unwritten_bytes: gauge!("meridian_router_unwritten_bytes", &labels),
            paused: gauge!("meridian_router_paused", &labels),
            window_short: gauge!("meridian_router_window_short", &labels),
        }
    }

    /// 1 while the partition does not move.
    pub(crate) fn paused(&self, paused: bool) {
        self.paused.set(if paused { 1.0 } else { 0.0 });
    }

    /// 1 while the window's W records cover less than the stated horizon.
    pub(crate) fn window_short(&self, short: bool) {
        self.window_short.set(if short { 1.0 } else { 0.0 });
    }
}

impl LagMetering {
    pub(crate) fn new(stream: &Stream) -> Self {
        let labels = labels(stream);
        Self {
            records: gauge!("meridian_router_lag_records", &labels),
            seconds: gauge!("meridian_router_lag_seconds", &labels),
        }
    }

    /// Where a partition stands while it is taken over nobody can tell: nothing is said then.
    pub(crate) fn tell(&self, lag: Lag) {
        if let Some(ms) = lag.ms {
            self.records.set(lag.records as f64);
            self.seconds.set(ms as f64 / 1000.0);
        }
    }
}

fn labels(stream: &Stream) -> [(&'static str, String); 2] {
    [("log", stream.log.to_string()), ("partition", stream.partition.0.to_string())]
}

pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_millis() as u64)
}
