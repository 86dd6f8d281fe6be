//! A region in one thread: the real router and the real edge on stores in memory, and clients behind
//! lanes that take as much as a test lets them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use meridian_core::embedded::faulty::BackplaneFaults;
use meridian_core::embedded::{BackplaneOptions, InProcessBackplane};
use meridian_core::policy::{DeliveryClass, Policies, Policy};
use meridian_core::protocol::FrameReader;
use meridian_core::seams::{Backplane, History, Log};
use meridian_core::vocabulary::{
    Body, ChannelKey, Cursor, EventId, Namespace, Position, Record, Scope, Stream,
};
use meridian_region_router::apply::{Decision, Heads, Incoming, Start, State, Window, WindowRules};
use meridian_region_router::{Options, Router};
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle, JoinSet, spawn_local};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::memory::{MemoryHistory, MemoryLog};
use super::slow::{Faulty, Slow};
use crate::delivery::start::Start as Found;
use crate::delivery::{Distributor, From, Hands, HubInput, Stores, resolve, run_jobs};
use crate::frame::Format;
use crate::hub::testing::{Chain, FORMAT, key, messages};
use crate::hub::{Bounds, FollowerRef, Hub, LaneId, Offer, Outlet, RingBounds, Slice, Turns};
use crate::session::{Flushed, LaneBroken, LaneWriter, Outbox, Wrote};

pub(super) struct World {
    pub(super) stores: Stores,
    pub(super) log: Arc<MemoryLog>,
    pub(super) history: Arc<MemoryHistory>,
    pub(super) backplane: Arc<Faulty>,
    pub(super) slow: Arc<Slow>,
    pub(super) hands: Hands,
    routers: Vec<JoinHandle<()>>,
    _edge: JoinSet<()>,
}

/// A peer's side of a lane: takes `room` bytes, then blocks.
#[derive(Default)]
pub(super) struct Peer {
    room: Cell<usize>,
    waker: RefCell<Option<Waker>>,
    received: RefCell<Vec<u8>>,
}

struct Writer(Rc<Peer>);

struct Session {
    outbox: RefCell<Outbox>,
    turns: Turns,
    wake: Notify,
}

/// A client of one channel at a time on a connection of its own.
pub(super) struct Client {
    pub(super) key: ChannelKey,
    pub(super) chain: Chain,
    pub(super) start: Position,
    peer: Rc<Peer>,
    session: Rc<Session>,
    reader: FrameReader,
    pub(super) follower: FollowerRef,
    _task: JoinSet<()>,
}

/// The edge's bounds in these tests: small, so that everything overflows soon.
pub(super) const BOUNDS: Bounds = Bounds {
    ring: RingBounds { events: 4, bytes: 4_000 },
    linger: Duration::from_secs(2),
    ephemeral_events: 4,
    page_bytes: 20_000,
};

impl World {
    pub(super) async fn new(seed: u64) -> Self {
        Self::with_epoch(seed, 1).await
    }

    pub(super) async fn with_epoch(seed: u64, epoch: u32) -> Self {
        let hot = BackplaneOptions { channel_events: 6, ..BackplaneOptions::default() };
        let make = move || InProcessBackplane::new(hot);
        let backplane = Arc::new(Faulty::new(make, seed, BackplaneFaults::default()));
        let slow = Arc::new(Slow::new(backplane.clone(), seed));
        let (log, history) = (Arc::new(MemoryLog::new(epoch)), Arc::new(MemoryHistory::default()));
        let namespace = Namespace::parse("a").unwrap();
        let mut policy = Policy::default();
        // The log's time stands still here.
        policy.retention.age_ms = u64::MAX;
        let policies = BTreeMap::from([(namespace, policy)]);
        let stores = Stores {
            log: log.clone(),
            backplane: slow.clone(),
            history: history.clone(),
            policies: Arc::new(Policies::new(policies)),
        };
        let (hands, edge) = start_edge(&stores).await;
        let mut world =
            Self { stores, log, history, backplane, slow, hands, routers: vec![], _edge: edge };
        world.start_router();
        world
    }

    /// Starts a router; those that run lose their partitions to it.
    pub(super) fn start_router(&mut self) {
        let log: Arc<dyn Log> = self.log.clone();
        let history: Arc<dyn History> = self.history.clone();
        let backplane: Arc<dyn Backplane> = self.backplane.clone();
        let router = Router::new(log, history, backplane, Options::default());
        self.routers.push(spawn_local(async move {
            router.run(CancellationToken::new()).await;
        }));
    }

    /// `kill -9` of every router.
    pub(super) fn kill_routers(&mut self) {
        self.routers.drain(..).for_each(|router| router.abort());
    }

