//! What a redirect changes: where the next dial goes, what is told, where home is.

use std::time::Instant;

use super::redirects::{Redirect, Verdict, Whereabouts};
use super::{Aim, PlaceId, Reason, Regions, Step, Why};

impl Regions {
    pub(super) fn redirect(
        &mut self,
        redirect: &Redirect,
        may_ask: bool,
        now: Instant,
    ) -> Vec<Step> {
        let at = Whereabouts {
            here: self.current.filter(|_| self.live_since.is_some()),
            under_way: self.sent_to(),
            may_ask,
        };
        match self.redirects.hear(redirect, &self.places, at, now) {
            Verdict::Follow => self.go_where_sent(now),
            Verdict::Here => Vec::new(),
            Verdict::Ask => {
                let asked = self.places.at(self.current.unwrap_or(self.home));
                vec![Step::Probe(vec![asked.address.clone()])]
            }
            Verdict::Ignore => self.tell_ignored(),
        }
    }

    /// A probe was answered: what had to wait for it.
    pub(super) fn redirect_asked(&mut self, now: Instant) -> Vec<Step> {
        let asked = self.redirects.asked();
        asked.map_or_else(Vec::new, |redirect| self.redirect(&redirect, false, now))
    }

    /// Whether this client is on its way there because a server sent it.
    pub(crate) fn is_sent_to(&self, redirect: &Redirect) -> bool {
        let place = self.places.nearest_of(&redirect.places);
        place.is_some_and(|place| self.sent_to() == Some(place) || self.redirects.leads_to(place))
    }

    /// Why a server sent this client where it dials.
    pub(crate) fn dials_redirected(&self) -> Option<Why> {
        self.dialing.and_then(|aim| aim.why)
    }

    pub(super) fn go_where_sent(&mut self, now: Instant) -> Vec<Step> {
        if self.live_since.is_none() {
            // The next dial goes there by itself.
            return Vec::new();
        }
        let Some((place, why)) = self.redirects.due(now) else { return Vec::new() };
        self.aim = Some(Aim::sent(place, why));
        vec![Step::Move]
    }

    /// The client is where it was sent from `before`.
    pub(super) fn came_where_sent(
        &mut self,
        place: PlaceId,
        before: Option<PlaceId>,
        why: Why,
        now: Instant,
    ) {
        match (why, before) {
            // Where home was is of no use to this client.
            (Why::Zone, _) => {
                self.home = place;
                self.settled = true;
            }
            (_, Some(before)) => self.places.hold(before, now, &mut self.jitter),
            (_, None) => {}
        }
    }

    /// Where a redirect leads that is being carried out.
    fn sent_to(&self) -> Option<PlaceId> {
        let aims = [self.aim, self.dialing].into_iter().flatten();
        aims.filter(|aim| aim.reason == Some(Reason::Redirect)).map(|aim| aim.place).next()
    }

    fn tell_ignored(&mut self) -> Vec<Step> {
        let ignored = self.redirects.ignored();
        let told = self.told.as_mut().map(|region| {
            region.redirects_ignored = ignored;
            Step::Ignored(region.clone())
        });
        told.into_iter().collect()
    }
}
