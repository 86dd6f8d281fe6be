//! Where the connection goes: carries out what `Regions` decides, and tells it what happens.

use super::super::Output;
use super::super::regions::{Event, Health, Redirect, Step};
use super::{MEMORY, Machine, Moving, Phase};
use crate::transport::{Address, Choice};

impl Machine {
    /// Dials, in the region that is right now.
    pub(super) fn dial(&mut self) {
        self.navigate(&Event::Pick);
    }

    pub(super) fn probed(&mut self, address: &Address, health: Option<&Health>) {
        self.navigate(&Event::Probed(address, health));
    }

    pub(super) fn navigate(&mut self, event: &Event<'_>) {
        for step in self.regions.handle(event, self.wire.now) {
            match step {
                Step::Probe(addresses) => self.wire.outputs.push_back(Output::Probe(addresses)),
                Step::Dial(address) => self.dial_at(address),
                Step::Move => self.try_move(),
                Step::Arrived(region) | Step::Ignored(region) => {
                    self.wire.outputs.push_back(Output::Region(region));
                }
            }
        }
    }

    /// Follows a redirect, if that may be; whether it does.
    pub(super) fn redirect(&mut self, redirect: &Redirect) -> bool {
        self.navigate(&Event::Redirect(redirect));
        self.regions.is_sent_to(redirect)
    }

    fn dial_at(&mut self, address: Address) {
        self.remembered = false;
        let choice = match (self.config.transports, self.worked) {
            (Choice::Auto, Some((transport, at))) if self.wire.now < at + MEMORY => {
                self.remembered = true;
                Choice::Only(transport)
            }
            (choice, _) => choice,
        };
        self.wire.outputs.push_back(Output::Dial(address, choice));
    }

    /// A dial that is planned or under way goes to the better place by itself.
    fn try_move(&mut self) {
        if let Phase::Online { moving: moving @ Moving::No, .. } = &mut self.phase {
            *moving = Moving::Trying;
            self.dial();
        }
    }
}
