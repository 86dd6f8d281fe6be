//! What a session does about each thing that happens to it. Pure: no socket, no store, no clock; it
//! is told the time and answers with actions.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meridian_core::auth::{Decision, Identity};
use meridian_core::protocol::{
    Ack, Code, Command, CommandFrame, Connect, Connected, HistoryRequest, Limits, Message,
    PublishItem, ReplyError, Subscribe,
};
use meridian_core::seams::AcknowledgedKey;
use meridian_core::vocabulary::{Channel, Cursor, SubscriberName};

use super::bucket::Bucket;
use crate::delivery::From;

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
    pub(crate) commands_burst: u32,
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
    /// A drain's deadline.
    leave_by: Option<Instant>,
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
            bucket: Bucket::new(limits.commands_per_s as u32, settings.commands_burst, now),
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
        }
    }

    /// Whose session it is, once that is known, with the generation of the token.
    pub(crate) fn identity(&self) -> Option<(Generation, Rc<Identity>)> {
        match &self.state {
            State::Open(open) => Some((self.generation, open.identity.clone())),
            _ => None,
        }
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
        if let Err(wait) = self.bucket.take(now) {
            self.violations += 1;
            if self.violations >= RATE_VIOLATIONS {
                return self.close(Code::RateLimited, acts);
            }
            let error = ReplyError::of(Code::RateLimited)
                .retry_after(wait.as_millis() as u64 + 1)
                .limit(self.settings.limits.commands_per_s);
            return acts.push(Act::Send(Message::Error(id, error)));
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

    fn begin_connect(&mut self, id: Option<u64>, mut connect: Connect, acts: &mut Vec<Act>) {
        if connect.protocol == 0 {
            return refuse(id, Code::Unsupported, acts);
        }
        let token = connect.token.take().or_else(|| self.token.take());
        self.state = State::Connecting { id, connect, waiting: Vec::new() };
        acts.push(Act::Verify { token });
    }

    fn open_command(&mut self, id: Option<u64>, command: Command, acts: &mut Vec<Act>) {
        match command {
            Command::Connect(_) => refuse(id, Code::AlreadyConnected, acts),
            Command::Subscribe(subscribe) => self.subscribe(id, subscribe, acts),
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

    fn subscribe(&mut self, id: Option<u64>, subscribe: Subscribe, acts: &mut Vec<Act>) {
        let Ok(channel) = Channel::parse(&subscribe.channel) else {
            return refuse(id, Code::BadChannel, acts);
        };
        if self.subscriptions.contains_key(&channel) {
            return refuse(id, Code::AlreadySubscribed, acts);
        }
        if self.subscriptions.len() as u64 >= self.settings.limits.channels {
            let limit = self.settings.limits.channels;
            let error = ReplyError::of(Code::TooManyChannels).limit(limit);
            return acts.push(Act::Send(Message::Error(id, error)));
        }
        match self.start_of(&channel, &subscribe) {
            Ok(from) => self.follow(id, channel, from, acts),
            Err(code) => refuse(id, code, acts),
        }
    }

    fn start_of(&self, channel: &Channel, subscribe: &Subscribe) -> Result<From, Code> {
        let last = subscribe.last.map_or(0, |last| last as usize);
        match (&subscribe.cursor, subscribe.acked) {
            (Some(_), true) => Err(Code::BadRequest),
            (Some(_), false) if subscribe.last.is_some() => Err(Code::BadRequest),
            (Some(text), false) => {
                Ok(From::Cursor(Cursor::parse(text).map_err(|_| Code::BadCursor)?))
            }
            (None, true) => {
                let key = self.acknowledged_key(channel).ok_or(Code::NoSubscriber)?;
                Ok(From::Acked { key, last })
            }
            (None, false) if last > 0 => Ok(From::Last(last)),
            (None, false) => Ok(From::Now),
        }
    }

    fn acknowledged_key(&self, channel: &Channel) -> Option<AcknowledgedKey> {
        let State::Open(open) = &self.state else { return None };
        Some(AcknowledgedKey {
            tenant: open.identity.tenant.clone(),
            user: open.identity.user.clone(),
            subscriber: open.subscriber.clone()?,
            channel: channel.clone(),
        })
    }

    fn follow(&mut self, id: Option<u64>, channel: Channel, from: From, acts: &mut Vec<Act>) {
        let op = self.begin();
        let starting = Subscription::Starting { op, id, from: from.clone() };
        self.subscriptions.insert(channel.clone(), starting);
        acts.push(Act::Follow { op, generation: self.generation, channel, from });
    }

    /// A channel was followed, or could not be; `generation` is that of the token that allowed it.
    pub(crate) fn followed(
        &mut self,
        op: OpId,
        generation: Generation,
        channel: Channel,
        result: Result<(), ReplyError>,
    ) -> Vec<Act> {
        self.in_flight -= 1;
        let mut acts = Vec::new();
        let (id, from) = match self.subscriptions.get(&channel) {
            Some(Subscription::Starting { op: wanted, id, from }) if *wanted == op => {
                (*id, from.clone())
            }
            // Unsubscribed meanwhile.
            _ => return vec![Act::Abandon { op }],
        };
        if self.is_closed() {
            return vec![Act::Abandon { op }];
        }
        if generation != self.generation {
            acts.push(Act::Abandon { op });
            self.follow(id, channel, from, &mut acts);
            return acts;
        }
        match result {
            Ok(()) => {
                self.subscriptions.insert(channel.clone(), Subscription::Active);
                acts.push(Act::Attach { op, channel, reply_to: id });
            }
            Err(error) => {
                self.subscriptions.remove(&channel);
                let message = match id {
                    Some(_) => Message::Error(id, error),
                    None => Message::Unsubscribed {
                        id: None,
                        channel: channel.as_str().to_owned(),
                        code: error.code,
                    },
                };
                acts.push(Act::Send(message));
            }
        }
        acts
    }

    fn unsubscribe(&mut self, id: Option<u64>, channel: &str, acts: &mut Vec<Act>) {
        let Ok(channel) = Channel::parse(channel) else {
            return refuse(id, Code::BadChannel, acts);
        };
        match self.subscriptions.remove(&channel) {
            None => refuse(id, Code::NotSubscribed, acts),
            Some(subscription) => {
                if matches!(subscription, Subscription::Active) {
                    acts.push(Act::Detach(channel.clone()));
                }
                acts.push(ended(id, channel, Code::Requested));
            }
        }
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

    fn ack(&mut self, id: Option<u64>, ack: Ack, acts: &mut Vec<Act>) {
        let Ok(channel) = Channel::parse(&ack.channel) else {
            return refuse(id, Code::BadChannel, acts);
        };
        let Some(key) = self.acknowledged_key(&channel) else {
            return refuse(id, Code::NoSubscriber, acts);
        };
        match self.subscriptions.get(&channel) {
            Some(Subscription::Active) => {
                let op = self.begin();
                acts.push(Act::Ack { op, id, ack, key });
            }
            _ => refuse(id, Code::NotSubscribed, acts),
        }
    }

    /// A publish, history read or ack is done: its reply.
    pub(crate) fn finished(&mut self, reply: Message) -> Vec<Act> {
        self.in_flight -= 1;
        // Without an id nobody waits for the reply.
        if self.is_closed() || reply.id().is_none() { Vec::new() } else { vec![Act::Send(reply)] }
    }

    fn begin_refresh(&mut self, id: Option<u64>, token: String, acts: &mut Vec<Act>) {
        let State::Open(open) = &mut self.state else { return };
        if open.refresh.is_some() {
            let error = ReplyError::of(Code::RateLimited).retry_after(1000);
            return acts.push(Act::Send(Message::Error(id, error)));
        }
        open.refresh = Some(Refresh { id, undecided: None });
        acts.push(Act::Verify { token: Some(token) });
    }

    /// A token was checked: that of `connect`, or that of a refresh. `expires_at` is its end.
    pub(crate) fn verified(
        &mut self,
        result: Result<(Rc<Identity>, Option<Instant>), Code>,
        now: Instant,
    ) -> Vec<Act> {
        let mut acts = Vec::new();
        match &mut self.state {
            State::Connecting { .. } => match result {
                Ok((identity, expires_at)) => self.connected(identity, expires_at, now, &mut acts),
                Err(code) => {
                    if let State::Connecting { id, .. } = &self.state {
                        refuse(*id, code, &mut acts);
                    }
                    self.close(code, &mut acts);
                }
            },
            State::Open(_) => self.refreshed(result, now, &mut acts),
            _ => {}
        }
        acts
    }

    fn connected(
        &mut self,
        identity: Rc<Identity>,
        expires_at: Option<Instant>,
        now: Instant,
        acts: &mut Vec<Act>,
    ) {
        let State::Connecting { id, connect, waiting } =
            std::mem::replace(&mut self.state, State::Closed)
        else {
            return;
        };
        let subscriber = match connect.subscriber.as_deref().map(SubscriberName::parse).transpose()
        {
            Ok(subscriber) => subscriber,
            Err(_) => {
                refuse(id, Code::BadRequest, acts);
                return self.close(Code::BadRequest, acts);
            }
        };
        let settings = &self.settings;
        let connected = Connected {
            protocol: connect.protocol.min(PROTOCOL),
            session: self.session.clone(),
            node: settings.node.clone(),
            region: settings.region.clone(),
            tenant: identity.tenant.as_str().to_owned(),
            user: identity.user.as_str().to_owned(),
            capabilities: Vec::new(),
            expires_in_ms: expires_at.map(|at| millis(at, now)),
            limits: settings.limits,
        };
        acts.push(Act::Send(Message::Connected(id, Box::new(connected))));
        let server_made = identity.subscribe.clone();
        if let Some(name) = &subscriber {
            acts.push(Act::TakeName(name.clone()));
        }
        self.generation = 1;
        self.state = State::Open(Open { identity, subscriber, expires_at, refresh: None });
        for channel in server_made {
            if !self.subscriptions.contains_key(&channel) {
                self.follow(None, channel, From::Now, acts);
            }
        }
        for frame in waiting {
            self.command(frame, now, acts);
        }
    }

    fn refreshed(
        &mut self,
        result: Result<(Rc<Identity>, Option<Instant>), Code>,
        now: Instant,
        acts: &mut Vec<Act>,
    ) {
        let State::Open(open) = &mut self.state else { return };
        let Some(refresh) = &mut open.refresh else { return };
        let id = refresh.id;
        let refusal = match result {
            Err(code) => Some(code),
            Ok((identity, expires_at)) => {
                if identity.tenant != open.identity.tenant || identity.user != open.identity.user {
                    Some(Code::WrongIdentity)
                } else {
                    open.identity = identity;
                    open.expires_at = expires_at;
                    None
                }
            }
        };
        if let Some(code) = refusal {
            open.refresh = None;
            return refuse(id, code, acts);
        }
        self.generation += 1;
        let active: Vec<Channel> = self
            .subscriptions
            .iter()
            .filter(|(_, subscription)| matches!(subscription, Subscription::Active))
            .map(|(channel, _)| channel.clone())
            .collect();
        acts.extend(active.iter().cloned().map(Act::Pause));
        let generation = self.generation;
        acts.extend(active.iter().cloned().map(|channel| Act::Authorise { generation, channel }));
        refresh.undecided = Some(active);
        self.finish_refresh(now, acts);
    }

    /// A subscription was decided about under the token of `generation`.
    pub(crate) fn authorised(
        &mut self,
        generation: Generation,
        channel: &Channel,
        decision: Decision,
        now: Instant,
    ) -> Vec<Act> {
        let mut acts = Vec::new();
        if generation != self.generation {
            return acts;
        }
        if let State::Open(Open {
            refresh: Some(Refresh { undecided: Some(undecided), .. }), ..
        }) = &mut self.state
        {
            undecided.retain(|waiting| waiting != channel);
        }
        if self.subscriptions.contains_key(channel) {
            let refusal = match decision {
                Decision::Allow => None,
                Decision::Deny => Some(Code::Forbidden),
                Decision::Unavailable => Some(Code::AuthoriserUnavailable),
            };
            match refusal {
                None => acts.push(Act::Resume(channel.clone())),
                Some(code) => acts.extend(self.end(channel, code)),
            }
        }
        self.finish_refresh(now, &mut acts);
        acts
    }

    fn finish_refresh(&mut self, now: Instant, acts: &mut Vec<Act>) {
        let State::Open(open) = &mut self.state else { return };
        if let Some(Refresh { id, undecided: Some(undecided) }) = &open.refresh
            && undecided.is_empty()
        {
            let expires_in_ms = open.expires_at.map(|at| millis(at, now));
            acts.push(Act::Send(Message::Refreshed { id: *id, expires_in_ms }));
            open.refresh = None;
        }
    }

    /// Ends a subscription from the server's side.
    pub(crate) fn end(&mut self, channel: &Channel, code: Code) -> Vec<Act> {
        match self.subscriptions.remove(channel) {
            None => Vec::new(),
            Some(_) => vec![Act::Detach(channel.clone()), ended(None, channel.clone(), code)],
        }
    }

    /// The server has a reason to close.
    pub(crate) fn shut(&mut self, code: Code) -> Vec<Act> {
        let mut acts = Vec::new();
        self.close(code, &mut acts);
        acts
    }

    /// Tells the client to move.
    pub(crate) fn drain(&mut self, after: Duration, deadline: Duration, now: Instant) -> Vec<Act> {
        match self.state {
            State::Open(_) => {
                self.leave_by = Some(now + deadline);
                vec![Act::Send(Message::Drain {
                    after_ms: after.as_millis() as u64,
                    deadline_ms: deadline.as_millis() as u64,
                })]
            }
            _ => self.shut(Code::Draining),
        }
    }

    fn close(&mut self, code: Code, acts: &mut Vec<Act>) {
        if !self.is_closed() {
            self.state = State::Closed;
            acts.push(Act::Close(code));
        }
    }

    /// Time passed; `last_sent` is when bytes last went out. To be called at `next_tick` at the latest.
    pub(crate) fn tick(&mut self, now: Instant, last_sent: Instant) -> Vec<Act> {
        let mut acts = Vec::new();
        let heartbeat = self.heartbeat();
        match &self.state {
            State::AwaitingConnect { until } if now >= *until => {
                self.close(Code::ConnectTimeout, &mut acts);
            }
            State::Open(open) => {
                if self.leave_by.is_some_and(|at| now >= at) {
                    self.close(Code::Draining, &mut acts);
                } else if open.expires_at.is_some_and(|at| now >= at) {
                    self.close(Code::TokenExpired, &mut acts);
                } else if now >= self.last_heard + heartbeat * 2 {
                    self.close(Code::HeartbeatTimeout, &mut acts);
                } else if now >= self.ping_at(last_sent) {
                    self.last_ping = now;
                    acts.push(Act::Send(Message::Ping));
                }
            }
            _ => {}
        }
        acts
    }

    fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.settings.limits.heartbeat_ms)
    }

    fn ping_at(&self, last_sent: Instant) -> Instant {
        self.last_heard.min(last_sent).max(self.last_ping) + self.heartbeat()
    }

    /// When `tick` must be called.
    pub(crate) fn next_tick(&self, last_sent: Instant) -> Option<Instant> {
        match &self.state {
            State::AwaitingConnect { until } => Some(*until),
            State::Open(open) => {
                let silence = self.last_heard + self.heartbeat() * 2;
                let next = silence.min(self.ping_at(last_sent));
                [open.expires_at, self.leave_by].into_iter().flatten().chain([next]).min()
            }
            State::Connecting { .. } | State::Closed => None,
        }
    }
}

fn refuse(id: Option<u64>, code: Code, acts: &mut Vec<Act>) {
    acts.push(Act::Send(Message::Error(id, ReplyError::of(code))));
}

fn ended(id: Option<u64>, channel: Channel, code: Code) -> Act {
    let name = channel.as_str().to_owned();
    Act::SendOn(channel, Message::Unsubscribed { id, channel: name, code: code.name().to_owned() })
}

fn millis(at: Instant, now: Instant) -> u64 {
    at.saturating_duration_since(now).as_millis() as u64
}
