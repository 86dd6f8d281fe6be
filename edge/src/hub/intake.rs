//! What comes in from the backplane and from repairs. The chain's rule decides; what breaks it is read.

use std::rc::Rc;
use std::sync::Arc;

use meridian_core::protocol::{EventView, Message};
use meridian_core::seams::Ephemeral;
use meridian_core::vocabulary::{Body, ChannelKey, Event, Position, Verdict};

use super::channel::{Page, Pass, Readiness};
use super::{EARLY_EVENTS, Hub, Job};
use crate::frame::EncodedMessage;

impl Hub {
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
            Verdict::Broken => self.lacks(id, event.position()),
        }
    }

    /// An ephemeral event as the backplane delivered it.
    pub(crate) fn on_ephemeral(&mut self, ephemeral: &Ephemeral) {
        let Some(id) = self.index.get(&ephemeral.key).copied() else { return };
        let Ok(body) = Body::decode(&ephemeral.body) else { return };
        let channel = &mut self.channels[id as usize];
        if channel.ephemeral.len() >= self.bounds.ephemeral_events {
            channel.skip_oldest();
        }
        let view = EventView { at: None, time_ms: ephemeral.time_ms, id: None, body };
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
        if matches!(self.channels[id as usize].readiness, Readiness::Ready) {
            self.lacks(id, head);
        }
    }

    /// An event at `head` exists: it is read if the ring does not have it.
    fn lacks(&mut self, id: u32, head: Position) {
        let channel = &mut self.channels[id as usize];
        if head > channel.ring.tip() {
            channel.known = channel.known.max(Some(head));
            self.repair(id);
        }
    }

    pub(super) fn repair(&mut self, id: u32) {
        let channel = &mut self.channels[id as usize];
        if channel.repairing || !channel.is_stored() {
            return;
        }
        channel.repairing = true;
        self.counters.repairs += 1;
        let (key, stream) = (channel.key.clone(), channel.stream.clone());
        let (after, known) = (channel.ring.tip(), channel.known);
        self.jobs.push(Job::Repair { channel: id, key, stream, after, known });
    }

    /// What a repair found after the ring's tip as it was then; `more`: not all. Followers that the
    /// ring cannot serve any more read their own pages.
    pub(crate) fn repaired(&mut self, id: u32, page: &Page, more: bool) {
        let Some(channel) = self.channels.get_mut(id as usize) else { return };
        channel.repairing = false;
        let before = channel.ring.tip();
        let events = page.chunks.iter().flat_map(|chunk| chunk.events());
        channel.ring.extend(page.gone.map(|gone| gone.through), events, page.position);
        let tip = channel.ring.tip();
        // What was known before this read may have come after it. Without progress the next event or
        // sweep tries again.
        let lacks = (more && tip <= page.position) || channel.known > Some(tip);
        if lacks && tip > before {
            self.repair(id);
        }
        self.mark_dirty(id);
    }

    /// A repair could not read; it will be found again by the next event or sweep.
    pub(crate) fn repair_failed(&mut self, id: u32) {
        if let Some(channel) = self.channels.get_mut(id as usize) {
            channel.repairing = false;
        }
    }
}

impl super::channel::Channel {
    /// Gives up the oldest ephemeral event that waits: for those whom the fan-out has not reached with it.
    fn skip_oldest(&mut self) {
        self.ephemeral.pop_front();
        let reached = self.pass.map_or(0, |pass| pass.at);
        for (key, follower) in &mut self.followers {
            if key >= reached {
                follower.skipped += 1;
            }
        }
        if let Some(pass) = &mut self.pass {
            *pass = Pass { at: 0, newest: None };
        }
    }
}
