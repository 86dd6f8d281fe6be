//! The token: when a new one is needed, and when there is no use in asking again. Time is an argument.

use std::time::{Duration, Instant};

/// So many refusals in a row end the client.
const MAX_REFUSALS: u32 = 3;
const MAX_MARGIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Tokens {
    current: Option<String>,
    has_source: bool,
    stale: bool,
    fetching: bool,
    renew_at: Option<Instant>,
    refusals: u32,
}

impl Tokens {
    pub(super) fn new(current: Option<String>, has_source: bool) -> Self {
        let stale = has_source && current.is_none();
        Self { current, has_source, stale, fetching: false, renew_at: None, refusals: 0 }
    }

    /// The token to connect with.
    pub(super) fn current(&self) -> Option<String> {
        self.current.clone()
    }

    /// Whether a new token should be asked for before connecting.
    pub(super) fn is_stale(&self) -> bool {
        self.stale
    }

    /// Whether to ask the source now; true only once until it answers.
    pub(super) fn begin_fetch(&mut self) -> bool {
        let begin = self.has_source && !self.fetching;
        self.fetching |= begin;
        begin
    }

    /// The source answered.
    pub(super) fn fetched(&mut self, token: Option<String>) {
        self.fetching = false;
        if token.is_some() {
            self.current = token;
            self.stale = false;
        }
    }

    /// The application brought a new token itself.
    pub(super) fn replace(&mut self, token: String) {
        self.current = Some(token);
        self.stale = false;
    }

    /// The server took the token; it is good for so long.
    pub(super) fn accepted(&mut self, expires_in_ms: Option<u64>, now: Instant) {
        self.refusals = 0;
        self.renew_at = expires_in_ms.filter(|_| self.has_source).map(|ms| {
            let life = Duration::from_millis(ms);
            now + life.saturating_sub((life / 10).min(MAX_MARGIN))
        });
    }

    /// The server did not take the token; whether there is another to try.
    pub(super) fn refused(&mut self) -> bool {
        self.stale = self.has_source;
        self.refusals += 1;
        self.has_source && self.refusals < MAX_REFUSALS
    }

    /// Try again later to renew.
    pub(super) fn renew_later(&mut self, at: Instant) {
        self.renew_at = Some(at);
    }

    /// Whether it is time to renew; true only once.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let due = self.renew_at.is_some_and(|at| at <= now);
        if due {
            self.renew_at = None;
        }
        due
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.renew_at
    }

    /// Nothing is renewed without a connection.
    pub(super) fn lost(&mut self) {
        self.renew_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_comes_before_expiry() {
        let now = Instant::now();
        let mut tokens = Tokens::new(Some("a".into()), true);
        tokens.accepted(Some(100_000), now);
        assert_eq!(tokens.next_wake(), Some(now + Duration::from_secs(90)));
        tokens.accepted(Some(3_600_000), now);
        assert_eq!(tokens.next_wake(), Some(now + Duration::from_secs(3540)));
        assert!(!tokens.is_due(now) && tokens.is_due(now + Duration::from_secs(3540)));
        assert_eq!(tokens.next_wake(), None);
    }

    #[test]
    fn a_fixed_token_that_is_refused_is_the_end() {
        assert!(!Tokens::new(Some("a".into()), false).refused());
        let mut tokens = Tokens::new(None, true);
        assert!(tokens.refused() && tokens.refused() && !tokens.refused());
    }
}
