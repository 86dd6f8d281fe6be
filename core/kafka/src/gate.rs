//! Whether publishes are taken at all. A pure decision from acknowledgements and the time.

use std::time::{Duration, Instant};

/// Opens and closes with what the log acknowledges.
#[derive(Debug)]
pub(crate) struct Gate {
    silence: Duration,
    state: State,
    /// Since when something is in flight without any acknowledgement.
    waiting_since: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Nothing is taken until something is acknowledged or a probe succeeds.
    Closed,
    /// A probe succeeded: one publish is taken, to see whether it is acknowledged.
    Trial,
}

impl Gate {
    pub(crate) fn new(silence: Duration) -> Self {
        Self { silence, state: State::Open, waiting_since: None }
    }

    /// Whether a publish may enter. In a trial one call may.
    pub(crate) fn enter(&mut self) -> bool {
        match self.state {
            State::Open => true,
            State::Closed => false,
            State::Trial => {
                self.state = State::Closed;
                true
            }
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// A record was handed over.
    pub(crate) fn handed(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }

    /// A record was acknowledged; `more`: others are still in flight.
    pub(crate) fn acknowledged(&mut self, now: Instant, more: bool) {
        self.state = State::Open;
        self.waiting_since = more.then_some(now);
    }

    /// Nothing is in flight any more, without an acknowledgement.
    pub(crate) fn gave_up(&mut self) {
        self.waiting_since = None;
    }

    /// Closes after too long a silence; answers whether it just did.
    pub(crate) fn tick(&mut self, now: Instant) -> bool {
        let silent = self.waiting_since.is_some_and(|since| now - since >= self.silence);
        let closes = silent && self.state == State::Open;
        if closes {
            self.state = State::Closed;
        }
        closes
    }

    /// Whether the log should be asked. Also while something is in flight: that may be in a partition
    /// without a leader, and the others well.
    pub(crate) fn wants_probe(&self) -> bool {
        self.state == State::Closed
    }

    /// The log answered a probe.
    pub(crate) fn probed(&mut self) {
        if self.wants_probe() {
            self.state = State::Trial;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(2);

    #[test]
    fn silence_closes_and_an_acknowledgement_opens() {
        let (mut gate, start) = (Gate::new(SILENCE), Instant::now());
        assert!(!gate.tick(start + 9 * SILENCE), "nothing is in flight");
        gate.handed(start);
        gate.handed(start + SILENCE / 2);
        assert!(!gate.tick(start + SILENCE / 2) && gate.enter());
        gate.acknowledged(start + SILENCE / 2, true);
        assert!(!gate.tick(start + SILENCE));
        assert!(gate.tick(start + SILENCE * 3 / 2) && !gate.enter());
        assert!(!gate.tick(start + SILENCE * 2), "it says so once");
        gate.acknowledged(start + SILENCE * 2, false);
        assert!(gate.enter() && !gate.tick(start + SILENCE * 9));
    }

    #[test]
    fn a_probe_lets_one_publish_try() {
        let (mut gate, start) = (Gate::new(SILENCE), Instant::now());
        gate.handed(start);
        gate.tick(start + SILENCE);
        gate.gave_up();
        assert!(gate.wants_probe());
        gate.probed();
        assert!(gate.enter() && !gate.enter());
        gate.handed(start + 2 * SILENCE);
        // The one that tries is not acknowledged; another may try after the next probe.
        assert!(!gate.tick(start + 4 * SILENCE) && gate.wants_probe() && !gate.enter());
        gate.probed();
        assert!(!gate.tick(start + 4 * SILENCE) && gate.enter() && !gate.enter());
        gate.acknowledged(start + 4 * SILENCE, false);
        assert!(gate.enter() && gate.enter());
    }
}
