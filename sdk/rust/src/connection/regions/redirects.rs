//! Which redirects of a server are followed, and when: only to regions that are known, two a minute.
//! Dials nothing.

use std::time::{Duration, Instant};

use meridian_core::protocol::Place as Named;

use super::places::{PlaceId, Places};

/// Redirects followed in any minute, at most.
const MOST: usize = 2;
const WINDOW: Duration = Duration::from_secs(60);

/// Why a server sends a client elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    Zone,
    Overload,
    Drain,
    /// A reason of a newer server.
    Other,
}

/// Where a server sends this client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Redirect {
    pub(crate) places: Vec<Named>,
    pub(crate) why: Why,
    pub(crate) after: Duration,
}

/// What is to be done about a redirect.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Follow,
    /// It leads nowhere new.
    Here,
    /// The region in use may know it as a region.
    Ask,
    Ignore,
}

/// Where the client is and goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whereabouts {
    /// Where it is connected.
    pub(super) here: Option<PlaceId>,
    /// Where a redirect leads that is being carried out.
    pub(super) under_way: Option<PlaceId>,
    /// Whether the region in use may be asked for others.
    pub(super) may_ask: bool,
}

#[derive(Debug, Default)]
pub(super) struct Redirects {
    taken: Vec<Instant>,
    pending: Option<Pending>,
    /// Waits for what the region in use says of others.
    asking: Option<Redirect>,
    ignored: u64,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    place: PlaceId,
    why: Why,
    at: Instant,
}

impl Why {
    pub(crate) fn from_name(name: &str) -> Self {
        let known = [Self::Zone, Self::Overload, Self::Drain];
        known.into_iter().find(|why| why.name() == name).unwrap_or(Self::Other)
    }

    /// The name on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Zone => "zone",
            Self::Overload => "overload",
            Self::Drain => "drain",
            Self::Other => "other",
        }
    }
}

impl Redirects {
    pub(super) fn hear(
        &mut self,
        redirect: &Redirect,
        places: &Places,
        at: Whereabouts,
        now: Instant,
    ) -> Verdict {
        let Some(place) = places.nearest_of(&redirect.places) else {
            if at.may_ask {
                self.asking = Some(redirect.clone());
                return Verdict::Ask;
            }
            self.ignored += 1;
            return Verdict::Ignore;
        };
        let going = [at.here, at.under_way, self.pending.map(|pending| pending.place)];
        if going.contains(&Some(place)) {
            return Verdict::Here;
        }
        self.taken.retain(|taken| now < *taken + WINDOW);
        if self.taken.len() >= MOST {
            self.ignored += 1;
            return Verdict::Ignore;
        }
        self.taken.push(now);
        self.pending = Some(Pending { place, why: redirect.why, at: now + redirect.after });
        Verdict::Follow
    }

    /// Redirects that were not followed.
    pub(super) fn ignored(&self) -> u64 {
        self.ignored
    }

    /// The redirect that waited for an answer, once.
    pub(super) fn asked(&mut self) -> Option<Redirect> {
        self.asking.take()
    }

    /// When the one that is pending is due.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.pending.map(|pending| pending.at)
    }

    /// Where to go, if that is due.
    pub(super) fn due(&mut self, now: Instant) -> Option<(PlaceId, Why)> {
        self.pending
            .take_if(|pending| pending.at <= now)
            .map(|pending| (pending.place, pending.why))
    }

    /// Where a dial goes that is made anyway: there is no reason to wait.
    pub(super) fn now(&mut self) -> Option<(PlaceId, Why)> {
        self.pending.take().map(|pending| (pending.place, pending.why))
    }

    pub(super) fn leads_to(&self, place: PlaceId) -> bool {
        self.pending.is_some_and(|pending| pending.place == place)
    }
}
