//! A worker's hub: its channels and who follows them. Every subscription is a position; live
//! delivery, catch-up and slow readers are the same pull. Owns rings, followers and the fan-out;
//! never touches a socket or a store itself.

mod channel;
mod fan_out;
mod intake;
mod lifecycle;
mod outlet;
mod pages;
mod pull;
mod ring;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};
use std::time::Duration;

use meridian_core::seams::ChangesFrom;
use meridian_core::vocabulary::{ChannelKey, Position, Stream};
use slab::Slab;
use tokio::time::Instant;

use channel::{Channel, Follower, Mode, SharedPage};
pub(crate) use channel::{Page, Values};
pub(crate) use fan_out::Slice;
pub(crate) use outlet::{FollowerRef, LaneId, Offer, Outlet, Turns};
pub(crate) use pull::{Pulled, reason_name};
pub(crate) use ring::RingBounds;

/// What a hub keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) ring: RingBounds,
    /// How long a channel stays followed after its last follower left.
    pub(crate) linger: Duration,
    /// Ephemeral events of one channel that may wait for the fan-out; beyond it the oldest are skipped.
    pub(crate) ephemeral_events: usize,
    /// Pages of history that all readers together hold, in bytes; beyond it the oldest are read again.
    pub(crate) page_bytes: usize,
}

/// What the hub wants done by those who do I/O for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Job {
    /// Follow the channel at the backplane, read its head, then call `opened`.
    Open { channel: u32, key: ChannelKey, stream: Stream, stored: bool },
    /// Stop following.
    Close { key: ChannelKey, stream: Stream },
    /// Read after the ring's tip, at least up to the event that is known of, then call `repaired`.
    Repair {
        channel: u32,
        key: ChannelKey,
        stream: Stream,
        after: Position,
        known: Option<Position>,
    },
    /// Read a page for that place, for who must get to `towards`, then call `paged`.
    Fetch { channel: u32, key: ChannelKey, stream: Stream, place: Place, towards: Position },
}

/// What a page is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The events after a position.
    Events(Position),
    /// A feed's values.
    Values(ChangesFrom),
}

/// Events of one channel that are kept until its head is known.
const EARLY_EVENTS: usize = 64;

/// A channel that is being subscribed to; `unpin` when done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pinned(pub(crate) u32);

/// How the hub's counters stand; read and reset by the worker for the metrics.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counters {
    pub(crate) delivered_events: u64,
    pub(crate) delivered_bytes: u64,
    pub(crate) gaps: u64,
    pub(crate) skipped: u64,
    pub(crate) repairs: u64,
    pub(crate) pages: u64,
    pub(crate) page_events: u64,
}

pub(crate) struct Hub {
    bounds: Bounds,
    channels: Slab<Channel>,
    index: HashMap<ChannelKey, u32>,
    dirty: VecDeque<u32>,
    jobs: Vec<Job>,
    next_serial: u64,
    /// Pages in use, oldest first, with an upper bound of their bytes.
    held: VecDeque<Weak<SharedPage>>,
    held_bytes: usize,
    pub(crate) counters: Counters,
}

impl Hub {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            channels: Slab::new(),
            index: HashMap::new(),
            dirty: VecDeque::new(),
            jobs: Vec::new(),
            next_serial: 0,
            held: VecDeque::new(),
            held_bytes: 0,
            counters: Counters::default(),
        }
    }

    /// What must be done, since the last call.
    pub(crate) fn take_jobs(&mut self) -> Vec<Job> {
        std::mem::take(&mut self.jobs)
    }

    /// Whether jobs wait.
    pub(crate) fn has_jobs(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// Adds a follower at a position of a pinned channel. Events reach it from its outlet's next pull.
    pub(crate) fn attach(
        &mut self,
        pinned: Pinned,
        outlet: Rc<dyn Outlet>,
        lane: LaneId,
        position: Position,
    ) -> FollowerRef {
        self.next_serial += 1;
        let serial = self.next_serial;
        let channel = &mut self.channels[pinned.0 as usize];
        let live = !channel.is_stored() || position >= channel.ring.tip();
        let mode = if live { Mode::Live } else { Mode::Behind };
        let follower = Follower {
            outlet,
            lane,
            serial,
            position,
            told: position,
            mode,
            queued: false,
            skipped: 0,
            snapshot_since: None,
        };
        let key = channel.followers.insert(follower) as u32;
        let reference = FollowerRef { channel: pinned.0, follower: key, serial };
        if !live {
            channel.followers[key as usize].queue(reference);
        }
        reference
    }

    /// Removes a follower; nothing more is taken for it. Its last position, if it was there.
    pub(crate) fn detach(&mut self, reference: FollowerRef, now: Instant) -> Option<Position> {
        self.follower(reference)?;
        let channel = &mut self.channels[reference.channel as usize];
        let follower = channel.followers.remove(reference.follower as usize);
        if channel.is_unused() {
            channel.idle_since = Some(now);
        }
        Some(follower.position)
    }

    /// Takes nothing more for the follower until `resume`.
    pub(crate) fn pause(&mut self, reference: FollowerRef) {
        if let Some(follower) = self.follower(reference) {
            follower.mode = Mode::Paused;
        }
    }

    /// Goes on from where it was paused.
    pub(crate) fn resume(&mut self, reference: FollowerRef) {
        if let Some(follower) = self.follower(reference)
            && matches!(follower.mode, Mode::Paused)
        {
            follower.fall_behind(reference);
        }
    }

    /// How far the follower was sent.
    pub(crate) fn told(&mut self, reference: FollowerRef) -> Option<Position> {
        self.follower(reference).map(|follower| follower.told)
    }

    /// How far a follower of a stored channel was sent, and whether that is all there is.
    pub(crate) fn standing(&self, reference: FollowerRef) -> Option<(Position, bool)> {
        let channel = self.channels.get(reference.channel as usize)?;
        let follower = channel.followers.get(reference.follower as usize)?;
        let found = channel.is_stored() && follower.serial == reference.serial;
        found.then_some((follower.told, matches!(follower.mode, Mode::Live)))
    }

    fn follower(&mut self, reference: FollowerRef) -> Option<&mut Follower> {
        self.channels
            .get_mut(reference.channel as usize)?
            .followers
            .get_mut(reference.follower as usize)
            .filter(|follower| follower.serial == reference.serial)
    }

    /// How many channels and followers there are.
    pub(crate) fn size(&self) -> (usize, usize) {
        let followers = self.channels.iter().map(|(_, channel)| channel.followers.len()).sum();
        (self.channels.len(), followers)
    }
}
