//! One channel on a worker: its ring and its followers' positions. Pure.

use std::cell::{Ref, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use meridian_core::policy::DeliveryClass;
use meridian_core::seams::{ChangesFrom, Gone};
use meridian_core::vocabulary::{ChannelKey, Event, Position, Stream};
use slab::Slab;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Place;
use super::outlet::{FollowerRef, LaneId, Outlet, Turn};
use super::ring::Ring;
use crate::frame::{EncodedEvents, EncodedMessage};

/// A page of history, read once and shared by all who wanted the range.
#[derive(Debug)]
pub(crate) struct Page {
    /// What is gone before the chunks.
    pub(crate) gone: Option<Gone>,
    pub(crate) chunks: Vec<EncodedEvents>,
    /// Where a reader stands after the page.
    pub(crate) position: Position,
    /// Its events are a feed's values, not a chain.
    pub(crate) values: Option<Values>,
}

/// What a page of values says of those that follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Values {
    /// For the next page: removals matter from here on.
    pub(crate) since: Position,
    pub(crate) more: bool,
}

/// A page and what it weighs; given up when too many are held.
pub(crate) struct SharedPage {
    page: RefCell<Option<Page>>,
    bytes: usize,
}

/// How a follower gets its events.
pub(crate) enum Mode {
    /// It has all up to the ring's tip: the fan-out writes to it.
    Live,
    /// It waits in its lane for room, or for its turn.
    Behind,
    /// A page that it needs is being read.
    Fetching(Turn),
    /// It has a page and stands before chunk `next`; waits in its lane like `Behind`.
    Paging { page: Rc<SharedPage>, next: usize, _turn: Turn },
    /// Its right is being decided anew: nothing is taken for it.
    Paused,
}

pub(crate) struct Follower {
    pub(crate) outlet: Rc<dyn Outlet>,
    pub(crate) lane: LaneId,
    pub(crate) serial: u64,
    /// Nothing at or below it is to be read any more.
    pub(crate) position: Position,
    /// Where its client stands: what it was sent last. Lower where only a store's word lies between.
    pub(crate) told: Position,
    pub(crate) mode: Mode,
    /// Its lane has it in its queue: once, however often it falls behind.
    pub(crate) queued: bool,
    /// Ephemeral events that it was too slow for, not yet announced.
    pub(crate) skipped: u64,
    /// Where the feed's snapshot began that it has read in part.
    pub(crate) snapshot_since: Option<Position>,
}

/// Whether the channel is followed at the backplane yet.
pub(crate) enum Readiness {
    Opening {
        /// These wait for it.
        waiting: Vec<oneshot::Sender<()>>,
        /// Events that came before the channel's head was known.
        early: Vec<Arc<Event>>,
    },
    Ready,
}

/// The fan-out's place in a channel's followers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass {
    pub(crate) at: usize,
    /// The newest event when this pass began; `None`: it begins.
    pub(crate) newest: Option<Position>,
}

pub(crate) struct Channel {
    pub(crate) key: ChannelKey,
    pub(crate) stream: Stream,
    pub(crate) class: DeliveryClass,
    pub(crate) readiness: Readiness,
    pub(crate) ring: Ring,
    pub(crate) followers: Slab<Follower>,
    /// Subscriptions being made: they keep the channel open.
    pub(crate) pins: u32,
    /// When nobody followed it any more.
    pub(crate) idle_since: Option<Instant>,
    /// The fan-out's pass, while the channel waits for its turn.
    pub(crate) pass: Option<Pass>,
    /// An ephemeral channel's events that the fan-out has not written yet.
    pub(crate) ephemeral: VecDeque<Rc<EncodedMessage>>,
    /// The chain broke: a read of what lacks is under way.
    pub(crate) repairing: bool,
    /// The newest event that is known of, where the ring may lack it.
    pub(crate) known: Option<Position>,
    /// Pages being read or in use.
    pub(crate) pages: Vec<PageSlot>,
}

/// A page by what it was read for.
pub(crate) struct PageSlot {
    pub(crate) place: Place,
    pub(crate) state: PageState,
}

pub(crate) enum PageState {
    /// Being read for these followers (slab key and serial).
    Wanted(Vec<(u32, u64)>),
    /// In use by somebody as long as it can be upgraded.
    Read(Weak<SharedPage>),
}

impl Channel {
    /// Whether nobody needs it.
    pub(crate) fn is_unused(&self) -> bool {
        self.followers.is_empty() && self.pins == 0
    }

    /// Whether events of it are stored.
    pub(crate) fn is_stored(&self) -> bool {
        self.class != DeliveryClass::Ephemeral
    }

    /// Drops pages that nobody uses any more.
    pub(crate) fn forget_pages(&mut self) {
        self.pages.retain(|slot| match &slot.state {
            PageState::Wanted(_) => true,
            PageState::Read(page) => page.strong_count() > 0,
        });
    }
}

impl Follower {
    /// What it lacks below the ring.
    pub(super) fn place(&self, class: DeliveryClass) -> Place {
        if class != DeliveryClass::Feed {
            return Place::Events(self.position);
        }
        let (after, since) = (self.position, self.snapshot_since);
        Place::Values(if after == Position::BEGINNING && since.is_none() {
            ChangesFrom::Start
        } else {
            ChangesFrom::After { after, since: since.unwrap_or(after).max(after) }
        })
    }

    /// Something is to be pulled for it.
    pub(super) fn fall_behind(&mut self, reference: FollowerRef) {
        self.mode = Mode::Behind;
        self.queue(reference);
    }

    /// Has its lane take it up.
    pub(super) fn queue(&mut self, reference: FollowerRef) {
        if !self.queued {
            self.queued = true;
            self.outlet.behind(self.lane, reference);
        }
    }
}

impl SharedPage {
    pub(super) fn new(page: Page) -> Self {
        // The events, and a frame made of them.
        let events = page.chunks.iter().flat_map(|chunk| chunk.events());
        let bytes = events.map(|event| 2 * event.weight()).sum();
        Self { page: RefCell::new(Some(page)), bytes }
    }

    /// `None`: it was given up.
    pub(super) fn page(&self) -> Option<Ref<'_, Page>> {
        Ref::filter_map(self.page.borrow(), Option::as_ref).ok()
    }

    pub(super) fn is_there(&self) -> bool {
        self.page.borrow().is_some()
    }

    pub(super) fn give_up(&self) {
        self.page.take();
    }

    /// What it weighs now.
    pub(super) fn bytes(&self) -> usize {
        if self.is_there() { self.bytes } else { 0 }
    }
}
