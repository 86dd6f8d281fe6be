//! A worker: one thread with its own runtime, listeners, sessions and hub shard. Workers share no lock
//! on the path of an event.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::{LocalSet, spawn_local, yield_now};
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

use crate::clock::now_ms;
use crate::delivery::{Hands, HubInput, Interest, run_jobs};
use crate::hub::{Bounds, Hub, Slice};
use crate::node::Node;
use crate::transport::{Stray, endpoint, serve_quic, serve_tcp, serve_tcp_stream};

/// Scratch for one read or one write; shared by all of a worker's sessions.
const SCRATCH_BYTES: usize = 64 * 1024;
/// Searches for the newest events under way at once.
const SEARCHES_AT_ONCE: usize = 1;
/// Inputs that the hub takes before it fans out.
const INPUT_BATCH: usize = 256;

/// What a worker's tasks share.
pub(crate) struct Context {
    pub(crate) node: Arc<Node>,
    pub(crate) hands: Hands,
    pub(crate) scratch: RefCell<Vec<u8>>,
    pub(crate) read_scratch: RefCell<Vec<u8>>,
    /// Searches for where the newest events begin: each may load a thousand of them.
    pub(crate) searches: Semaphore,
    next_session: Cell<u64>,
    busy: Cell<Duration>,
}

/// What a worker starts with.
pub(crate) struct Parts {
    pub(crate) index: usize,
    pub(crate) node: Arc<Node>,
    pub(crate) interest: Arc<Interest>,
    pub(crate) inputs: mpsc::Receiver<HubInput>,
    pub(crate) handed_over: mpsc::Receiver<(std::net::TcpStream, SocketAddr)>,
    pub(crate) tcp: std::net::TcpListener,
    pub(crate) udp: std::net::UdpSocket,
    /// Datagrams that reached another worker's socket.
    pub(crate) strays: mpsc::Receiver<Stray>,
    pub(crate) bounds: Bounds,
}

/// Counts a connection as long as it lives.
pub(crate) struct Admission {
    node: Arc<Node>,
    worker: usize,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.node.workers[self.worker].connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Context {
    /// Counts a new connection; `None`: the node has as many as it may.
    pub(crate) fn admit(&self) -> Option<Admission> {
        let all = self.node.connections();
        self.node.room.takes_connection(all).then(|| self.admit_session())
    }

    /// Counts the session that a connection became.
    pub(crate) fn admit_session(&self) -> Admission {
        let worker = self.hands.worker;
        self.node.workers[worker].connections.fetch_add(1, Ordering::Relaxed);
        Admission { node: self.node.clone(), worker }
    }

    /// A number for a new session, unique on this worker.
    pub(crate) fn next_session(&self) -> u64 {
        self.next_session.set(self.next_session.get() + 1);
        self.next_session.get()
    }

    /// Keeps the connection, or hands it to the least loaded worker where the shares differ by more
    /// than a quarter.
    pub(crate) fn balance(&self, stream: TcpStream, peer: SocketAddr) -> Option<TcpStream> {
        const SLACK: usize = 8;
        let load = |worker: usize| self.node.workers[worker].connections.load(Ordering::Relaxed);
        let least = (0..self.node.workers.len()).min_by_key(|worker| load(*worker))?;
        if load(self.hands.worker) <= load(least) + load(least) / 4 + SLACK {
            return Some(stream);
        }
        let Ok(raw) = stream.into_std() else { return None };
        match self.node.workers[least].hand_over.try_send((raw, peer)) {
            Ok(()) => None,
            Err(refused) => {
                let (mpsc::error::TrySendError::Full((raw, _))
                | mpsc::error::TrySendError::Closed((raw, _))) = refused;
                TcpStream::from_std(raw).ok()
            }
        }
    }
}

/// Runs a worker on its own thread until `stop`.
pub(crate) fn run(
    parts: Parts,
    stop: CancellationToken,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    let name = format!("worker-{}", parts.index);
    std::thread::Builder::new().name(name).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => {
                let local = LocalSet::new();
                local.block_on(&runtime, serve(parts, stop));
            }
            Err(error) => tracing::error!(%error, "a worker has no runtime"),
        }
    })
}

