//! Who may poll when. Pure: time is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Pollers that are remembered at once.
const POLLERS_MOST: usize = 1 << 18;
/// A poll may be early by this part of its interval: networks and timers are not exact. Over time the
/// interval holds.
const TOLERANCE: u32 = 10;

/// When each poller may come again.
#[derive(Default)]
pub(super) struct Pace {
    due: HashMap<u64, Instant>,
}

impl Pace {
    /// Lets a poller in, or says after how long it may come.
    pub(super) fn take(
        &mut self,
        who: u64,
        interval: Duration,
        now: Instant,
    ) -> Result<(), Duration> {
        let due = self.due.get(&who).copied().unwrap_or(now);
        if due > now + interval / TOLERANCE {
            return Err(due - now);
        }
        if self.due.len() >= POLLERS_MOST && !self.due.contains_key(&who) {
            self.due.retain(|_, due| *due > now);
            if self.due.len() >= POLLERS_MOST {
                return Err(interval);
            }
        }
        self.due.insert(who, due.max(now) + interval);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_interval_holds_over_time_and_a_little_jitter_does_not_matter() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert!(pace.take(1, SECOND, start).is_ok());
        assert_eq!(pace.take(1, SECOND, start), Err(SECOND));
        assert!(pace.take(2, SECOND, start).is_ok(), "another one's pace is another one's");
        let early = start + SECOND - Duration::from_millis(90);
        assert!(pace.take(1, SECOND, early).is_ok());
        // Always early: at some time it has to wait.
        let next = early + SECOND - Duration::from_millis(90);
        assert_eq!(pace.take(1, SECOND, next), Err(Duration::from_millis(180)));
        assert!(pace.take(1, SECOND, next + Duration::from_millis(80)).is_ok());
    }

    #[test]
    fn pollers_are_bounded_and_who_is_gone_makes_room() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        for who in 0..POLLERS_MOST as u64 {
            assert!(pace.take(who, SECOND, start).is_ok());
        }
        assert_eq!(pace.take(u64::MAX, SECOND, start), Err(SECOND));
        assert!(pace.take(u64::MAX, SECOND, start + SECOND).is_ok());
        assert_eq!(pace.due.len(), 1);
    }
}
