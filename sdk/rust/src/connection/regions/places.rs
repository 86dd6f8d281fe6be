//! The regions that a client knows: where they are, how they are called, which are left alone and how
//! long.

use std::time::{Duration, Instant};

use meridian_core::protocol::Place as Named;

use super::super::backoff::{Backoff, Jitter};
use super::health::{Health, MAX_REGIONS};
use crate::transport::Address;

/// How long a region that failed is left alone: doubling with each failure.
const HOLD: Backoff = Backoff { base: Duration::from_secs(30), cap: Duration::from_secs(600) };

/// One of the places, for as long as the client lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlaceId(usize);

#[derive(Debug)]
pub(super) struct Place {
    pub(super) address: Address,
    /// As the region calls itself; its address until it has answered.
    pub(super) name: String,
    pub(super) round_trip: Duration,
    pub(super) failures: u32,
    /// Left alone until then.
    pub(super) held_until: Option<Instant>,
    pub(super) failed_at: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Places {
    places: Vec<Place>,
    learns: bool,
}

impl Places {
    pub(super) fn new(learns: bool) -> Self {
        Self { places: Vec::new(), learns }
    }

    /// The one that the application named first.
    pub(super) const FIRST: PlaceId = PlaceId(0);

    pub(super) fn is_alone(&self) -> bool {
        self.places.len() == 1
    }

    pub(super) fn at(&self, id: PlaceId) -> &Place {
        &self.places[id.0]
    }

    pub(super) fn at_mut(&mut self, id: PlaceId) -> &mut Place {
        &mut self.places[id.0]
    }

    pub(super) fn find(&self, address: &Address) -> Option<PlaceId> {
        self.places.iter().position(|place| place.address == *address).map(PlaceId)
    }

    /// The nearest known one of those that a server names, by address or else by name.
    pub(super) fn nearest_of(&self, named: &[Named]) -> Option<PlaceId> {
        let known = named.iter().filter_map(|named| {
            let address = Address::parse(&named.url).ok();
            let by_address = address.and_then(|address| self.find(&address));
            let by_name = || {
                let region = named.region.as_deref()?;
                self.places.iter().position(|place| place.name == region).map(PlaceId)
            };
            by_address.or_else(by_name)
        });
        known.min_by_key(|id| self.at(*id).round_trip)
    }

    /// The place at an address, made if it is new; `None` where there are too many.
    pub(super) fn add(&mut self, address: Address) -> Option<PlaceId> {
        let known = self.find(&address);
        if known.is_some() || self.places.len() >= MAX_REGIONS {
            return known;
        }
        self.places.push(Place {
            name: address.base_url(),
            address,
            round_trip: Duration::MAX,
            failures: 0,
            held_until: None,
            failed_at: None,
        });
        Some(PlaceId(self.places.len() - 1))
    }

    /// Takes over what a region said of itself and, where the application allows it, of others.
    pub(super) fn heard(&mut self, id: PlaceId, health: &Health) {
        let place = self.at_mut(id);
        place.round_trip = health.round_trip;
        if !health.name.is_empty() {
            place.name.clone_from(&health.name);
        }
        if self.learns {
            health.regions.iter().for_each(|(name, url)| self.learn(name, url));
        }
    }

    fn learn(&mut self, name: &str, url: &str) {
        let Ok(address) = Address::parse(url) else { return };
        // The transports were chosen for one scheme, and a token must not go out in the clear.
        if address.secure != self.at(Self::FIRST).address.secure {
            return;
        }
        if let Some(id) = self.add(address) {
            let place = self.at_mut(id);
            if place.name == place.address.base_url() && !name.is_empty() {
                name.clone_into(&mut place.name);
            }
        }
    }

    /// Leaves a region alone for a while that grows with each time.
    pub(super) fn hold(&mut self, id: PlaceId, now: Instant, jitter: &mut Jitter) {
        let place = self.at_mut(id);
        place.held_until = Some(now + HOLD.delay(place.failures, jitter));
        place.failures = place.failures.saturating_add(1);
    }

    /// Whom to ask after `left` failed: those not left alone; if there are none, all others.
    pub(super) fn candidates(&self, left: Option<PlaceId>, now: Instant) -> Vec<PlaceId> {
        let others = || (0..self.places.len()).map(PlaceId).filter(|id| Some(*id) != left);
        let is_free = |id: &PlaceId| self.at(*id).held_until.is_none_or(|until| until <= now);
        let free: Vec<PlaceId> = others().filter(is_free).collect();
        if free.is_empty() { others().collect() } else { free }
    }

    /// The one whose last failure is longest ago: where to go when no probe gets through.
    pub(super) fn least_recently_failed(&self) -> PlaceId {
        let ids = (0..self.places.len()).map(PlaceId);
        ids.min_by_key(|id| self.at(*id).failed_at).unwrap_or(Self::FIRST)
    }
}
