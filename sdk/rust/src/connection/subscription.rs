//! One subscription's phases. What it says to the server goes through the wire it is given; whether
//! it is to be forgotten is its answer.

use std::time::{Duration, Instant};

use meridian_core::protocol::{
    Action, Code, Command, EventView, GapPush, ReplyError, Subscribe, Subscribed,
};
use meridian_core::vocabulary::{Epoch, Position};

use super::backoff::Backoff;
use super::chain::{Chain, Next};
use super::wire::{Waiting, Wire};
use super::{Opened, SubscribeReply};
use crate::error::SubscribeError;
use crate::mailbox::Mailbox;
use crate::update::{Event, Place, Start, Update};

/// A subscription, by its slot.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) slot: u64,
    pub(super) channel: String,
    pub(super) start: Start,
    pub(super) mailbox: Mailbox,
    pub(super) reply: Option<SubscribeReply>,
    pub(super) chain: Chain,
    pub(super) phase: Phase,
    /// Attempts since an event was last taken.
    attempts: u32,
    backoff: Backoff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// To be subscribed as soon as there is a connection.
    Idle,
    /// The command with this id has no answer yet.
    Subscribing(u64),
    Active,
    /// To be unsubscribed first; asked again at the time, where the server was too busy.
    Leaving(Then, Option<Instant>),
    /// To be subscribed at this time.
    Waiting(Instant),
    /// The reader does not take what it has: to be subscribed once it does.
    Parked,
}

/// What follows the server's `unsubscribed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Remove,
    Again,
    Park,
}

/// Whether a subscription is still to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Keep,
    Forget,
}

impl Subscription {
    pub(super) fn new(
        slot: u64,
        channel: String,
        start: Start,
        mailbox: Mailbox,
        reply: Option<SubscribeReply>,
        backoff: Backoff,
    ) -> Self {
        let chain = Chain::Unknown;
        let phase = Phase::Idle;
        Self { slot, channel, start, mailbox, reply, chain, phase, attempts: 0, backoff }
    }

    /// Subscribes from the position held, else from the start; waits where there is no connection.
    pub(super) fn subscribe(&mut self, wire: &mut Wire) {
        if !wire.online {
            self.phase = Phase::Idle;
            return;
        }
        let mut subscribe = Subscribe { channel: self.channel.clone(), ..Subscribe::default() };
        match (self.chain.cursor(), &self.chain, &self.start) {
            (Some(cursor), _, _) => subscribe.cursor = Some(cursor),
            (None, Chain::Ephemeral, _) | (None, _, Start::Now) => {}
            (None, _, Start::Cursor(cursor)) => subscribe.cursor = Some(cursor.clone()),
            (None, _, Start::Last(count)) => subscribe.last = Some(*count),
            (None, _, Start::Acked) => subscribe.acked = true,
        }
        let id = wire.send(Command::Subscribe(subscribe), Waiting::Subscribe(self.slot));
        self.phase = Phase::Subscribing(id);
    }

    /// Unsubscribes, if the server may hold a subscription.
    pub(super) fn leave(&mut self, then: Then, wire: &mut Wire) -> Fate {
        match self.phase {
            Phase::Subscribing(_) | Phase::Active => {
                self.unsubscribe(then, wire);
                Fate::Keep
            }
            Phase::Leaving(_, at) => {
                self.phase = Phase::Leaving(then, at);
                Fate::Keep
            }
            Phase::Idle | Phase::Waiting(_) | Phase::Parked => self.left(then, wire),
        }
    }

    /// The server holds no subscription any more.
    fn left(&mut self, then: Then, wire: &mut Wire) -> Fate {
        match then {
            Then::Remove => return Fate::Forget,
            Then::Again if self.attempts > 1 => self.wait(Duration::ZERO, wire),
            Then::Again => self.subscribe(wire),
            Then::Park if self.mailbox.has_room() => self.subscribe(wire),
            Then::Park => self.phase = Phase::Parked,
        }
        Fate::Keep
    }

