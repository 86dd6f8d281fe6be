//! Runs a session on its connection: one task that reads, writes and does what the machine says.

mod ending;
mod lanes;
mod orders;
mod standing;
mod tokens;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use meridian_core::auth::Identity;
use meridian_core::protocol::{
    Bookmark, Code, CommandFrame, HistoryRequest, Message, decode_commands,
};
use meridian_core::vocabulary::{Channel, Stream};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub(crate) use standing::{Next, Standing};

use crate::frame::Format;
use crate::hub::{FollowerRef, LaneId, Offer, Outlet, Turns};
use crate::quota::{Places, SessionQuota};
use crate::session::machine::{Act, Generation, Machine, OpId};
use crate::session::outbox::{Flushed, Outbox, Wrote};
use crate::session::work::{self, Done, Following};
use crate::worker::{Admission, Context};

/// History reads of one session under way at once.
const HISTORIES_AT_ONCE: usize = 4;

/// What a connection received.
#[derive(Debug)]
pub(crate) enum Received {
    /// Whole frames of messages.
    Frames(Vec<Bytes>),
    /// What a request asks for.
    Commands(Vec<CommandFrame>),
    /// Something that only shows that the peer lives.
    Alive,
    /// To be sent back as it is, on lane 0.
    Answer(Bytes),
    /// The connection broke, or the peer closed it: then with the frame that answers its close.
    Closed(Option<Bytes>),
    /// The peer broke the transport's rules.
    Violation(Code),
}

/// A transport's connection as the session's task sees it: reading and closing. Writing goes by lanes.
pub(crate) trait Connection {
    /// Waits for something. Cancel safe.
    fn receive(&mut self) -> impl Future<Output = Received>;

    /// Opens another lane, if the peer lets us.
    fn open_lane(&mut self) -> Option<Box<dyn crate::session::LaneWriter>>;

    /// A message of the session's own on its way out, with its frame: what is to be written of it.
    fn outgoing(&mut self, _message: &Message, frame: Bytes) -> Option<Bytes> {
        Some(frame)
    }

    /// A turn of the session's task is over.
    fn turn(&mut self, _standing: &Standing<'_>) -> Next {
        Next::GoOn
    }

    /// Whether the peer shows that it lives, on a transport where it says nothing.
    fn lives(&self) -> bool {
        false
    }

    /// Closes with the code, and waits a bounded time for the peer to take it.
    fn close(self, code: Code) -> impl Future<Output = ()>;
}

/// A session as the hub writes to it.
pub(crate) struct Session {
    format: Format,
    outbox: RefCell<Outbox>,
    turns: Turns,
    last_sent: Cell<Instant>,
    /// The fan-out wrote since `last_sent` was set; the next tick counts it as just sent.
    sent: Cell<bool>,
    wake: Notify,
}

impl Outlet for Session {
    fn format(&self) -> Format {
        self.format
    }

    fn turns(&self) -> &Turns {
        &self.turns
    }

    fn offer(&self, lane: LaneId, frame: &Bytes) -> Offer {
        let mut outbox = self.outbox.borrow_mut();
        let offer = outbox.offer(lane, frame);
        if offer == Offer::Taken {
            // No look at the clock here: this runs once a delivery.
            self.sent.set(true);
        }
        if outbox.needs_flush() || self.format.answers_a_request() {
            self.wake.notify_one();
        }
        offer
    }

    fn behind(&self, lane: LaneId, follower: FollowerRef) {
        self.outbox.borrow_mut().behind(lane, follower);
        self.wake.notify_one();
    }
}

/// What a session starts with.
pub(crate) struct SessionParts {
    pub(crate) id: u64,
    pub(crate) format: Format,
    pub(crate) transport: &'static str,
    pub(crate) own_lane: Box<dyn crate::session::LaneWriter>,
    /// Lanes for channels beyond the session's own stream, at most.
    pub(crate) lanes: usize,
    /// The token that header or query had.
    pub(crate) token: Option<String>,
    /// From where the client came.
    pub(crate) client: IpAddr,
    /// Counts the session as long as it lives; `None`: its connection is counted and has no other.
    pub(crate) admission: Option<Admission>,
    /// The session answers one request, which resumes from here.
    pub(crate) answers: Option<Bookmark>,
}

