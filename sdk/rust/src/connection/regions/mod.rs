//! Which region to dial, when to leave it, when to go back home. Pure: events go in with the time,
//! steps come out; sends no probe, holds no timer, dials nothing.

mod background;
mod event;
mod fault;
mod health;
mod homing;
mod places;
mod redirects;
mod region;
mod round;
mod sent;

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use meridian_core::protocol::Code;

use self::fault::speaks_against;
use self::homing::Homing;
use self::places::{PlaceId, Places};
use self::redirects::Redirects;
use self::round::Round;
use super::backoff::Jitter;
use crate::error::Lost;
use crate::transport::Address;

pub(crate) use self::event::{Event, Policy, Step};
pub(crate) use self::health::Health;
pub(crate) use self::redirects::{Redirect, Why};
pub use self::region::{Moves, Reason, Region};

/// How long a probe may take.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_millis(1500);
/// Failures in a row before a region is left: the first may be one node's, another answers there.
const STRIKES: u32 = 2;
/// A connection that lived this long clears what failed before it.
const STABLE: Duration = Duration::from_secs(10);
/// One that lived this long makes a region trusted as if it had never failed.
const TRUSTED: Duration = Duration::from_secs(120);

/// A client's decisions about regions.
#[derive(Debug)]
pub(crate) struct Regions {
    places: Places,
    discover: bool,
    homing: Homing,
    redirects: Redirects,
    jitter: Jitter,
    home: PlaceId,
    /// Whether home was found well, and compared with the others, at least once.
    settled: bool,
    current: Option<PlaceId>,
    dialing: Option<Aim>,
    arrived: Option<PlaceId>,
    /// Where the next dial goes, if not by the rules of failure.
    aim: Option<Aim>,
    round: Option<Round>,
    strikes: u32,
    live_since: Option<Instant>,
    learn_at: Option<Instant>,
    moves: Moves,
    /// What the application was told last.
    told: Option<Region>,
}

#[derive(Debug, Clone, Copy)]
struct Aim {
    place: PlaceId,
    /// Why, if not because of a failure.
    reason: Option<Reason>,
    /// Why a server sent this client there.
    why: Option<Why>,
}

impl Aim {
    fn of(place: PlaceId, reason: Option<Reason>) -> Self {
        Self { place, reason, why: None }
    }

    fn sent(place: PlaceId, why: Why) -> Self {
        Self { place, reason: Some(Reason::Redirect), why: Some(why) }
    }
}

impl Regions {
    /// `policy` has at least one address.
    pub(crate) fn new(policy: &Policy, seed: u64) -> Self {
        let mut places = Places::new(policy.discover);
        for address in &policy.addresses {
            places.add(address.clone());
        }
        Self {
            places,
            discover: policy.discover,
            homing: Homing::new(policy.home_probe, policy.home_spread),
            redirects: Redirects::default(),
            jitter: Jitter::new(seed),
            home: Places::FIRST,
            settled: false,
            current: None,
            dialing: None,
            arrived: None,
            aim: None,
            round: None,
            strikes: 0,
            live_since: None,
            learn_at: None,
            moves: Moves::default(),
            told: None,
        }
    }