    /// The reader took updates.
    pub(super) fn room(&mut self, wire: &mut Wire) {
        match self.phase {
            Phase::Parked if self.mailbox.has_room() => self.subscribe(wire),
            _ => {}
        }
    }

    pub(super) fn subscribed(&mut self, id: Option<u64>, answer: &Subscribed) {
        match self.phase {
            Phase::Subscribing(asked) if id == Some(asked) => {}
            _ => return,
        }
        self.chain.opened(answer);
        self.phase = Phase::Active;
        if let Some(reply) = self.reply.take() {
            let opened = Opened {
                class: answer.class.clone(),
                cursor: self.chain.cursor(),
                behind: answer.behind.clone(),
            };
            let _ = reply.send(Ok(opened));
        }
    }

    /// `unsubscribed`: the answer to a command, or the server's own doing.
    pub(super) fn unsubscribed(&mut self, code: &str, action: Action, wire: &mut Wire) -> Fate {
        match self.phase {
            Phase::Leaving(then, _) => self.left(then, wire),
            Phase::Subscribing(_) | Phase::Active => self.ended(refusal(code, action), wire),
            Phase::Idle | Phase::Waiting(_) | Phase::Parked => Fate::Keep,
        }
    }

    /// The server refused to subscribe.
    pub(super) fn subscribe_refused(
        &mut self,
        id: u64,
        error: ReplyError,
        wire: &mut Wire,
    ) -> Fate {
        if self.phase != Phase::Subscribing(id) {
            return Fate::Keep;
        }
        if error.known_code() == Some(Code::AlreadySubscribed) {
            self.unsubscribe(Then::Again, wire);
            return Fate::Keep;
        }
        self.ended(error, wire)
    }

    /// The server refused to unsubscribe: it holds no subscription, or is too busy.
    pub(super) fn unsubscribe_refused(&mut self, error: &ReplyError, wire: &mut Wire) -> Fate {
        let Phase::Leaving(then, _) = self.phase else { return Fate::Keep };
        if error.action != Action::Retry {
            return self.left(then, wire);
        }
        let delay = self.delay(error.retry_after_ms, wire);
        self.phase = Phase::Leaving(then, Some(wire.now + delay));
        Fate::Keep
    }

    pub(super) fn events(
        &mut self,
        stream: Option<&str>,
        epoch: Option<Epoch>,
        views: Vec<EventView>,
        wire: &mut Wire,
    ) {
        if self.phase != Phase::Active {
            return;
        }
        let stream = self.chain.share(stream);
        let mut views = views.into_iter();
        while let Some(view) = views.next() {
            match self.chain.judge(stream.as_ref(), epoch, view) {
                Next::Duplicate => {}
                Next::Broken => {
                    self.attempts += 1;
                    return self.unsubscribe(Then::Again, wire);
                }
                Next::Accept(event, after) => {
                    if !self.mailbox.push(Update::Event(event)) {
                        return self.overflow(1 + views.len() as u64, wire);
                    }
                    self.chain = after;
                    self.attempts = 0;
                }
            }
        }
    }

    /// A feed's values: they move no position. What finds no room is read again from there.
    pub(super) fn values(
        &mut self,
        stream: &str,
        epoch: Epoch,
        views: Vec<EventView>,
        wire: &mut Wire,
    ) {
        if self.phase != Phase::Active {
            return;
        }
        let Some(stream) = self.chain.share(Some(stream)) else { return };
        for view in views {
            let place = view.at.map(|(offset, prev)| Place {
                stream: stream.clone(),
                position: Position::at(epoch, offset),
                prev,
            });
            let event = Event { place, time_ms: view.time_ms, id: view.id, body: view.body };
            if !self.mailbox.push(Update::Event(event)) {
                return self.unsubscribe(Then::Park, wire);
            }
        }
    }

