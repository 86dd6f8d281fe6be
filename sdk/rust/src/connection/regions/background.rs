//! What a connected client asks on the side: whether home is well again, and which regions there are.

use std::time::{Duration, Instant};

use super::homing::Due;
use super::places::PlaceId;
use super::round::TIE;
use super::{Aim, Health, Reason, Regions, Step};

/// A client that knows one region and may learn of others asks about so long after it connected.
const LEARN_AFTER: Duration = Duration::from_secs(20);

impl Regions {
    /// What is asked and planned while the client is connected.
    pub(super) fn background(&mut self, now: Instant) -> Vec<Step> {
        match self.homing.due(now, &mut self.jitter) {
            Due::Probe => return vec![self.probe(self.home)],
            Due::Move => {
                self.aim = Some(Aim::of(self.home, Some(Reason::Home)));
                return vec![Step::Move];
            }
            Due::Nothing => {}
        }
        match (self.learn_at, self.current) {
            (Some(at), Some(current)) if at <= now => {
                self.plan_learning(now);
                vec![self.probe(current)]
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn heard_of_home(&mut self, health: Option<&Health>, now: Instant) {
        let well = health.filter(|health| health.is_well()).map(|health| health.round_trip);
        let (Some(nearest), Some(here)) = (self.homing.heard(well), self.current) else { return };
        let further = nearest > self.places.at(here).round_trip.saturating_add(TIE);
        if further && !self.settled {
            // Home was down when the nearest was looked for, and is not it: this place is.
            self.home = here;
            self.homing.stop();
        } else {
            self.homing.plan_move(now, &mut self.jitter);
        }
        self.settled = true;
    }

    pub(super) fn watch_home(&mut self, now: Instant) {
        let held = self.places.at(self.home).held_until;
        self.homing.start(held.map_or(now, |until| until.max(now)), &mut self.jitter);
    }

    pub(super) fn plan_learning(&mut self, now: Instant) {
        self.learn_at = Some(now + self.jitter.around(LEARN_AFTER));
    }

    fn probe(&self, place: PlaceId) -> Step {
        Step::Probe(vec![self.places.at(place).address.clone()])
    }
}
