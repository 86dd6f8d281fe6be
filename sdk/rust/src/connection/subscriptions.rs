//! All subscriptions of a client: finds the one that a message, a reader or a time is for. Each holds
//! its position and comes back to it after a reconnect, a break in its chain, a refusal for now, or a
//! reader that took nothing for a while.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use meridian_core::protocol::{Action, EventView, GapPush, ReplyError, Subscribed};
use meridian_core::vocabulary::{Epoch, Position};

use super::SubscribeReply;
use super::backoff::Backoff;
use super::subscription::{Fate, Phase, Subscription, Then};
use super::wire::Wire;
use crate::error::SubscribeError;
use crate::mailbox::Mailbox;
use crate::update::Start;

/// All subscriptions, one a channel.
#[derive(Debug)]
pub(super) struct Subscriptions {
    next_slot: u64,
    slots: BTreeMap<u64, Subscription>,
    by_channel: HashMap<String, u64>,
    by_serial: HashMap<u64, u64>,
    wakes: BTreeSet<(Instant, u64)>,
    backoff: Backoff,
}

impl Subscriptions {
    pub(super) fn new(backoff: Backoff) -> Self {
        Self {
            next_slot: 0,
            slots: BTreeMap::new(),
            by_channel: HashMap::new(),
            by_serial: HashMap::new(),
            wakes: BTreeSet::new(),
            backoff,
        }
    }

    /// Takes a subscription on. A channel has one; one whose reader is gone makes way.
    pub(super) fn open(
        &mut self,
        channel: String,
        start: Start,
        mailbox: Mailbox,
        reply: SubscribeReply,
        wire: &mut Wire,
    ) {
        let serial = mailbox.serial();
        let Some(slot) = self.by_channel.get(&channel).copied() else {
            let slot = self.next_slot;
            self.next_slot += 1;
            self.by_channel.insert(channel.clone(), slot);
            self.by_serial.insert(serial, slot);
            let mut subscription =
                Subscription::new(slot, channel, start, mailbox, Some(reply), self.backoff);
            subscription.subscribe(wire);
            self.slots.insert(slot, subscription);
            return;
        };
        let Some(held) = self.slots.get_mut(&slot) else { return };
        if !held.mailbox.is_abandoned() {
            let _ = reply.send(Err(SubscribeError::AlreadySubscribed));
            return;
        }
        self.by_serial.remove(&held.mailbox.serial());
        self.by_serial.insert(serial, slot);
        let phase = held.phase;
        *held = Subscription::new(slot, channel, start, mailbox, Some(reply), self.backoff);
        held.phase = phase;
        held.leave(Then::Again, wire);
        self.note_wake(slot);
    }

    /// The reader with this number took updates, or is gone.
    pub(super) fn attention(&mut self, serial: u64, wire: &mut Wire) {
        let Some(slot) = self.by_serial.get(&serial).copied() else { return };
        self.with(slot, |held| {
            if held.mailbox.is_abandoned() {
                return held.leave(Then::Remove, wire);
            }
            held.room(wire);
            Fate::Keep
        });
    }

    pub(super) fn subscribed(&mut self, id: Option<u64>, answer: &Subscribed) {
        self.on_channel(&answer.channel, |held| {
            held.subscribed(id, answer);
            Fate::Keep
        });
    }

    pub(super) fn unsubscribed(
        &mut self,
        channel: &str,
        code: &str,
        action: Action,
        wire: &mut Wire,
    ) {
        self.on_channel(channel, |held| held.unsubscribed(code, action, wire));
    }

    pub(super) fn subscribe_refused(
        &mut self,
        slot: u64,
        id: u64,
        error: ReplyError,
        wire: &mut Wire,
    ) {
        self.with(slot, |held| held.subscribe_refused(id, error, wire));
    }

    pub(super) fn unsubscribe_refused(&mut self, slot: u64, error: &ReplyError, wire: &mut Wire) {
        self.with(slot, |held| held.unsubscribe_refused(error, wire));
    }

    pub(super) fn events(
        &mut self,
        channel: &str,
        stream: Option<&str>,
        epoch: Option<Epoch>,
        views: Vec<EventView>,
        wire: &mut Wire,
    ) {
        self.on_channel(channel, |held| {
            held.events(stream, epoch, views, wire);
            Fate::Keep
        });
    }

    pub(super) fn values(
        &mut self,
        channel: &str,
        stream: &str,
        epoch: Epoch,
        views: Vec<EventView>,
        wire: &mut Wire,
    ) {
        self.on_channel(channel, |held| {
            held.values(stream, epoch, views, wire);
            Fate::Keep
        });
    }

    pub(super) fn conflated(&mut self, channel: &str, stream: &str, position: Position) {
        self.on_channel(channel, |held| {
            held.conflated(stream, position);
            Fate::Keep
        });
    }

    pub(super) fn gap(&mut self, push: &GapPush, wire: &mut Wire) {
        self.on_channel(&push.channel, |held| {
            held.gap(push, wire);
            Fate::Keep
        });
    }

    pub(super) fn skipped(&mut self, channel: &str, count: u64) {
        self.on_channel(channel, |held| {
            held.skipped(count);
            Fate::Keep
        });
    }

    /// A connection is there: all that wait for one subscribe, in the order in which they were made.
    pub(super) fn online(&mut self, wire: &mut Wire) {
        for held in self.slots.values_mut().filter(|held| held.phase == Phase::Idle) {
            held.subscribe(wire);
        }
    }

    /// The connection is gone.
    pub(super) fn lost(&mut self) {
        let slots: Vec<u64> = self.slots.keys().copied().collect();
        for slot in slots {
            self.with(slot, Subscription::lost);
        }
    }

    /// Calls those whose time has come.
    pub(super) fn tick(&mut self, wire: &mut Wire) {
        while let Some((at, slot)) = self.wakes.first().copied() {
            if at > wire.now {
                break;
            }
            self.wakes.pop_first();
            self.with(slot, |held| {
                held.due(wire);
                Fate::Keep
            });
        }
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// The client is closed.
    pub(super) fn close(&mut self) {
        for (_, mut held) in std::mem::take(&mut self.slots) {
            held.mailbox.end(None);
            if let Some(reply) = held.reply.take() {
                let _ = reply.send(Err(SubscribeError::Closed));
            }
        }
        self.by_channel.clear();
        self.by_serial.clear();
        self.wakes.clear();
    }

    fn on_channel(&mut self, channel: &str, act: impl FnOnce(&mut Subscription) -> Fate) {
        if let Some(slot) = self.by_channel.get(channel).copied() {
            self.with(slot, act);
        }
    }

    /// Lets a subscription act, then forgets it or notes when it wants to be called.
    fn with(&mut self, slot: u64, act: impl FnOnce(&mut Subscription) -> Fate) {
        let Some(held) = self.slots.get_mut(&slot) else { return };
        if act(held) == Fate::Keep {
            self.note_wake(slot);
        } else if let Some(gone) = self.slots.remove(&slot) {
            self.by_channel.remove(&gone.channel);
            self.by_serial.remove(&gone.mailbox.serial());
        }
    }

    fn note_wake(&mut self, slot: u64) {
        if let Some(at) = self.slots.get(&slot).and_then(Subscription::wake) {
            self.wakes.insert((at, slot));
        }
    }
}
