//! What arrived at the far side and when: at its router, at its clients, at the bare consumer. An event
//! is known by the time at which it was made, which it carries.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::payload::Scanner;
use crate::stats::{Buckets, Latencies};

#[derive(Default)]
pub(super) struct Tally(Mutex<Counts>);

struct Counts {
    /// When the router had each event that no client has yet, by the time at which it was made.
    at_router: HashMap<u64, u64>,
    from_router: Latencies,
    end_to_end: Latencies,
    bare: Latencies,
    unpaired: u64,
}

/// A tally on its way between processes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Arrived {
    /// Events that came to a client, and how many records came to the bare consumer.
    pub(super) delivered: u64,
    pub(super) consumed: u64,
    /// Deliveries of an event that the router had not had, or that came before.
    pub(super) unpaired: u64,
    pub(super) from_router: Buckets,
    pub(super) end_to_end: Buckets,
    pub(super) bare: Buckets,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            at_router: HashMap::new(),
            from_router: Latencies::new(),
            end_to_end: Latencies::new(),
            bare: Latencies::new(),
            unpaired: 0,
        }
    }
}

impl Tally {
    /// A record came to the router.
    pub(super) fn at_router(&self, bytes: &[u8], now_ns: u64) {
        let mut counts = self.counts();
        Scanner::default().feed(bytes, |made| {
            // A record that is read once more was there before.
            counts.at_router.entry(made).or_insert(now_ns);
        });
    }

    /// An event came to a client.
    pub(super) fn at_client(&self, bytes: &[u8], now_ns: u64) {
        let mut counts = self.counts();
        Scanner::default().feed(bytes, |made| {
            let Some(had) = counts.at_router.remove(&made) else {
                counts.unpaired += 1;
                return;
            };
            counts.from_router.record(now_ns.saturating_sub(had));
            counts.end_to_end.record(now_ns.saturating_sub(made));
        });
    }

    /// A record came to the bare consumer.
    pub(super) fn at_consumer(&self, bytes: &[u8], now_ns: u64) {
        let mut counts = self.counts();
        let bare = &mut counts.bare;
        Scanner::default().feed(bytes, |made| bare.record(now_ns.saturating_sub(made)));
    }

    pub(super) fn reset(&self) {
        *self.counts() = Counts::default();
    }

    pub(super) fn arrived(&self) -> Arrived {
        let counts = self.counts();
        Arrived {
            delivered: counts.end_to_end.count(),
            consumed: counts.bare.count(),
            unpaired: counts.unpaired,
            from_router: counts.from_router.buckets(),
            end_to_end: counts.end_to_end.buckets(),
            bare: counts.bare.buckets(),
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload;
    use crate::stats::Percentiles;

    fn p50_us(buckets: &Buckets) -> f64 {
        let mut latencies = Latencies::new();
        latencies.add(buckets);
        let Percentiles { p50_us, .. } = latencies.percentiles();
        p50_us
    }

    #[test]
    fn a_delivery_is_measured_from_the_routers_receipt_and_from_the_making() {
        let tally = Tally::default();
        let event = payload::make(200, 1_000_000);
        tally.at_router(&event, 5_000_000);
        tally.at_router(&event, 6_000_000);
        tally.at_client(&event, 8_000_000);
        let arrived = tally.arrived();
        assert_eq!((arrived.delivered, arrived.unpaired, arrived.consumed), (1, 0, 0));
        assert!((p50_us(&arrived.from_router) - 3_000.0).abs() < 10.0);
        assert!((p50_us(&arrived.end_to_end) - 7_000.0).abs() < 10.0);
        tally.at_client(&event, 9_000_000);
        assert_eq!(tally.arrived().unpaired, 1, "twice");
        tally.at_consumer(&event, 2_000_000);
        assert!((p50_us(&tally.arrived().bare) - 1_000.0).abs() < 10.0);
        tally.reset();
        assert_eq!(tally.arrived(), Arrived::default());
    }
}
