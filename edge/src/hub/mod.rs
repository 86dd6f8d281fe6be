//! A worker's hub: its channels and who follows them. Every subscription is a position; live
//! delivery, catch-up and slow readers are the same pull. Owns rings, followers and the fan-out;
//! never touches a socket or a store itself.

mod channel;
mod fan_out;
mod outlet;
mod pull;
mod ring;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use meridian_core::policy::DeliveryClass;
use meridian_core::protocol::Message;
use meridian_core::seams::Ephemeral;
use meridian_core::vocabulary::{Body, ChannelKey, Event, Position, Stream, Verdict};
use slab::Slab;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::frame::EncodedMessage;
pub(crate) use channel::Page;
use channel::{Channel, Follower, Mode, PageSlot, PageState, Readiness};
pub(crate) use fan_out::Slice;
pub(crate) use outlet::{FollowerRef, LaneId, Offer, Outlet};
pub(crate) use pull::{Pulled, reason_name};
use ring::Ring;
pub(crate) use ring::RingBounds;

/// What a hub keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) ring: RingBounds,
    /// How long a channel stays followed after its last follower left.
    pub(crate) linger: Duration,
    /// Ephemeral events of one channel that may wait for the fan-out; beyond it the oldest are skipped.
    pub(crate) ephemeral_events: usize,
}