    pub(super) async fn publish(&self, channel: &str, id: &str) -> i64 {
        let body = Body { data: Bytes::from(format!("\"{id}\"")), ..Body::default() };
        let record = Record {
            key: key(channel),
            scope: Scope::of_token("i", "s"),
            id: EventId::parse(id).unwrap(),
            epoch: self.log.incarnation().epoch,
            body: body.encode(),
        };
        let appended = self.log.append(vec![record]).await.remove(0).unwrap();
        appended.cursor.position.passed
    }

    /// The events that the log makes, per channel, by the apply step alone.
    pub(super) fn truth(&self, channel: &str) -> Vec<Position> {
        let (stream, start) = (self.stream(channel), self.start());
        let incarnation = self.log.incarnation();
        let rules = WindowRules { records: incarnation.window_records, ms: incarnation.window_ms };
        let mut state = State::new(Start {
            stream,
            position: start,
            last_kept: start,
            window: Window::new(rules),
            heads: Heads::new(1 << 16),
        });
        let records = self.log.records().into_iter().map(Incoming::decode);
        let kept = records.filter_map(|incoming| match state.step(&incoming) {
            Decision::Kept(applied) => Some(applied.event),
            _ => None,
        });
        kept.filter(|event| event.key == key(channel)).map(|event| event.position()).collect()
    }

    pub(super) fn stream(&self, channel: &str) -> Stream {
        self.stores.stream(&key(channel))
    }

    fn start(&self) -> Position {
        Position::start_of(self.log.incarnation().epoch)
    }

    pub(super) async fn subscribe(&self, channel: &str, from: From) -> Client {
        self.try_subscribe(channel, from).await.expect("every store answers")
    }

    /// Subscribes as a session does; `None`: `unavailable`.
    pub(super) async fn try_subscribe(&self, channel: &str, from: From) -> Option<Client> {
        let (key, stream) = (key(channel), self.stream(channel));
        let hub = &self.hands.hub;
        let pinned = loop {
            let (pinned, ready) = hub.borrow_mut().pin(&key, &stream, DeliveryClass::Strict);
            self.hands.ring();
            if ready.await.is_ok() {
                break pinned;
            }
            hub.borrow_mut().unpin(pinned, Instant::now());
        };
        let Ok(Found { position }) = resolve(&self.stores, &key, &stream, from).await else {
            hub.borrow_mut().unpin(pinned, Instant::now());
            return None;
        };
        let (session, peer) = connect();
        let outlet: Rc<dyn Outlet> = session.clone();
        let follower = hub.borrow_mut().attach(pinned, outlet, 0, position);
        hub.borrow_mut().unpin(pinned, Instant::now());
        let mut task = JoinSet::new();
        task.spawn_local(write(session.clone(), self.hands.clone()));
        Some(Client {
            key,
            chain: Chain::at(position),
            start: position,
            peer,
            session,
            reader: FrameReader::new(1 << 24),
            follower,
            _task: task,
        })
    }

    /// The connection is cut; what was not read is lost. The client returns with its cursor.
    pub(super) async fn resume(&self, client: Client) -> Client {
        self.leave(&client);
        let Client { key, chain, start, .. } = client;
        let stream = self.stores.stream(&key);
        let cursor =
            Cursor { log: stream.log, partition: stream.partition, position: chain.position };
        let again = self.subscribe(key.channel.as_str(), From::Cursor(cursor)).await;
        assert_eq!(again.start, chain.position, "a cursor is where it is");
        Client { chain, start, ..again }
    }

    pub(super) fn leave(&self, client: &Client) {
        self.hands.hub.borrow_mut().detach(client.follower, Instant::now());
    }

    /// Waits for a client to stand where it should.
    pub(super) async fn until(&self, client: &mut Client, what: &str, at: impl Fn(&Chain) -> bool) {
        let waiting = async {
            while !at(&client.chain) {
                client.read();
                sleep(Duration::from_millis(1)).await;
            }
        };
        let waited = timeout(Duration::from_secs(60), waiting).await;
        assert!(waited.is_ok(), "in vain: {what}: {:?}", client.chain);
    }