    /// When `Timer` is due.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        let round = self.round.as_ref().map(Round::until);
        let background = self.homing.next_wake().into_iter().chain(self.learn_at);
        let sent = self.redirects.next_wake().filter(|_| self.live_since.is_some());
        round.into_iter().chain(background).chain(sent).min()
    }

    pub(crate) fn handle(&mut self, event: &Event<'_>, now: Instant) -> Vec<Step> {
        match event {
            Event::Pick => self.pick(now),
            Event::Timer => {
                let mut steps = self.conclude(now);
                steps.extend(self.go_where_sent(now));
                steps.extend(self.background(now));
                steps
            }
            Event::Dialed(name) => self.dialed(name, now),
            Event::DialFailed(lost) => self.dial_failed(lost, now),
            Event::Lost(lost) => self.lost(lost, now),
            Event::Left => self.down(),
            Event::Probed(address, health) => self.probed(address, *health, now),
            Event::Redirect(redirect) => self.redirect(redirect, self.discover, now),
        }
    }

    fn pick(&mut self, now: Instant) -> Vec<Step> {
        let sent = || self.redirects.now().map(|(place, why)| Aim::sent(place, why));
        if let Some(aim) = self.aim.take().or_else(sent) {
            return self.dial(aim);
        }
        match self.current {
            _ if self.places.is_alone() => self.dial_current(self.home),
            Some(current) if self.strikes < STRIKES => self.dial_current(current),
            left => {
                let candidates = self.places.candidates(left, now);
                let addresses =
                    candidates.iter().map(|id| self.places.at(*id).address.clone()).collect();
                self.round = Some(Round::new(candidates, now + PROBE_TIMEOUT));
                vec![Step::Probe(addresses)]
            }
        }
    }

    fn dial_current(&mut self, place: PlaceId) -> Vec<Step> {
        self.current = Some(place);
        self.dial(Aim::of(place, None))
    }

    fn dial(&mut self, aim: Aim) -> Vec<Step> {
        self.dialing = Some(aim);
        vec![Step::Dial(self.places.at(aim.place).address.clone())]
    }

    fn probed(&mut self, address: &Address, health: Option<&Health>, now: Instant) -> Vec<Step> {
        let Some(place) = self.places.find(address) else { return Vec::new() };
        if let Some(health) = health {
            self.places.heard(place, health);
            self.learn_at = None;
        }
        if let Some(round) = &mut self.round {
            round.heard(place, health, now);
        }
        if place == self.home {
            self.heard_of_home(health, now);
        }
        let mut steps = self.conclude(now);
        steps.extend(self.redirect_asked(now));
        steps
    }

    fn conclude(&mut self, now: Instant) -> Vec<Step> {
        let Some(round) = self.round.take_if(|round| round.is_over(now)) else { return Vec::new() };
        let Some(best) = round.best(self.home) else {
            // Nobody answers: no word against the region left, and probes may be blocked where dials
            // are not.
            self.strikes = STRIKES - 1;
            return self.dial_current(self.places.least_recently_failed());
        };
        if let Some(left) = self.current.filter(|left| *left != best) {
            self.places.hold(left, now, &mut self.jitter);
        }
        if !self.settled && round.is_well(self.home) {
            self.home = best;
            self.settled = true;
        }
        self.strikes = 0;
        self.dial_current(best)
    }

    fn dialed(&mut self, name: &str, now: Instant) -> Vec<Step> {
        let dialing = self.dialing.take();
        let Aim { place, reason, why } = dialing.unwrap_or(Aim::of(self.home, None));
        if !name.is_empty() {
            name.clone_into(&mut self.places.at_mut(place).name);
        }
        let before = self.arrived.replace(place);
        self.current = Some(place);
        self.live_since = Some(now);
        if let Some(why) = why {
            self.came_where_sent(place, before, why, now);
        }
        if place != self.home {
            self.watch_home(now);
        }
        if self.discover && self.places.is_alone() {
            self.plan_learning(now);
        }
        let mut steps = Vec::new();
        if before != Some(place) {
            let changed = if before.is_some() { Reason::Failure } else { Reason::Start };
            steps.push(Step::Arrived(self.arrive(place, reason.unwrap_or(changed))));
        }
        // What was aimed at while another dial was under way comes now.
        steps.extend(self.aim.map(|_| Step::Move));
        steps
    }

    fn arrive(&mut self, place: PlaceId, reason: Reason) -> Region {
        match reason {
            Reason::Start => {}
            Reason::Failure => self.moves.failure += 1,
            Reason::Home => self.moves.home += 1,
            Reason::Redirect => self.moves.redirect += 1,
        }
        let place = self.places.at(place);
        let (name, url) = (place.name.clone(), place.address.base_url());
        let redirects_ignored = self.redirects.ignored();
        let region = Region { name, url, reason, moves: self.moves, redirects_ignored };
        self.told = Some(region.clone());
        region
    }

    fn dial_failed(&mut self, lost: &Lost, now: Instant) -> Vec<Step> {
        let Some(Aim { place, reason, .. }) = self.dialing.take() else { return Vec::new() };
        if speaks_against(lost) {
            if reason.is_none() {
                self.strike(place, now);
            } else {
                self.places.hold(place, now, &mut self.jitter);
                if self.homing.is_away() {
                    self.watch_home(now);
                }
            }
        }
        Vec::new()
    }

    fn lost(&mut self, lost: &Lost, now: Instant) -> Vec<Step> {
        if let (Some(since), Some(place)) = (self.live_since, self.current) {
            if now >= since + STABLE {
                self.strikes = 0;
            }
            if now >= since + TRUSTED {
                self.places.at_mut(place).failures = 0;
            }
            // A node that stops says nothing against its region.
            if speaks_against(lost) && lost.code() != Some(Code::Draining) {
                self.strike(place, now);
            }
        }
        self.down()
    }

    /// There is no connection; a dial that is under way goes on.
    fn down(&mut self) -> Vec<Step> {
        self.live_since = None;
        self.learn_at = None;
        self.homing.stop();
        Vec::new()
    }

    fn strike(&mut self, place: PlaceId, now: Instant) {
        self.strikes += 1;
        if self.strikes >= STRIKES {
            self.places.at_mut(place).failed_at = Some(now);
        }
    }
}
