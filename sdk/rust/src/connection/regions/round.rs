//! One round of probes: when enough has been heard, and which region is the nearest that is well.

use std::time::{Duration, Instant};

use super::health::Health;
use super::places::PlaceId;

/// How much longer others may take than the first that is well.
const GRACE: Duration = Duration::from_millis(100);
/// So much further away the preferred region may be and still be chosen.
pub(super) const TIE: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Round {
    waiting: Vec<PlaceId>,
    answers: Vec<(PlaceId, Health)>,
    until: Instant,
}

impl Round {
    pub(super) fn new(waiting: Vec<PlaceId>, until: Instant) -> Self {
        Self { waiting, answers: Vec::new(), until }
    }

    /// An answer, or that none comes.
    pub(super) fn heard(&mut self, place: PlaceId, health: Option<&Health>, now: Instant) {
        let Some(at) = self.waiting.iter().position(|waiting| *waiting == place) else { return };
        self.waiting.swap_remove(at);
        let Some(health) = health else { return };
        if health.is_well() {
            self.until = self.until.min(now + GRACE);
        }
        self.answers.push((place, health.clone()));
    }

    /// When it ends whatever comes.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.waiting.is_empty() || now >= self.until
    }

    pub(super) fn is_well(&self, place: PlaceId) -> bool {
        self.answers.iter().any(|(at, health)| *at == place && health.is_well())
    }

    /// The nearest that is well, else the nearest that is usable, else the nearest that is being rebuilt;
    /// `preferred` wins ties.
    pub(super) fn best(&self, preferred: PlaceId) -> Option<PlaceId> {
        let nearest = |wanted: fn(&Health) -> bool| {
            let rank = |(place, health): &(PlaceId, Health)| match *place == preferred {
                true => health.round_trip.saturating_sub(TIE),
                false => health.round_trip,
            };
            let fit = self.answers.iter().filter(|(_, health)| wanted(health));
            fit.min_by_key(|answer| rank(answer)).map(|(place, _)| *place)
        };
        let usable = || nearest(Health::is_usable);
        nearest(Health::is_well).or_else(usable).or_else(|| nearest(Health::is_late))
    }
}
