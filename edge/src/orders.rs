//! What all sessions of a node are told: stay, go to another region, or leave. Owns how that is spread
//! over time; tells nobody itself.

use std::sync::Arc;
use std::time::Duration;

use meridian_core::protocol::Place;

/// What stands for all sessions of a node. It counts as changed as well when tokens were revoked: each
/// session then looks whether its own was.
#[derive(Debug, Clone, Default)]
pub(crate) struct StandingOrder {
    pub(crate) order: Order,
    /// Tells an order from the one before.
    pub(crate) serial: u64,
    /// Counts changes of the modes.
    pub(crate) mode_serial: u64,
    /// Over which time clients do what follows from the last one.
    pub(crate) mode_spread: Duration,
}

/// The order that stands.
#[derive(Debug, Clone, Default)]
pub(crate) enum Order {
    #[default]
    Stay,
    /// Go to another region; the node goes on serving.
    Divert(Arc<Diversion>),
    /// The node stops.
    Drain(Leave),
}

/// Where a node's clients are sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Diversion {
    pub(crate) place: Place,
    pub(crate) spread: Duration,
    /// What is left then is closed; `None`: it may stay.
    pub(crate) deadline: Option<Duration>,
}

/// How a stopping node's clients leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leave {
    pub(crate) spread: Duration,
    pub(crate) deadline: Duration,
}

impl StandingOrder {
    pub(crate) fn put(&mut self, order: Order) {
        self.order = order;
        self.serial += 1;
    }
}

/// A session's moment within `spread`, so that clients do not leave in one wave.
pub(crate) fn moment(session: u64, spread: Duration) -> Duration {
    let spread_ms = u64::try_from(spread.as_millis())
        .map_or(u64::from(u32::MAX), |ms| ms.min(u64::from(u32::MAX)));
    // Fibonacci hashing spreads neighbouring numbers evenly.
    let share = session.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    Duration::from_millis((spread_ms * share) >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_fill_the_spread_evenly() {
        let spread = Duration::from_secs(10);
        let mut moments: Vec<_> = (1..=100).map(|session| moment(session, spread)).collect();
        moments.sort_unstable();
        assert!(moments.iter().all(|at| *at < spread));
        let widest = moments.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(widest <= spread / 40, "{widest:?}");
        assert_eq!(moment(7, Duration::ZERO), Duration::ZERO);
        let day = Duration::from_secs(86_400);
        assert!((1..1000).map(|session| moment(session, day)).all(|at| at < day));
    }
}
