//! Delays before another attempt: doubling, capped, jittered. Pure but for its seeded random numbers.

use std::time::Duration;

use rand::Rng as _;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;

/// The random part of delays, seeded so that a test can repeat them.
#[derive(Debug)]
pub(crate) struct Jitter(SmallRng);

/// The bounds of a doubling delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backoff {
    pub(crate) base: Duration,
    pub(crate) cap: Duration,
}

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed))
    }

    /// Anything from half of `delay` to all of it.
    pub(crate) fn spread(&mut self, delay: Duration) -> Duration {
        delay.mul_f64(self.0.random_range(0.5..1.0))
    }

    /// Anything from half of `delay` to one and a half.
    pub(crate) fn around(&mut self, delay: Duration) -> Duration {
        delay.mul_f64(self.0.random_range(0.5..1.5))
    }

    /// Anything from nothing to `delay`.
    pub(crate) fn within(&mut self, delay: Duration) -> Duration {
        delay.mul_f64(self.0.random_range(0.0..1.0))
    }
}

impl Backoff {
    /// The delay before attempt `attempt`, counted from 0.
    pub(crate) fn delay(self, attempt: u32, jitter: &mut Jitter) -> Duration {
        let doubled = self.base.saturating_mul(1u32.checked_shl(attempt).unwrap_or(u32::MAX));
        jitter.spread(doubled.min(self.cap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap_and_are_spread() {
        let backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(2) };
        let mut jitter = Jitter::new(1);
        for (attempt, whole_ms) in
            [(0, 100), (1, 200), (4, 1600), (5, 2000), (31, 2000), (99, 2000)]
        {
            let whole = Duration::from_millis(whole_ms);
            let delay = backoff.delay(attempt, &mut jitter);
            assert!(delay >= whole / 2 && delay <= whole, "{attempt}: {delay:?}");
        }
    }
}
