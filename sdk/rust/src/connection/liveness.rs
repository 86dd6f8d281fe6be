//! Whether the other side still lives. Time is an argument; sends nothing itself.

use std::time::{Duration, Instant};

const MAX_GRACE: Duration = Duration::from_secs(5);

/// When each side was last heard.
#[derive(Debug)]
pub(super) struct Liveness {
    heartbeat: Duration,
    heard: Instant,
    sent: Instant,
    asked: Option<Instant>,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    /// Send a ping: the server was silent for too long, or it has not heard this side for long.
    Ask,
    /// The server did not answer the question.
    Dead,
}

impl Liveness {
    pub(super) fn new(heartbeat: Duration, now: Instant) -> Self {
        Self { heartbeat, heard: now, sent: now, asked: None }
    }

    /// Something came.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.asked = None;
    }

    /// Something was sent.
    pub(super) fn sent(&mut self, now: Instant) {
        self.sent = now;
    }

    /// Decides. A clock that jumped (sleep, a stopped process) leads to a question, never to a verdict.
    pub(super) fn check(&mut self, now: Instant) -> Verdict {
        if self.heartbeat.is_zero() {
            return Verdict::Fine;
        }
        match self.asked {
            Some(asked) if now >= asked + self.grace() => Verdict::Dead,
            Some(_) => Verdict::Fine,
            None if now >= self.heard + self.heartbeat + self.grace() => {
                self.asked = Some(now);
                Verdict::Ask
            }
            None if now >= self.sent + self.heartbeat => Verdict::Ask,
            None => Verdict::Fine,
        }
    }

    /// When to check again.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        if self.heartbeat.is_zero() {
            return None;
        }
        Some(match self.asked {
            Some(asked) => asked + self.grace(),
            None => (self.heard + self.heartbeat + self.grace()).min(self.sent + self.heartbeat),
        })
    }

    fn grace(&self) -> Duration {
        (self.heartbeat / 2).min(MAX_GRACE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT: Duration = Duration::from_secs(20);

    #[test]
    fn silence_is_asked_about_before_it_is_death() {
        let start = Instant::now();
        let mut liveness = Liveness::new(BEAT, start);
        liveness.sent(start + BEAT);
        let late = start + BEAT + MAX_GRACE;
        assert_eq!(liveness.check(late - Duration::from_millis(1)), Verdict::Fine);
        assert_eq!(liveness.check(late), Verdict::Ask);
        assert_eq!(liveness.check(late + MAX_GRACE), Verdict::Dead);
    }

    #[test]
    fn after_a_sleep_it_asks_first() {
        let start = Instant::now();
        let mut liveness = Liveness::new(BEAT, start);
        let woken = start + Duration::from_secs(600);
        assert_eq!(liveness.check(woken), Verdict::Ask);
        liveness.sent(woken);
        liveness.heard(woken + Duration::from_secs(1));
        assert_eq!(liveness.check(woken + Duration::from_secs(10)), Verdict::Fine);
    }

    #[test]
    fn a_reader_that_only_reads_is_heard_by_the_server() {
        let start = Instant::now();
        let mut liveness = Liveness::new(BEAT, start);
        liveness.heard(start + BEAT);
        assert_eq!(liveness.check(start + BEAT), Verdict::Ask);
        liveness.sent(start + BEAT);
        assert_eq!(liveness.check(start + BEAT), Verdict::Fine);
    }
}