    /// Waits until everything in the log is in the history.
    pub(super) async fn until_stored(&self) {
        let end = self.log.records().len() as i64 - 1;
        while self.history.position().map(|at| at.passed) != Some(end) {
            sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Client {
    /// Takes what arrived.
    pub(super) fn read(&mut self) {
        self.reader.push(&std::mem::take(&mut *self.peer.received.borrow_mut()));
        for message in messages(&mut self.reader) {
            self.chain.take(&message);
        }
    }

    /// Lets the lane take so many bytes more.
    pub(super) fn let_in(&self, bytes: usize) {
        self.peer.room.set(self.peer.room.get().saturating_add(bytes));
        if let Some(waker) = self.peer.waker.take() {
            waker.wake();
        }
    }

    /// From now on the lane takes nothing.
    pub(super) fn block(&self) {
        self.peer.room.set(0);
    }

    /// Followers that wait, and bytes that wait.
    pub(super) fn load(&self) -> (usize, usize) {
        self.session.outbox.borrow().load()
    }

    pub(super) fn gaps(&self) -> Vec<(i64, i64)> {
        self.chain.gaps.iter().map(|(from, to)| (from.passed, to.passed)).collect()
    }
}

impl LaneWriter for Writer {
    fn poll_write(
        &mut self,
        context: Option<&mut Context<'_>>,
        bytes: &[u8],
    ) -> Poll<Result<usize, LaneBroken>> {
        let taken = bytes.len().min(self.0.room.get());
        if taken == 0 {
            *self.0.waker.borrow_mut() = context.map(|context| context.waker().clone());
            return Poll::Pending;
        }
        self.0.room.set(self.0.room.get() - taken);
        self.0.received.borrow_mut().extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(&mut self, _: Option<&mut Context<'_>>) -> Poll<Result<(), LaneBroken>> {
        Poll::Ready(Ok(()))
    }
}

impl Outlet for Session {
    fn format(&self) -> Format {
        FORMAT
    }

    fn turns(&self) -> &Turns {
        &self.turns
    }

    fn offer(&self, lane: LaneId, frame: &Bytes) -> Offer {
        let offer = self.outbox.borrow_mut().offer(lane, frame);
        if self.outbox.borrow().needs_flush() {
            self.wake.notify_one();
        }
        offer
    }

    fn behind(&self, lane: LaneId, follower: FollowerRef) {
        self.outbox.borrow_mut().behind(lane, follower);
        self.wake.notify_one();
    }
}

fn connect() -> (Rc<Session>, Rc<Peer>) {
    let peer = Rc::new(Peer { room: Cell::new(usize::MAX), ..Peer::default() });
    let outbox = Outbox::new(Box::new(Writer(peer.clone())));
    let turns = outbox.turns().clone();
    (Rc::new(Session { outbox: RefCell::new(outbox), turns, wake: Notify::new() }), peer)
}

/// A session's writing half.
async fn write(session: Rc<Session>, hands: Hands) {
    let mut scratch = Vec::new();
    loop {
        let flushes = session.outbox.borrow().needs_flush();
        let flush = std::future::poll_fn(|task| {
            let mut outbox = session.outbox.borrow_mut();
            match outbox.poll_flush(task, &hands.hub, &mut scratch) {
                (Flushed::Blocked, Wrote::Nothing) => Poll::Pending,
                (flushed, _) => Poll::Ready(flushed),
            }
        });
        tokio::select! {
            _ = flush, if flushes => {}
            () = session.wake.notified() => {}
        }
        hands.ring();
    }
}

async fn start_edge(stores: &Stores) -> (Hands, JoinSet<()>) {
    let (sender, inputs) = mpsc::channel(64);
    let link = stores.backplane.link().await.unwrap();
    let (distributor, interest) = Distributor::new(link, vec![sender]);
    let hands = Hands {
        worker: 0,
        stores: stores.clone(),
        hub: Rc::new(RefCell::new(Hub::new(BOUNDS))),
        interest,
        jobs: Rc::new(Notify::new()),
        news: Rc::new(Notify::new()),
        suspect: Rc::new(Notify::new()),
    };
    let mut edge = JoinSet::new();
    edge.spawn_local(distributor.run(CancellationToken::new()));
    edge.spawn_local(run_jobs(hands.clone()));
    edge.spawn_local(take_inputs(hands.clone(), inputs));
    edge.spawn_local(fan_out(hands.clone()));
    (hands, edge)
}

async fn take_inputs(hands: Hands, mut inputs: mpsc::Receiver<HubInput>) {
    while let Some(input) = inputs.recv().await {
        match input {
            HubInput::Event(event) => hands.hub.borrow_mut().on_event(&event),
            HubInput::Ephemeral(event) => hands.hub.borrow_mut().on_ephemeral(&event),
            HubInput::Lossy => hands.suspect.notify_one(),
        }
        hands.ring();
    }
}

async fn fan_out(hands: Hands) {
    loop {
        hands.news.notified().await;
        while hands.hub.borrow_mut().fan_out() == Slice::More {
            tokio::task::yield_now().await;
        }
    }
}

/// Runs a test in a region's thread, with time that passes only while everybody waits.
pub(super) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    tokio::task::LocalSet::new().block_on(&runtime.unwrap(), test)
}