/// What the hub wants done by those who do I/O for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Job {
    /// Follow the channel at the backplane, read its head, then call `opened`.
    Open { channel: u32, key: ChannelKey, stream: Stream, stored: bool },
    /// Stop following.
    Close { key: ChannelKey, stream: Stream },
    /// Read after the ring's tip, then call `repaired`.
    Repair { channel: u32, key: ChannelKey, stream: Stream, after: Position },
    /// Read a page after the position, then call `paged`.
    Fetch { channel: u32, key: ChannelKey, stream: Stream, after: Position },
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

    /// Opens a channel (or joins it) and keeps it open until `unpin`. The receiver resolves once the
    /// channel is surely followed.
    pub(crate) fn pin(
        &mut self,
        key: &ChannelKey,
        stream: &Stream,
        class: DeliveryClass,
    ) -> (Pinned, oneshot::Receiver<()>) {
        let id = match self.index.get(key) {
            Some(id) => *id,
            None => self.open(key, stream, class),
        };
        let channel = &mut self.channels[id as usize];
        channel.pins += 1;
        channel.idle_since = None;
        let (ready, receiver) = oneshot::channel();
        match &mut channel.readiness {
            Readiness::Opening { waiting, .. } => waiting.push(ready),
            Readiness::Ready => drop(ready.send(())),
        }
        (Pinned(id), receiver)
    }

    fn open(&mut self, key: &ChannelKey, stream: &Stream, class: DeliveryClass) -> u32 {
        let floor = Position::start_of(stream.epoch);
        let id = self.channels.insert(Channel {
            key: key.clone(),
            stream: stream.clone(),
            class,
            readiness: Readiness::Opening { waiting: Vec::new(), early: Vec::new() },
            ring: Ring::new(self.bounds.ring, floor),
            followers: Slab::new(),
            pins: 0,
            idle_since: None,
            pass: None,
            ephemeral: VecDeque::new(),
            repairing: false,
            pages: Vec::new(),
        }) as u32;
        self.index.insert(key.clone(), id);
        let stored = class != DeliveryClass::Ephemeral;
        self.jobs.push(Job::Open { channel: id, key: key.clone(), stream: stream.clone(), stored });
        id
    }

    /// The channel is followed; nothing of it lies between `floor` and what is delivered from now on.
    pub(crate) fn opened(&mut self, channel: u32, floor: Position) {
        let Some(opening) = self.channels.get_mut(channel as usize) else { return };
        opening.ring.reset(floor);
        let readiness = std::mem::replace(&mut opening.readiness, Readiness::Ready);
        let Readiness::Opening { waiting, early } = readiness else { return };
        if early.len() == EARLY_EVENTS {
            self.repair(channel);
        }
        for event in early {
            self.on_event(&event);
        }
        for ready in waiting {
            // Whoever asked may have gone.
            let _ = ready.send(());
        }
    }

    /// The channel could not be opened; those who wait are told by their receivers' end.
    pub(crate) fn open_failed(&mut self, id: u32) {
        let Some(channel) = self.channels.get_mut(id as usize) else { return };
        if let Readiness::Opening { waiting, .. } = &mut channel.readiness {
            waiting.clear();
            let (key, stream, stored) =
                (channel.key.clone(), channel.stream.clone(), channel.is_stored());
            self.jobs.push(Job::Open { channel: id, key, stream, stored });
        }
    }

    /// Lets go of a channel that was pinned.
    pub(crate) fn unpin(&mut self, pinned: Pinned, now: Instant) {
        if let Some(channel) = self.channels.get_mut(pinned.0 as usize) {
            channel.pins -= 1;
            if channel.is_unused() {
                channel.idle_since = Some(now);
            }
        }
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
        let follower =
            Follower { outlet: outlet.clone(), lane, serial, position, mode, skipped: 0 };
        let key = channel.followers.insert(follower) as u32;
        let reference = FollowerRef { channel: pinned.0, follower: key, serial };
        if !live {
            outlet.behind(lane, reference);
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
            follower.mode = Mode::Behind;
            let (outlet, lane) = (follower.outlet.clone(), follower.lane);
            outlet.behind(lane, reference);
        }
    }

    /// How far the follower was sent.
    pub(crate) fn position(&mut self, reference: FollowerRef) -> Option<Position> {
        self.follower(reference).map(|follower| follower.position)
    }

    fn follower(&mut self, reference: FollowerRef) -> Option<&mut Follower> {
        self.channels
            .get_mut(reference.channel as usize)?
            .followers
            .get_mut(reference.follower as usize)
            .filter(|follower| follower.serial == reference.serial)
    }

    /// An event as the backplane delivered it.
    pub(crate) fn on_event(&mut self, event: &Arc<Event>) {
        let Some(id) = self.index.get(&event.key).copied() else { return };
        let channel = &mut self.channels[id as usize];
        if event.stream != channel.stream {
            return;
        }
        if let Readiness::Opening { early, .. } = &mut channel.readiness {
            if early.len() < EARLY_EVENTS {
                early.push(event.clone());
            }
            return;
        }
        match channel.ring.push(event.clone()) {
            Verdict::Duplicate => {}
            Verdict::Accept => self.mark_dirty(id),
            Verdict::Broken => self.repair(id),
        }
    }

    /// An ephemeral event as the backplane delivered it.
    pub(crate) fn on_ephemeral(&mut self, ephemeral: &Ephemeral) {
        let Some(id) = self.index.get(&ephemeral.key).copied() else { return };
        let Ok(body) = Body::decode(&ephemeral.body) else { return };
        let limit = self.bounds.ephemeral_events;
        let channel = &mut self.channels[id as usize];
        if channel.ephemeral.len() >= limit {
            channel.ephemeral.pop_front();
            for (_, follower) in &mut channel.followers {
                follower.skipped += 1;
            }
        }
        let view = meridian_core::protocol::EventView {
            at: None,
            time_ms: ephemeral.time_ms,
            id: None,
            body,
        };
        let message = Message::Events {
            channel: ephemeral.key.channel.as_str().to_owned(),
            stream: None,
            epoch: None,
            events: vec![view],
        };
        channel.ephemeral.push_back(Rc::new(EncodedMessage::new(message)));
        self.mark_dirty(id);
    }

    /// The backplane may have lost something, or a sweep found a newer head: read what lacks.
    pub(crate) fn suspect(&mut self, key: &ChannelKey, head: Position) {
        let Some(id) = self.index.get(key).copied() else { return };
        let channel = &self.channels[id as usize];
        if matches!(channel.readiness, Readiness::Ready) && head > channel.ring.tip() {
            self.repair(id);
        }
    }

    fn repair(&mut self, id: u32) {
        let channel = &mut self.channels[id as usize];
        if channel.repairing || !channel.is_stored() {
            return;
        }
        channel.repairing = true;
        self.counters.repairs += 1;
        let (key, stream, after) =
            (channel.key.clone(), channel.stream.clone(), channel.ring.tip());
        self.jobs.push(Job::Repair { channel: id, key, stream, after });
    }

    /// What a repair found after the ring's tip. Followers that the ring cannot serve any more read
    /// their own pages.
    pub(crate) fn repaired(&mut self, id: u32, page: &Page) {
        let Some(channel) = self.channels.get_mut(id as usize) else { return };
        channel.repairing = false;
        if let Some(gone) = page.gone {
            channel.ring.reset(gone.through);
        }
        for chunk in &page.chunks {
            for event in chunk.events() {
                channel.ring.push(event.clone());
            }
        }
        channel.ring.vouch(page.position);
        self.mark_dirty(id);
    }

    /// A repair left more to read after `position`.
    pub(crate) fn suspect_after(&mut self, id: u32, position: Position) {
        if self.channels.get(id as usize).is_some_and(|channel| channel.ring.tip() <= position) {
            self.repair(id);
        }
    }

    /// A repair could not read; it will be found again by the next event or sweep.
    pub(crate) fn repair_failed(&mut self, id: u32) {
        if let Some(channel) = self.channels.get_mut(id as usize) {
            channel.repairing = false;
        }
    }

    /// A page was read: its followers pull from it.
    pub(crate) fn paged(&mut self, id: u32, after: Position, page: Page) {
        let Some(channel) = self.channels.get_mut(id as usize) else { return };
        self.counters.pages += 1;
        self.counters.page_events += page.chunks.iter().map(|c| c.len() as u64).sum::<u64>();
        let page = Rc::new(page);
        let Some(slot) = channel.pages.iter_mut().find(|slot| slot.after == after) else { return };
        let state = std::mem::replace(&mut slot.state, PageState::Read(Rc::downgrade(&page)));
        let PageState::Wanted(waiting) = state else { return };
        let mut outlets = Vec::with_capacity(waiting.len());
        for (key, serial) in waiting {
            let Some(follower) = channel.followers.get_mut(key as usize) else { continue };
            if follower.serial == serial && matches!(follower.mode, Mode::Fetching) {
                follower.mode = Mode::Paging { page: page.clone(), next: 0 };
                let reference = FollowerRef { channel: id, follower: key, serial };
                outlets.push((follower.outlet.clone(), follower.lane, reference));
            }
        }
        channel.forget_pages();
        for (outlet, lane, reference) in outlets {
            outlet.behind(lane, reference);
        }
    }

    /// Gives the follower a page that is there, or asks for it to be read.
    fn want_page(&mut self, reference: FollowerRef) -> Pulled {
        let channel = &mut self.channels[reference.channel as usize];
        let follower = &mut channel.followers[reference.follower as usize];
        let after = follower.position;
        let ours = (reference.follower, reference.serial);
        let slot = channel.pages.iter_mut().find(|slot| slot.after == after);
        match slot.map(|slot| &mut slot.state) {
            Some(PageState::Wanted(waiting)) => {
                waiting.push(ours);
                follower.mode = Mode::Fetching;
                return Pulled::Done;
            }
            Some(PageState::Read(page)) => {
                if let Some(page) = page.upgrade() {
                    follower.mode = Mode::Paging { page, next: 0 };
                    return Pulled::More;
                }
            }
            None => {}
        }
        follower.mode = Mode::Fetching;
        channel.pages.retain(|slot| slot.after != after);
        channel.pages.push(PageSlot { after, state: PageState::Wanted(vec![ours]) });
        let (key, stream) = (channel.key.clone(), channel.stream.clone());
        self.jobs.push(Job::Fetch { channel: reference.channel, key, stream, after });
        Pulled::Done
    }

    /// Channels that are followed and stored, for the sweep of heads.
    pub(crate) fn stored_channels(&self) -> Vec<(ChannelKey, Stream)> {
        self.channels
            .iter()
            .filter(|(_, channel)| {
                channel.is_stored() && matches!(channel.readiness, Readiness::Ready)
            })
            .map(|(_, channel)| (channel.key.clone(), channel.stream.clone()))
            .collect()
    }

    /// Closes channels that nobody followed for the linger time.
    pub(crate) fn close_idle(&mut self, now: Instant) {
        let linger = self.bounds.linger;
        for (_, channel) in &mut self.channels {
            channel.forget_pages();
        }
        let idle: Vec<u32> = self
            .channels
            .iter()
            .filter(|(_, channel)| {
                channel.is_unused()
                    && !channel.repairing
                    && matches!(channel.readiness, Readiness::Ready)
                    && channel.pages.is_empty()
                    && channel.idle_since.is_some_and(|since| now - since >= linger)
            })
            .map(|(id, _)| id as u32)
            .collect();
        for id in idle {
            self.dirty.retain(|dirty| *dirty != id);
            let channel = self.channels.remove(id as usize);
            self.index.remove(&channel.key);
            self.jobs.push(Job::Close { key: channel.key, stream: channel.stream });
        }
    }

    /// How many channels and followers there are.
    pub(crate) fn size(&self) -> (usize, usize) {
        let followers = self.channels.iter().map(|(_, channel)| channel.followers.len()).sum();
        (self.channels.len(), followers)
    }
}