/// Whose session it is now; publishes under way look again.
type CurrentIdentity = Rc<RefCell<Option<(Generation, Rc<Identity>)>>>;

struct Driver<C> {
    context: Rc<Context>,
    connection: C,
    session: Rc<Session>,
    machine: Machine,
    work: FuturesUnordered<LocalBoxFuture<'static, Done>>,
    followers: HashMap<Channel, (FollowerRef, Stream, LaneId)>,
    prepared: HashMap<OpId, Following>,
    /// History reads that wait for their turn, and how many are under way.
    histories: VecDeque<(Option<u64>, HistoryRequest)>,
    reading: usize,
    identity: CurrentIdentity,
    lanes: usize,
    no_more_lanes: bool,
    name: Option<crate::names::Ownership>,
    taken_over: CancellationToken,
    closing: Option<Code>,
    id: u64,
    transport: &'static str,
    standing_order: watch::Receiver<crate::orders::StandingOrder>,
    /// The serial of the order that was obeyed last.
    obeyed: u64,
    /// The modes as they were told last.
    modes_told: Option<u64>,
    /// The peer closed in order: what is queued still goes out.
    peer_closed: bool,
    client: IpAddr,
    /// `None`: nothing of it is counted.
    quota: Option<Rc<RefCell<SessionQuota>>>,
    places: Option<Box<Places>>,
    _admission: Option<Admission>,
}

enum Woken {
    Received(Received),
    Done(Done),
    Flushed(Flushed),
    Tick,
    Ordered,
    TakenOver,
}

/// A session, to be run to its end. Everything is built before the future is: what a future is called with
/// takes room in it for as long as it lives, and there are ten thousands of them.
pub(crate) fn session<C: Connection>(
    context: Rc<Context>,
    connection: C,
    parts: SessionParts,
) -> impl Future<Output = ()> {
    let now = Instant::now();
    let outbox = Outbox::new(parts.own_lane);
    let session = Rc::new(Session {
        format: parts.format,
        turns: outbox.turns().clone(),
        outbox: RefCell::new(outbox),
        last_sent: Cell::new(now),
        sent: Cell::new(false),
        wake: Notify::new(),
    });
    context.node.metrics.session_started(parts.transport);
    let name = format!("{}-{}-{}", context.node.settings.node, context.hands.worker, parts.id);
    let settings = context.node.settings.clone();
    let mut machine = Machine::new(settings, name, parts.token, now.into_std());
    if let Some(bookmark) = parts.answers {
        machine = machine.answering(bookmark);
    }
    let mut driver = Driver {
        connection,
        session,
        machine,
        work: FuturesUnordered::new(),
        followers: HashMap::new(),
        prepared: HashMap::new(),
        histories: VecDeque::new(),
        reading: 0,
        identity: Rc::default(),
        lanes: parts.lanes,
        no_more_lanes: false,
        name: None,
        taken_over: CancellationToken::new(),
        closing: None,
        id: parts.id,
        transport: parts.transport,
        standing_order: context.node.standing_order(),
        obeyed: 0,
        modes_told: context.node.modes.all_normal().then(|| context.node.mode_serial()),
        peer_closed: false,
        client: parts.client,
        quota: context.node.quotas.session(now.into_std()),
        places: None,
        _admission: parts.admission,
        context,
    };
    async move {
        driver.run().await;
        // In a box of its own: it is needed once, at the end.
        Box::pin(driver.finish()).await;
    }
}