    /// With the values before it this is what changed up to the position.
    pub(super) fn conflated(&mut self, stream: &str, position: Position) {
        if self.phase == Phase::Active {
            self.chain = Chain::At { stream: stream.into(), position };
            self.attempts = 0;
        }
    }

    pub(super) fn gap(&mut self, push: &GapPush, wire: &mut Wire) {
        if self.phase != Phase::Active {
            return;
        }
        let Some((gap, after)) = self.chain.behind_gap(push) else { return };
        if self.mailbox.push(Update::Gap(gap)) {
            self.chain = after;
        } else {
            self.unsubscribe(Then::Park, wire);
        }
    }

    pub(super) fn skipped(&mut self, count: u64) {
        if self.phase == Phase::Active {
            self.mailbox.push_skipped(count);
        }
    }

    /// The connection is gone.
    pub(super) fn lost(&mut self) -> Fate {
        self.phase = match self.phase {
            Phase::Leaving(Then::Remove, _) => return Fate::Forget,
            // A reader that has taken all by now calls no more.
            Phase::Leaving(Then::Park, _) | Phase::Parked if !self.mailbox.has_room() => {
                Phase::Parked
            }
            Phase::Waiting(at) => Phase::Waiting(at),
            _ => Phase::Idle,
        };
        Fate::Keep
    }

    /// The time in `phase` has come.
    pub(super) fn due(&mut self, wire: &mut Wire) {
        match self.phase {
            Phase::Waiting(at) if at <= wire.now => self.subscribe(wire),
            Phase::Leaving(then, Some(at)) if at <= wire.now => self.unsubscribe(then, wire),
            _ => {}
        }
    }

    /// The time at which it wants to be called.
    pub(super) fn wake(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting(at) | Phase::Leaving(_, Some(at)) => Some(at),
            _ => None,
        }
    }

    /// What the reader has no room for: ephemeral events are counted, others read again later.
    fn overflow(&mut self, events: u64, wire: &mut Wire) {
        if self.chain == Chain::Ephemeral {
            self.mailbox.push_skipped(events);
        } else {
            self.unsubscribe(Then::Park, wire);
        }
    }

    fn unsubscribe(&mut self, then: Then, wire: &mut Wire) {
        let command = Command::Unsubscribe { channel: self.channel.clone() };
        wire.send(command, Waiting::Unsubscribe(self.slot));
        self.phase = Phase::Leaving(then, None);
    }

    /// The server ended it: for good, or until a moment later.
    fn ended(&mut self, error: ReplyError, wire: &mut Wire) -> Fate {
        if error.action != Action::Stop {
            let delay = self.delay(error.retry_after_ms, wire);
            self.wait(delay, wire);
            return Fate::Keep;
        }
        match self.reply.take() {
            Some(reply) => {
                let _ = reply.send(Err(SubscribeError::Refused(error)));
                self.mailbox.end(None);
            }
            None => self.mailbox.end(Some(error)),
        }
        Fate::Forget
    }

    fn wait(&mut self, at_least: Duration, wire: &mut Wire) {
        let delay = self.backoff.delay(self.attempts, &mut wire.jitter).max(at_least);
        self.attempts += 1;
        self.phase = Phase::Waiting(wire.now + delay);
    }

    fn delay(&self, asked_ms: Option<u64>, wire: &mut Wire) -> Duration {
        let backoff = self.backoff.delay(self.attempts, &mut wire.jitter);
        backoff.max(Duration::from_millis(asked_ms.unwrap_or(0)))
    }
}

/// The error that a code on the wire stands for, known to this version or not.
fn refusal(code: &str, action: Action) -> ReplyError {
    let known = Code::from_name(code);
    let message = known.map_or("the server ended the subscription", Code::message);
    ReplyError {
        code: code.to_owned(),
        message: message.to_owned(),
        action,
        ..ReplyError::of(Code::Requested)
    }
}
