//! The way back home: when home is probed while the client is elsewhere, and when it moves back. Every
//! time is this client's own by chance, so that clients come back spread out.

use std::time::{Duration, Instant};

use super::super::backoff::Jitter;

/// Healthy answers in a row before home is trusted.
const TRUSTED_AFTER: u32 = 2;
/// A step that is later than this was slept through: what was known before is old.
const LATE: Duration = Duration::from_secs(90);
/// After waking home is asked within this time.
const WAKE_SPREAD: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Homing {
    /// Home is probed this often, ±50 %.
    interval: Duration,
    /// The move comes at a random moment within this time after home was found well.
    spread: Duration,
    /// `None` at home and without a connection.
    watch: Option<Watch>,
}

#[derive(Debug, Clone, Copy)]
struct Watch {
    not_before: Instant,
    probe_at: Instant,
    move_at: Option<Instant>,
    well: u32,
    /// The shortest round trip since home has been well.
    nearest: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Probe,
    Move,
}

impl Homing {
    pub(super) fn new(interval: Duration, spread: Duration) -> Self {
        Self { interval, spread, watch: None }
    }

    pub(super) fn is_away(&self) -> bool {
        self.watch.is_some()
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.watch.map(|watch| watch.next())
    }

    /// The client is away from home, which is left alone until `not_before`.
    pub(super) fn start(&mut self, not_before: Instant, jitter: &mut Jitter) {
        self.watch = Some(Watch {
            not_before,
            probe_at: not_before + jitter.around(self.interval),
            move_at: None,
            well: 0,
            nearest: Duration::MAX,
        });
    }

    pub(super) fn stop(&mut self) {
        self.watch = None;
    }

    pub(super) fn due(&mut self, now: Instant, jitter: &mut Jitter) -> Due {
        let Some(watch) = &mut self.watch else { return Due::Nothing };
        let next = watch.next();
        if now < next {
            return Due::Nothing;
        }
        if now > next + LATE {
            watch.forget();
            watch.probe_at = now.max(watch.not_before) + jitter.within(WAKE_SPREAD);
            return Due::Nothing;
        }
        if watch.move_at.is_some_and(|at| at <= now) {
            watch.forget();
            return Due::Move;
        }
        watch.probe_at = now + jitter.around(self.interval);
        Due::Probe
    }

    /// What a probe of home found: its round trip, `None` if home is not well. Once home is to be
    /// trusted and no move is planned yet: the shortest round trip.
    pub(super) fn heard(&mut self, round_trip: Option<Duration>) -> Option<Duration> {
        let watch = self.watch.as_mut()?;
        let Some(round_trip) = round_trip else {
            watch.forget();
            return None;
        };
        watch.well += 1;
        watch.nearest = watch.nearest.min(round_trip);
        (watch.well >= TRUSTED_AFTER && watch.move_at.is_none()).then_some(watch.nearest)
    }

    pub(super) fn plan_move(&mut self, now: Instant, jitter: &mut Jitter) {
        if let Some(watch) = &mut self.watch {
            watch.move_at = Some(now + jitter.within(self.spread));
        }
    }
}

impl Watch {
    fn forget(&mut self) {
        self.move_at = None;
        self.well = 0;
        self.nearest = Duration::MAX;
    }

    fn next(&self) -> Instant {
        self.move_at.map_or(self.probe_at, |at| at.min(self.probe_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_planned_before_a_sleep_is_not_done_after_it() {
        let mut jitter = Jitter::new(1);
        let mut homing = Homing::new(Duration::from_secs(30), Duration::from_secs(30));
        homing.start(Instant::now(), &mut jitter);
        for trusted in [false, true] {
            let now = homing.next_wake().unwrap();
            assert_eq!(homing.due(now, &mut jitter), Due::Probe);
            let nearest = homing.heard(Some(Duration::from_millis(40)));
            assert_eq!(nearest.is_some(), trusted);
        }
        let now = homing.next_wake().unwrap();
        homing.plan_move(now, &mut jitter);
        let woken = now + Duration::from_secs(3600);
        assert_eq!(homing.due(woken, &mut jitter), Due::Nothing);
        let next = homing.next_wake().unwrap();
        assert!(next >= woken && next < woken + WAKE_SPREAD);
        assert_eq!(homing.due(next, &mut jitter), Due::Probe, "one question, no move");
    }
}
