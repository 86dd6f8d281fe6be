//! A region in one thread: the real router and the real edge on any stores.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use meridian_core::policy::{DeliveryClass, Policies, Policy};
use meridian_core::seams::{Backplane, History, Log};
use meridian_core::vocabulary::{
    Body, Cursor, EventId, Namespace, Position, Record, Scope, Stream,
};
use meridian_region_router::{Options, Router};
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle, JoinSet, spawn_local};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::client::Client;
use crate::delivery::Logs;
use crate::delivery::start::Start;
use crate::delivery::{Distributor, From, Hands, HubInput, Stores, resolve, run_jobs};
use crate::hub::testing::{Chain, key};
use crate::hub::{Bounds, Hub, RingBounds, Slice};

pub(super) struct Region {
    pub(super) stores: Stores,
    pub(super) log: Arc<dyn Log>,
    pub(super) hands: Hands,
    /// As routers see it.
    backplane: Arc<dyn Backplane>,
    routers: Vec<JoinHandle<()>>,
    _edge: JoinSet<()>,
}

/// The edge's bounds in these tests: small, so that everything overflows soon.
pub(super) const BOUNDS: Bounds = Bounds {
    ring: RingBounds { events: 4, bytes: 4_000 },
    linger: Duration::from_secs(2),
    ephemeral_events: 4,
    page_bytes: 20_000,
};

/// What the tests' namespace promises: the newest events, whatever their age.
pub(super) fn policies(events: u64) -> Policies {
    let mut policy = Policy::default();
    (policy.retention.events, policy.retention.age_ms) = (events, u64::MAX);
    Policies::new(BTreeMap::from([(Namespace::parse("a").unwrap(), policy)]))
}

impl Region {
    /// An edge that reads from `edges`, and no router yet.
    pub(super) async fn on(
        log: Arc<dyn Log>,
        history: Arc<dyn History>,
        backplane: Arc<dyn Backplane>,
        edges: Arc<dyn Backplane>,
    ) -> Self {
        let policies = Arc::new(policies(1 << 20));
        let stores = Stores { logs: Logs::new([log.clone()]), backplane: edges, history, policies };
        let (hands, edge) = start_edge(&stores).await;
        Self { stores, log, hands, backplane, routers: Vec::new(), _edge: edge }
    }

    /// Starts a router; those that run lose their partitions to it.
    pub(super) fn start_router(&mut self) {
        let (log, history) = (self.log.clone(), self.stores.history.clone());
        let router = Router::new(log, history, self.backplane.clone(), Options::default());
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

    pub(super) fn stream(&self, channel: &str) -> Stream {
        self.stores.stream(&key(channel)).expect("its zone is here")
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
        let Ok(Start { position }) = resolve(&self.stores, &key, &stream, from).await else {
            hub.borrow_mut().unpin(pinned, Instant::now());
            return None;
        };
        let client = Client::attach(&self.hands, key, pinned, position);
        hub.borrow_mut().unpin(pinned, Instant::now());
        Some(client)
    }

    /// The connection is cut; what was not read is lost. The client returns with its cursor.
    pub(super) async fn resume(&self, client: Client) -> Client {
        self.leave(&client);
        let Client { key, chain, start, .. } = client;
        let stream = self.stores.stream(&key).expect("its zone is here");
        let cursor =
            Cursor { log: stream.log, partition: stream.partition, position: chain.position };
        let mut again = self.subscribe(key.channel.as_str(), From::Cursor(cursor)).await;
        assert_eq!(again.start, chain.position, "a cursor is where it is");
        (again.chain, again.start) = (chain, start);
        again
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

    /// Waits until the history holds the channel's event.
    pub(super) async fn until_held(&self, channel: &str, at: Position) {
        let (key, log) = (key(channel), self.log.incarnation().log.clone());
        let head =
            async || self.stores.history.heads(&log, std::slice::from_ref(&key)).await.unwrap();
        while head().await.get(&key) < Some(&at) {
            sleep(Duration::from_millis(1)).await;
        }
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

/// The same with the clock's time, for stores with threads of their own.
pub(super) fn run_for_real<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    tokio::task::LocalSet::new().block_on(&runtime.unwrap(), test)
}
