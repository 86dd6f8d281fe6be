//! What a session does about each thing that happens to it. Pure: no socket, no store, no clock; it
//! is told the time and answers with actions.

mod leaving;
mod subscriptions;
mod timing;
mod tokens;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meridian_core::auth::Identity;
use meridian_core::protocol::{
    Ack, Bookmark, Code, Command, CommandFrame, Connect, Fallback, HistoryRequest, Limits, Message,
    ModePush, Place, PublishItem, Redirect, ReplyError,
};
use meridian_core::seams::AcknowledgedKey;
use meridian_core::vocabulary::{Channel, SubscriberName};

use crate::delivery::From;
use crate::room::Came;
use crate::session::bucket::Bucket;

/// The protocol's version that this server speaks.
const PROTOCOL: u32 = 1;
/// Refusals by rate, in one bucket's time, after which the connection is closed.
const RATE_VIOLATIONS: u32 = 100;

/// What every session of a node is told.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) node: String,
    pub(crate) region: String,
    pub(crate) limits: Limits,
    /// The other regions, for whom this node has no room for.
    pub(crate) others: Vec<Place>,
    /// Replies that may wait for a client that does not read, in bytes; beyond it its commands wait.
    pub(crate) queued_bytes: usize,
    pub(crate) connect_timeout: Duration,
    /// Commands that may be under way at once; more wait in the socket.
    pub(crate) commands_in_flight: usize,
}

/// Numbers the things that a session has under way.
pub(crate) type OpId = u64;

/// Each refresh makes a new one; a decision belongs to the one that it was taken under.
pub(crate) type Generation = u32;

/// What is to be done for the session.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Act {
    /// Send on the session's own stream.
    Send(Message),
    /// Send on the channel's lane.
    SendOn(Channel, Message),
    /// Check the token, then call `verified`.
    Verify {
        token: Option<String>,
    },
    /// What the client told of itself, for the metrics.
    Told {
        reconnect: Option<String>,
        fallback: Option<Fallback>,
        redirected: Option<String>,
    },
    /// This session now owns the subscriber name.
    TakeName(SubscriberName),
    /// Authorise, follow, find the start, then call `followed`.
    Follow {
        op: OpId,
        generation: Generation,
        channel: Channel,
        from: From,
    },
    /// Say `subscribed` on the channel's lane and attach it to the hub.
    Attach {
        op: OpId,
        channel: Channel,
        reply_to: Option<u64>,
    },
    /// Let go of what `Follow` had prepared.
    Abandon {
        op: OpId,
    },
    /// Take nothing more for the channel, and forget it.
    Detach(Channel),
    Pause(Channel),
    Resume(Channel),
    /// Decide about the subscription anew, then call `authorised`.
    Authorise {
        generation: Generation,
        channel: Channel,
    },
    /// Publish, then call `finished`.
    Publish {
        op: OpId,
        id: Option<u64>,
        items: Vec<PublishItem>,
        batch: bool,
    },
    /// Read, then call `finished`.
    History {
        op: OpId,
        id: Option<u64>,
        request: HistoryRequest,
    },
    /// Record, then call `finished`.
    Ack {
        op: OpId,
        id: Option<u64>,
        ack: Ack,
        key: AcknowledgedKey,
    },
    Close(Code),
}

#[derive(Debug)]
enum State {
    /// Nothing came yet.
    AwaitingConnect {
        until: Instant,
    },
    /// The token of `connect` is being checked; what came meanwhile waits.
    Connecting {
        id: Option<u64>,
        connect: Connect,
        waiting: Vec<CommandFrame>,
    },
    Open(Open),
    Closed,
}

#[derive(Debug)]
struct Open {
    identity: Rc<Identity>,
    subscriber: Option<SubscriberName>,
    expires_at: Option<Instant>,
    /// A refresh that waits for its token's check, or for the decisions after it.
    refresh: Option<Refresh>,
}

#[derive(Debug)]
struct Refresh {
    id: Option<u64>,
    /// Subscriptions still to be decided; `None`: the token itself is being checked.
    undecided: Option<Vec<Channel>>,
}

