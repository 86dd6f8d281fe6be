//! Pages of history: read once for all followers that want the range, kept while somebody takes
//! from them, and within a bound in all: the oldest are given up, and read again by who still needs them.

use std::rc::Rc;

use super::channel::{Mode, Page, PageSlot, PageState, SharedPage};
use super::{FollowerRef, Hub, Job, Place, Pulled};

impl Hub {
    /// A page was read: its followers pull from it.
    pub(crate) fn paged(&mut self, id: u32, place: Place, page: Page) {
        let Some(channel) = self.channels.get_mut(id as usize) else { return };
        self.counters.pages += 1;
        self.counters.page_events += page.chunks.iter().map(|c| c.len() as u64).sum::<u64>();
        let Some(slot) = channel.pages.iter_mut().find(|slot| slot.place == place) else { return };
        let page = Rc::new(SharedPage::new(page));
        let state = std::mem::replace(&mut slot.state, PageState::Read(Rc::downgrade(&page)));
        let PageState::Wanted(waiting) = state else { return };
        for (key, serial) in waiting {
            let Some(follower) = channel.followers.get_mut(key as usize) else { continue };
            if follower.serial != serial {
                continue;
            }
            follower.mode = match std::mem::replace(&mut follower.mode, Mode::Behind) {
                Mode::Fetching(turn) => Mode::Paging { page: page.clone(), next: 0, _turn: turn },
                // Paused meanwhile, perhaps resumed.
                other => {
                    follower.mode = other;
                    continue;
                }
            };
            follower.queue(FollowerRef { channel: id, follower: key, serial });
        }
        channel.forget_pages();
        self.hold(&page);
    }

    /// Whether somebody still waits for the page; if not, it counts as never asked for.
    pub(crate) fn still_wants(&mut self, id: u32, place: Place) -> bool {
        let Some(channel) = self.channels.get_mut(id as usize) else { return false };
        let followers = &channel.followers;
        let waits = |(key, serial): &(u32, u64)| {
            let follower = followers.get(*key as usize);
            follower.is_some_and(|f| f.serial == *serial && matches!(f.mode, Mode::Fetching(_)))
        };
        channel.pages.retain(|slot| match &slot.state {
            PageState::Wanted(waiting) if slot.place == place => waiting.iter().any(waits),
            _ => true,
        });
        channel.pages.iter().any(|slot| slot.place == place)
    }

    /// Gives the follower a page that is there, or asks for it to be read, when its session may have
    /// one more.
    pub(super) fn want_page(&mut self, reference: FollowerRef) -> Pulled {
        let channel = &mut self.channels[reference.channel as usize];
        let follower = &mut channel.followers[reference.follower as usize];
        let Some(turn) = follower.outlet.turns().take() else { return Pulled::Later };
        let place = follower.place(channel.class);
        let ours = (reference.follower, reference.serial);
        let slot = channel.pages.iter_mut().find(|slot| slot.place == place);
        match slot.map(|slot| &mut slot.state) {
            Some(PageState::Wanted(waiting)) => {
                waiting.push(ours);
                follower.mode = Mode::Fetching(turn);
                return Pulled::Done;
            }
            Some(PageState::Read(page)) => {
                if let Some(page) = page.upgrade().filter(|page| page.is_there()) {
                    follower.mode = Mode::Paging { page, next: 0, _turn: turn };
                    return Pulled::More;
                }
            }
            None => {}
        }
        follower.mode = Mode::Fetching(turn);
        channel.pages.retain(|slot| slot.place != place);
        channel.pages.push(PageSlot { place, state: PageState::Wanted(vec![ours]) });
        let (key, stream) = (channel.key.clone(), channel.stream.clone());
        let (channel, towards) = (reference.channel, channel.ring.floor());
        self.jobs.push(Job::Fetch { channel, key, stream, place, towards });
        Pulled::Done
    }

    /// Keeps what is held in all within its bound.
    pub(super) fn hold(&mut self, page: &Rc<SharedPage>) {
        self.held_bytes += page.bytes();
        self.held.push_back(Rc::downgrade(page));
        if self.held_bytes <= self.bounds.page_bytes {
            return;
        }
        self.held.retain(|page| page.strong_count() > 0);
        let there = self.held.iter().filter_map(std::rc::Weak::upgrade);
        self.held_bytes = there.map(|page| page.bytes()).sum();
        while self.held_bytes > self.bounds.page_bytes && self.held.len() > 1 {
            let Some(oldest) = self.held.pop_front().and_then(|page| page.upgrade()) else {
                continue;
            };
            self.held_bytes -= oldest.bytes();
            oldest.give_up();
        }
    }

    /// What the largest ring weighs.
    #[cfg(test)]
    pub(crate) fn ring_bytes(&self) -> usize {
        self.channels.iter().map(|(_, channel)| channel.ring.bytes()).max().unwrap_or(0)
    }

    /// Bytes of pages that followers hold.
    #[cfg(test)]
    pub(crate) fn page_bytes(&self) -> usize {
        let mut pages = std::collections::HashMap::new();
        for follower in self.channels.iter().flat_map(|(_, channel)| &channel.followers) {
            if let Mode::Paging { page, .. } = &follower.1.mode {
                pages.insert(Rc::as_ptr(page), page.bytes());
            }
        }
        pages.values().sum()
    }
}
