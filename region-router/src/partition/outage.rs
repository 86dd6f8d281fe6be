//! How long the backplane has been away, and when it is asked again. Pure: time is an argument.

use std::time::Duration;

use tokio::time::Instant;

use super::Backoff;
use crate::Options;

/// A backplane's failures in a row.
#[derive(Debug)]
pub(super) struct Outage {
    since: Option<Instant>,
    ask_again: Option<Instant>,
    backoff: Backoff,
    patience: Duration,
}

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Wait so long, then ask again.
    Wait(Duration),
    /// It takes too long: go on without.
    GoOn,
}

impl Outage {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            since: None,
            ask_again: None,
            backoff: Backoff::new(options),
            patience: options.live_outage,
        }
    }

    /// It failed.
    pub(super) fn failed(&mut self, now: Instant) -> Answer {
        let since = *self.since.get_or_insert(now);
        let wait = self.backoff.step();
        if now.duration_since(since) < self.patience {
            return Answer::Wait(wait.min(self.patience));
        }
        self.ask_again = Some(now + wait);
        Answer::GoOn
    }

    /// It failed for longer than one is willing to wait.
    pub(super) fn give_up(&mut self, now: Instant) {
        self.since = Some(now.checked_sub(self.patience).unwrap_or(now));
        self.ask_again = Some(now);
    }

    /// Whether it need not be asked yet.
    pub(super) fn sits_out(&self, now: Instant) -> bool {
        self.ask_again.is_some_and(|at| now < at)
    }

    /// It answered. Says whether it had been away.
    pub(super) fn over(&mut self) -> bool {
        self.ask_again = None;
        self.backoff.reset();
        self.since.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_for_a_while_then_goes_on_without() {
        let options = Options::default();
        let mut outage = Outage::new(&options);
        let start = Instant::now();
        assert!(matches!(outage.failed(start), Answer::Wait(_)));
        assert!(!outage.sits_out(start));
        let late = start + options.live_outage;
        assert_eq!(outage.failed(late), Answer::GoOn);
        assert!(outage.sits_out(late));
        assert!(!outage.sits_out(late + options.retry_most));
        assert!(outage.over());
        assert!(!outage.over());
        assert!(!outage.sits_out(late));
    }
}