#[derive(Debug)]
enum Subscription {
    /// Being followed by this operation.
    Starting {
        op: OpId,
        id: Option<u64>,
        from: From,
    },
    Active,
}

pub(crate) struct Machine {
    settings: Arc<Settings>,
    session: String,
    token: Option<String>,
    state: State,
    generation: Generation,
    subscriptions: HashMap<Channel, Subscription>,
    next_op: OpId,
    in_flight: usize,
    bucket: Bucket,
    violations: u32,
    last_heard: Instant,
    last_ping: Instant,
    /// The deadline of a drain, or of a redirect that has one.
    leave_by: Option<Instant>,
    /// Where to send a client that has not connected yet.
    diverted: Option<Box<Redirect>>,
    /// The session answers one request, which resumes from here.
    answers: Option<Box<Bookmark>>,
    /// Told as soon as the client has connected.
    mode: Option<Box<ModePush>>,
}

impl Machine {
    /// A session whose transport just opened; `token` is what header or query had.
    pub(crate) fn new(
        settings: Arc<Settings>,
        session: String,
        token: Option<String>,
        now: Instant,
    ) -> Self {
        let limits = settings.limits;
        Self {
            state: State::AwaitingConnect { until: now + settings.connect_timeout },
            bucket: Bucket::new(limits.commands_per_s as u32, limits.commands_burst as u32, now),
            settings,
            session,
            token,
            generation: 0,
            subscriptions: HashMap::new(),
            next_op: 0,
            in_flight: 0,
            violations: 0,
            last_heard: now,
            last_ping: now,
            leave_by: None,
            diverted: None,
            answers: None,
            mode: None,
        }
    }

    /// The session answers one request: what the request says of a channel goes before what its token
    /// does, and the bookmark before both.
    pub(crate) fn answering(mut self, bookmark: Bookmark) -> Self {
        self.answers = Some(Box::new(bookmark));
        self
    }

    /// Whose session it is, once that is known, with the generation of the token.
    pub(crate) fn identity(&self) -> Option<(Generation, Rc<Identity>)> {
        match &self.state {
            State::Open(open) => Some((self.generation, open.identity.clone())),
            _ => None,
        }
    }

    /// How the client came whose token is being checked to let it in; `None`: it is in already.
    pub(crate) fn came(&self) -> Option<Came> {
        match &self.state {
            State::Connecting { connect, .. } if connect.redirected.is_some() => Some(Came::Sent),
            State::Connecting { .. } => Some(Came::Itself),
            _ => None,
        }
    }

    /// Whether a subscription is still being made.
    pub(crate) fn is_starting(&self) -> bool {
        let starts = |made: &Subscription| matches!(made, Subscription::Starting { .. });
        self.subscriptions.values().any(starts)
    }

    /// Whether more commands may be read now.
    pub(crate) fn wants_more(&self) -> bool {
        self.in_flight < self.settings.commands_in_flight && !matches!(self.state, State::Closed)
    }