impl<C: Connection> Driver<C> {
    async fn run(&mut self) {
        // Before the first frame: an order that stood already is none for a client that was sent here.
        if self.standing_order.has_changed().unwrap_or(false) {
            self.obey();
        }
        while self.closing.is_none() {
            match self.next().await {
                Woken::Received(received) => {
                    if !self.received(received) {
                        return;
                    }
                }
                Woken::Done(done) => self.done(done),
                Woken::Flushed(Flushed::Broken) => return,
                Woken::Flushed(Flushed::More) => tokio::task::yield_now().await,
                Woken::Flushed(_) => {}
                Woken::Tick => {
                    if self.session.sent.take() {
                        self.session.last_sent.set(Instant::now());
                    }
                    let (now, sent) = (Instant::now().into_std(), self.session.last_sent.get());
                    if self.connection.lives() {
                        self.machine.heard(now);
                    }
                    let acts = self.machine.tick(now, sent.into_std());
                    self.act(acts);
                }
                Woken::Ordered => self.obey(),
                Woken::TakenOver => {
                    let acts = self.machine.shut(Code::TakenOver);
                    self.act(acts);
                }
            }
            self.end_stopped_lanes();
            self.end_turn();
            self.context.hands.ring();
        }
    }

    async fn next(&mut self) -> Woken {
        self.start_histories();
        let session = self.session.clone();
        let tick = self.machine.next_tick(session.last_sent.get().into_std());
        let queued = session.outbox.borrow().queued_bytes();
        let reads = self.machine.wants_more() && queued < self.context.node.settings.queued_bytes;
        let flushes = session.outbox.borrow().needs_flush();
        // Whoever is ready gets a turn: a client that reads fast must be heard while it catches up.
        tokio::select! {
            () = self.taken_over.cancelled() => Woken::TakenOver,
            Ok(()) = self.standing_order.changed() => Woken::Ordered,
            Some(done) = self.work.next(), if !self.work.is_empty() => Woken::Done(done),
            flushed = flush(&session, &self.context), if flushes => Woken::Flushed(flushed),
            () = session.wake.notified() => Woken::Flushed(Flushed::Idle),
            received = self.connection.receive(), if reads => Woken::Received(received),
            () = sleep_until(tick.map_or_else(Instant::now, Instant::from_std)), if tick.is_some() => Woken::Tick,
        }
    }

    /// Whether the session goes on.
    fn received(&mut self, received: Received) -> bool {
        match received {
            Received::Closed(answer) => {
                if let Some(frame) = answer {
                    self.session.outbox.borrow_mut().send(0, frame);
                    self.peer_closed = true;
                }
                return false;
            }
            Received::Alive => self.machine.heard(Instant::now().into_std()),
            Received::Answer(frame) => {
                self.machine.heard(Instant::now().into_std());
                self.session.outbox.borrow_mut().send(0, frame);
            }
            Received::Violation(code) => {
                let acts = self.machine.shut(code);
                self.act(acts);
            }
            Received::Frames(frames) => {
                for frame in frames {
                    self.frame(&frame);
                }
            }
            Received::Commands(commands) => {
                let acts = self.commands(commands);
                self.act(acts);
            }
        }
        true
    }

    fn frame(&mut self, frame: &[u8]) {
        let acts = match decode_commands(self.session.format.codec, frame) {
            Ok(commands) => self.commands(commands),
            Err(_) => self.machine.shut(Code::Malformed),
        };
        self.act(acts);
    }

    fn commands(&mut self, commands: Vec<CommandFrame>) -> Vec<Act> {
        self.context.node.metrics.commands(commands.len());
        self.machine.frame(commands, Instant::now().into_std())
    }

    fn done(&mut self, done: Done) {
        let acts = match done {
            Done::Followed { op, generation, channel, start, result } => {
                let outcome = result.as_ref().err().map_or("ok", |error| error.code.as_str());
                self.context.node.metrics.subscribed(start, outcome);
                let result = result.map(|following| {
                    self.prepared.insert(op, following);
                });
                self.machine.followed(op, generation, channel, result)
            }
            Done::Authorised { generation, channel, decision } => {
                self.machine.authorised(generation, &channel, decision, Instant::now().into_std())
            }
            Done::Verified(result) => return self.verified(result),
            Done::Replied(message) => self.machine.finished(message),
            Done::Read(message) => {
                self.reading -= 1;
                self.machine.finished(message)
            }
        };
        self.act(acts);
    }

    fn act(&mut self, acts: Vec<Act>) {
        for act in acts {
            self.act_one(act);
        }
    }

