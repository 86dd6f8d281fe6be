//! A token bucket. Pure: time is an argument.

use std::time::{Duration, Instant};

/// Allows `rate` a second, and `burst` at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    rate: f64,
    burst: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    pub(crate) fn new(rate: u32, burst: u32, now: Instant) -> Self {
        Self { rate: f64::from(rate), burst: f64::from(burst), level: f64::from(burst), at: now }
    }

    /// Takes one, or says after how long there will be one.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        self.take_some(1, now)
    }

    /// Takes so many at once, or says after how long they will be there. More than the burst are never
    /// there: they take all of it.
    pub(crate) fn take_some(&mut self, count: u32, now: Instant) -> Result<(), Duration> {
        self.fill(now);
        let wanted = f64::from(count).min(self.burst);
        if self.level >= wanted {
            self.level -= wanted;
            return Ok(());
        }
        Err(Duration::from_secs_f64((wanted - self.level) / self.rate))
    }

    /// Whether it is as if nothing was ever taken.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        let mut later = *self;
        later.fill(now);
        later.level >= later.burst
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + passed * self.rate).min(self.burst);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_then_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 3, start);
        assert!((0..3).all(|_| bucket.take(start).is_ok()));
        assert_eq!(bucket.take(start), Err(Duration::from_millis(100)));
        assert!(bucket.take(start + Duration::from_millis(100)).is_ok());
        let later = start + Duration::from_secs(60);
        assert_eq!((0..9).filter(|_| bucket.take(later).is_ok()).count(), 3);
    }
}
