//! The bridge's metrics, one set of handles a source partition. Counts what the workers tell it.

use meridian_core::vocabulary::SourceName;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::PartitionState;

/// A source partition's metrics.
pub(super) struct Metering {
    pub(super) events: Counter,
    pub(super) skipped: Counter,
    pub(super) dead_letters: Counter,
    pub(super) log_failures: Counter,
    pub(super) source_failures: Counter,
    pub(super) append_seconds: Histogram,
    pub(super) lag_records: Gauge,
    paused: Gauge,
    halted: Gauge,
}

impl Metering {
    pub(super) fn new(route: &SourceName, partition: u32) -> Self {
        let labels = [("route", route.to_string()), ("partition", partition.to_string())];
        let failures = |of: &str| {
            let labels = [labels[0].clone(), labels[1].clone(), ("of", of.to_owned())];
            counter!("meridian_bridge_failures_total", &labels)
        };
        Self {
            events: counter!("meridian_bridge_events_total", &labels),
            skipped: counter!("meridian_bridge_skipped_total", &labels),
            dead_letters: counter!("meridian_bridge_dead_letters_total", &labels),
            log_failures: failures("log"),
            source_failures: failures("source"),
            append_seconds: histogram!("meridian_bridge_append_seconds", &labels),
            lag_records: gauge!("meridian_bridge_lag_records", &labels),
            paused: gauge!("meridian_bridge_paused", &labels),
            halted: gauge!("meridian_bridge_halted", &labels),
        }
    }

    pub(super) fn state(&self, state: &PartitionState) {
        let set = |gauge: &Gauge, on: bool| gauge.set(if on { 1.0 } else { 0.0 });
        set(&self.paused, matches!(state, PartitionState::Paused));
        set(&self.halted, matches!(state, PartitionState::Halted { .. }));
    }

    /// Read elsewhere from now on: another process tells how it is.
    pub(super) fn ended(&self) {
        self.state(&PartitionState::Starting);
        self.lag_records.set(0.0);
    }
}
