//! Opening and closing a hub's channels: who needs them, since when nobody does.

use std::collections::VecDeque;

use meridian_core::policy::DeliveryClass;
use meridian_core::vocabulary::{ChannelKey, Position, Stream};
use slab::Slab;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::channel::{Channel, Readiness};
use super::ring::Ring;
use super::{EARLY_EVENTS, Hub, Job, Pinned};

impl Hub {
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
            known: None,
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

    /// The channel could not be opened; those who wait are told by their receivers' end. It is tried
    /// again only as long as somebody needs it.
    pub(crate) fn open_failed(&mut self, id: u32) {
        let Some(channel) = self.channels.get_mut(id as usize) else { return };
        let Readiness::Opening { waiting, .. } = &mut channel.readiness else { return };
        waiting.clear();
        if channel.is_unused() {
            return self.close(id);
        }
        let (key, stream, stored) =
            (channel.key.clone(), channel.stream.clone(), channel.is_stored());
        self.jobs.push(Job::Open { channel: id, key, stream, stored });
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
            self.close(id);
        }
    }

    fn close(&mut self, id: u32) {
        self.dirty.retain(|dirty| *dirty != id);
        let channel = self.channels.remove(id as usize);
        self.index.remove(&channel.key);
        self.jobs.push(Job::Close { key: channel.key, stream: channel.stream });
    }
}
