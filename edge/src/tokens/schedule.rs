//! When an issuer's keys are fetched, and how long those in hand are good. Pure: time is an argument.

use std::time::{Duration, Instant};

use meridian_core::auth::KeySource;

/// What an answer says of itself counts within these bounds, so that no issuer makes us ask all the
/// time, and no key that was withdrawn stays for long.
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3600);
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The schedule of one issuer's keys.
#[derive(Debug)]
pub(super) struct Schedule {
    refresh: Duration,
    unknown_every: Duration,
    keep: Duration,
    next: Instant,
    /// The last fetch that an unknown key caused.
    unknown_at: Option<Instant>,
    /// When the keys in hand are too old; `None`: there are none.
    good_until: Option<Instant>,
    failures: u32,
}

impl Schedule {
    /// Begins with a fetch at once. `has_keys`: there are keys from before.
    pub(super) fn new(source: &KeySource, has_keys: bool, now: Instant) -> Self {
        Self {
            refresh: source.refresh,
            unknown_every: source.unknown_every,
            keep: source.keep,
            next: now,
            unknown_at: None,
            good_until: has_keys.then(|| now + source.keep),
            failures: 0,
        }
    }

    /// When to fetch next without being asked.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Whether a token with an unknown key may cause a fetch now; it then counts as done.
    pub(super) fn may_ask(&mut self, now: Instant) -> bool {
        let may = self.unknown_at.is_none_or(|at| now >= at + self.unknown_every);
        if may {
            self.unknown_at = Some(now);
        }
        may
    }

    /// Keys came; `good_for` is what their answer said.
    pub(super) fn fetched(&mut self, now: Instant, good_for: Option<Duration>) {
        let bounds = (SHORTEST.min(self.refresh), LONGEST.max(self.refresh));
        let wait = good_for.map_or(self.refresh, |time| time.clamp(bounds.0, bounds.1));
        self.next = now + wait;
        self.good_until = Some(now + self.keep);
        self.failures = 0;
    }

    /// No keys came. `false`: those in hand are too old, or there are none.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        let wait = FIRST_RETRY * 2u32.saturating_pow(self.failures.min(16));
        self.failures += 1;
        self.next = now + wait.min(self.refresh.max(FIRST_RETRY));
        let good = self.good_until.filter(|until| now < *until);
        // Their end may come before the next try.
        if let Some(until) = good {
            self.next = self.next.min(until);
        }
        good.is_some()
    }
}

/// `max-age` of a `Cache-Control` (RFC 9111 §5.2.2); zero for what must not be kept.
pub(super) fn max_age(cache_control: &str) -> Option<Duration> {
    let mut directives = cache_control.split(',').map(str::trim);
    let stored = |directive: &str| {
        directive.eq_ignore_ascii_case("no-store") || directive.eq_ignore_ascii_case("no-cache")
    };
    if directives.clone().any(stored) {
        return Some(Duration::ZERO);
    }
    directives.find_map(|directive| {
        let (name, value) = directive.split_once('=')?;
        let seconds = value.trim().trim_matches('"').parse().ok()?;
        name.trim().eq_ignore_ascii_case("max-age").then(|| Duration::from_secs(seconds))
    })
}

#[cfg(test)]
mod tests {
    use meridian_core::auth::KeyPlace;

    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn schedule(now: Instant) -> Schedule {
        let place = KeyPlace::File("keys.json".into());
        let source = KeySource { place, refresh: 300 * S, unknown_every: 10 * S, keep: 1000 * S };
        Schedule::new(&source, false, now)
    }

    #[test]
    fn what_an_answer_says_counts_within_bounds() {
        let now = Instant::now();
        let mut schedule = schedule(now);
        assert_eq!(schedule.next(), now);
        for (said, wait) in [(None, 300), (Some(0), 60), (Some(900), 900), (Some(86_400), 3600)] {
            schedule.fetched(now, said.map(|s| s * S));
            assert_eq!(schedule.next(), now + wait * S, "{said:?}");
        }
    }

    #[test]
    fn unknown_keys_cause_few_fetches() {
        let now = Instant::now();
        let mut schedule = schedule(now);
        assert!(schedule.may_ask(now));
        assert!(!schedule.may_ask(now) && !schedule.may_ask(now + 9 * S));
        assert!(schedule.may_ask(now + 10 * S) && !schedule.may_ask(now + 11 * S));
    }

    #[test]
    fn an_outage_is_survived_for_a_time() {
        let now = Instant::now();
        let mut schedule = schedule(now);
        assert!(!schedule.failed(now), "there are none yet");
        schedule.fetched(now, None);
        let (mut at, mut tries) = (schedule.next(), 0);
        while schedule.failed(at) {
            assert!(schedule.next() > at && schedule.next() <= at + 300 * S);
            (at, tries) = (schedule.next(), tries + 1);
        }
        assert_eq!(at, now + 1000 * S);
        assert!((5..20).contains(&tries), "{tries}");
        schedule.fetched(at, None);
        assert!(schedule.failed(at + 300 * S), "the next outage begins anew");
    }

    #[test]
    fn cache_control_is_read() {
        assert_eq!(max_age("public, max-age=600"), Some(600 * S));
        assert_eq!(max_age("Max-Age=\"5\""), Some(5 * S));
        assert_eq!(max_age("max-age=600, no-cache"), Some(Duration::ZERO));
        for none in ["", "public", "max-age", "max-age=x", "s-maxage=5", "max-age=-1"] {
            assert_eq!(max_age(none), None, "{none}");
        }
    }
}