    /// Whether the connection may be over.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Bytes came, whatever they are.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.last_heard = now;
    }

    /// A frame was read.
    pub(crate) fn frame(&mut self, commands: Vec<CommandFrame>, now: Instant) -> Vec<Act> {
        self.heard(now);
        let mut acts = Vec::new();
        for frame in commands {
            if self.is_closed() {
                break;
            }
            self.command(frame, now, &mut acts);
        }
        acts
    }

    fn command(&mut self, frame: CommandFrame, now: Instant, acts: &mut Vec<Act>) {
        if let State::Connecting { waiting, .. } = &mut self.state {
            if waiting.len() < self.settings.limits.channels as usize + 64 {
                waiting.push(frame);
            } else {
                self.close(Code::RateLimited, acts);
            }
            return;
        }
        let CommandFrame { id, command } = frame;
        if matches!(command, Command::Pong) {
            return;
        }
        match self.bucket.take(now) {
            Ok(()) => self.violations = self.violations.saturating_sub(1),
            Err(wait) => return self.too_fast(id, wait, acts),
        }
        match (&self.state, command) {
            (State::AwaitingConnect { .. }, Command::Connect(connect)) => {
                self.begin_connect(id, connect, acts);
            }
            (State::AwaitingConnect { .. }, _) => refuse(id, Code::NotConnected, acts),
            (State::Open(_), command) => self.open_command(id, command, acts),
            _ => {}
        }
    }

    /// Commands that were refused are told different times, or they would all come back at once.
    fn too_fast(&mut self, id: Option<u64>, wait: Duration, acts: &mut Vec<Act>) {
        self.violations += 1;
        if self.violations >= RATE_VIOLATIONS {
            return self.close(Code::RateLimited, acts);
        }
        let limit = self.settings.limits.commands_per_s;
        let turn_ms = u64::from(self.violations - 1) * 1000 / limit.max(1);
        let error = ReplyError::of(Code::RateLimited)
            .retry_after(wait.as_millis() as u64 + 1 + turn_ms)
            .limit(limit);
        acts.push(Act::Send(Message::Error(id, error)));
    }

    fn open_command(&mut self, id: Option<u64>, command: Command, acts: &mut Vec<Act>) {
        match command {
            Command::Connect(_) => refuse(id, Code::AlreadyConnected, acts),
            Command::Subscribe(subscribe) => self.subscribe(id, &subscribe, acts),
            Command::Unsubscribe { channel } => self.unsubscribe(id, &channel, acts),
            Command::Publish(item) => self.publish(id, vec![item], false, acts),
            Command::PublishBatch { events } => self.publish(id, events, true, acts),
            Command::Ack(ack) => self.ack(id, ack, acts),
            Command::History(request) => {
                let op = self.begin();
                acts.push(Act::History { op, id, request });
            }
            Command::Refresh { token } => self.begin_refresh(id, token, acts),
            Command::Ping => acts.push(Act::Send(Message::Pong { id })),
            Command::Pong => {}
            Command::Unknown => refuse(id, Code::Unsupported, acts),
            Command::Invalid => refuse(id, Code::BadRequest, acts),
        }
    }

    fn begin(&mut self) -> OpId {
        self.next_op += 1;
        self.in_flight += 1;
        self.next_op
    }

    fn publish(
        &mut self,
        id: Option<u64>,
        items: Vec<PublishItem>,
        batch: bool,
        acts: &mut Vec<Act>,
    ) {
        let limit = self.settings.limits.batch_events;
        if items.len() as u64 > limit {
            let error = ReplyError::of(Code::BatchTooLarge).limit(limit);
            return acts.push(Act::Send(Message::Error(id, error)));
        }
        let op = self.begin();
        acts.push(Act::Publish { op, id, items, batch });
    }

    /// A publish, history read or ack is done: its reply.
    pub(crate) fn finished(&mut self, reply: Message) -> Vec<Act> {
        self.in_flight -= 1;
        // Without an id nobody waits for the reply.
        if self.is_closed() || reply.id().is_none() { Vec::new() } else { vec![Act::Send(reply)] }
    }

    /// The server has a reason to close.
    pub(crate) fn shut(&mut self, code: Code) -> Vec<Act> {
        let mut acts = Vec::new();
        self.close(code, &mut acts);
        acts
    }

    fn close(&mut self, code: Code, acts: &mut Vec<Act>) {
        if !self.is_closed() {
            self.state = State::Closed;
            acts.push(Act::Close(code));
        }
    }
}

fn refuse(id: Option<u64>, code: Code, acts: &mut Vec<Act>) {
    acts.push(Act::Send(Message::Error(id, ReplyError::of(code))));
}

fn ended(id: Option<u64>, channel: Channel, code: Code) -> Act {
    let name = channel.as_str().to_owned();
    Act::SendOn(
        channel,
        Message::Unsubscribed {
            id,
            channel: name,
            code: code.name().to_owned(),
            action: code.action(),
        },
    )
}

fn millis(at: Instant, now: Instant) -> u64 {
    at.saturating_duration_since(now).as_millis() as u64
}