    fn act_one(&mut self, act: Act) {
        match act {
            Act::Send(message) => self.send(0, &message),
            Act::SendOn(channel, message) => {
                let lane = self.lane_of(&channel);
                self.send(lane, &message);
            }
            Act::Verify { token } => self.verify(token),
            Act::Told { reconnect, fallback, redirected } => {
                let metrics = &self.context.node.metrics;
                metrics.came_redirected(redirected.as_deref());
                metrics.told(self.transport, reconnect.as_deref(), fallback.as_ref());
            }
            Act::TakeName(subscriber) => {
                if let Some((_, identity)) = self.machine.identity() {
                    let names = self.context.node.names.clone();
                    self.name = Some(names.take(&identity, subscriber, self.taken_over.clone()));
                }
            }
            Act::Follow { op, generation, channel, from } => {
                if let Some((_, identity)) = self.machine.identity() {
                    let context = self.context.clone();
                    self.start(work::follow(context, identity, op, generation, channel, from));
                }
            }
            Act::Attach { op, channel, reply_to } => self.attach(op, channel, reply_to),
            Act::Abandon { op } => drop(self.prepared.remove(&op)),
            Act::Detach(channel) => self.detach(&channel),
            Act::Pause(channel) => {
                if let Some((follower, ..)) = self.followers.get(&channel) {
                    self.context.hands.hub.borrow_mut().pause(*follower);
                }
            }
            Act::Resume(channel) => {
                if let Some((follower, ..)) = self.followers.get(&channel) {
                    self.context.hands.hub.borrow_mut().resume(*follower);
                }
            }
            Act::Authorise { generation, channel } => {
                if let Some((_, identity)) = self.machine.identity() {
                    let context = self.context.clone();
                    self.start(work::reauthorise(context, identity, generation, channel));
                }
            }
            Act::Publish { op: _, id, items, batch } => {
                let (context, identity) = (self.context.clone(), self.identity.clone());
                let whose = move || identity.borrow().clone();
                let quota = self.quota.clone();
                self.start(work::publish(context, quota, whose, id, items, batch));
            }
            Act::History { op: _, id, request } => {
                self.histories.push_back((id, request));
            }
            Act::Ack { op: _, id, ack, key } => self.acknowledge(id, ack, key),
            Act::Close(code) => self.closing = Some(code),
        }
        *self.identity.borrow_mut() = self.machine.identity();
    }

    /// Starts history reads that wait, few at once: their replies are large, and a client that asks and
    /// does not read must not fill our memory.
    fn start_histories(&mut self) {
        let limit = self.context.node.settings.queued_bytes;
        while self.reading < HISTORIES_AT_ONCE
            && self.session.outbox.borrow().queued_bytes() < limit
            && let Some((_, identity)) = self.machine.identity()
            && let Some((id, request)) = self.histories.pop_front()
        {
            self.reading += 1;
            self.start(work::history(self.context.clone(), identity, id, request));
        }
    }

    fn start(&mut self, work: impl Future<Output = Done> + 'static) {
        self.work.push(Box::pin(work));
    }

    fn send(&mut self, lane: LaneId, message: &Message) {
        match message {
            Message::Error(_, error) => self.context.node.metrics.refused(error),
            Message::Redirect(redirect) => self.context.node.metrics.redirected(&redirect.reason),
            _ => {}
        }
        let frame = self.session.format.message(message);
        if let Some(frame) = self.connection.outgoing(message, frame) {
            self.session.outbox.borrow_mut().send(lane, frame);
        }
    }
}

/// Flushes once; waits only while every lane that has something waits for room.
async fn flush(session: &Session, context: &Context) -> Flushed {
    std::future::poll_fn(|task| {
        let mut outbox = session.outbox.borrow_mut();
        let mut scratch = context.scratch.borrow_mut();
        let (flushed, wrote) = outbox.poll_flush(task, &context.hands.hub, &mut scratch);
        if wrote == Wrote::Some {
            session.last_sent.set(Instant::now());
        }
        if flushed == Flushed::Blocked && wrote == Wrote::Nothing {
            return Poll::Pending;
        }
        Poll::Ready(flushed)
    })
    .await
}