async fn serve(parts: Parts, stop: CancellationToken) {
    let context = Rc::new(Context {
        hands: Hands {
            worker: parts.index,
            stores: parts.node.stores.clone(),
            hub: Rc::new(RefCell::new(Hub::new(parts.bounds))),
            interest: parts.interest,
            jobs: Rc::new(Notify::new()),
            news: Rc::new(Notify::new()),
            suspect: Rc::new(Notify::new()),
        },
        node: parts.node,
        scratch: RefCell::new(Vec::with_capacity(SCRATCH_BYTES)),
        read_scratch: RefCell::new(vec![0; SCRATCH_BYTES]),
        searches: Semaphore::new(SEARCHES_AT_ONCE),
        next_session: Cell::new(0),
        busy: Cell::new(Duration::ZERO),
    });
    spawn_local(run_jobs(context.hands.clone()));
    spawn_local(take_inputs(context.clone(), parts.inputs));
    spawn_local(fan_out(context.clone()));
    spawn_local(take_over(context.clone(), parts.handed_over));
    spawn_local(report(context.clone()));
    match TcpListener::from_std(parts.tcp) {
        Ok(listener) => drop(spawn_local(serve_tcp(context.clone(), listener))),
        Err(error) => tracing::error!(%error, "a worker has no TCP listener"),
    }
    match endpoint(&context.node, parts.index, parts.udp, parts.strays) {
        Ok(endpoint) => drop(spawn_local(serve_quic(context.clone(), endpoint))),
        Err(error) => tracing::error!(%error, "a worker has no QUIC endpoint"),
    }
    // Everything above lives on the worker's local set and ends with it.
    stop.cancelled().await;
}

async fn take_inputs(context: Rc<Context>, mut inputs: mpsc::Receiver<HubInput>) {
    let mut batch = Vec::with_capacity(INPUT_BATCH);
    while inputs.recv_many(&mut batch, INPUT_BATCH).await > 0 {
        let mut newest_ms = None;
        {
            let mut hub = context.hands.hub.borrow_mut();
            for input in batch.drain(..) {
                match input {
                    HubInput::Event(event) => {
                        newest_ms = Some(event.time_ms);
                        hub.on_event(&event);
                    }
                    HubInput::Ephemeral(event) => hub.on_ephemeral(&event),
                    HubInput::Lossy => context.hands.suspect.notify_one(),
                }
            }
        }
        if let Some(time_ms) = newest_ms {
            let took = now_ms().saturating_sub(time_ms);
            context.node.metrics.delivery(Duration::from_millis(took));
        }
        context.hands.ring();
    }
}

async fn fan_out(context: Rc<Context>) {
    loop {
        context.hands.news.notified().await;
        loop {
            let started = Instant::now();
            let slice = context.hands.hub.borrow_mut().fan_out();
            context.busy.set(context.busy.get() + started.elapsed());
            if slice == Slice::Idle {
                break;
            }
            yield_now().await;
        }
    }
}

async fn take_over(
    context: Rc<Context>,
    mut handed_over: mpsc::Receiver<(std::net::TcpStream, SocketAddr)>,
) {
    while let Some((stream, peer)) = handed_over.recv().await {
        if let Ok(stream) = TcpStream::from_std(stream) {
            serve_tcp_stream(&context, stream, peer);
        }
    }
}

async fn report(context: Rc<Context>) {
    const EVERY: Duration = Duration::from_secs(1);
    let mut ticks = interval(EVERY);
    loop {
        ticks.tick().await;
        let (counters, (channels, followers)) = {
            let mut hub = context.hands.hub.borrow_mut();
            (std::mem::take(&mut hub.counters), hub.size())
        };
        let worker = context.hands.worker;
        context.node.metrics.hub(worker, counters, channels, followers);
        let busy = context.busy.replace(Duration::ZERO);
        context.node.metrics.saturation(worker, busy.as_secs_f64() / EVERY.as_secs_f64());
    }
}
