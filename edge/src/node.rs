//! An edge node: what its workers share, how it starts, drains and stops.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use meridian_core::auth::{Authoriser, Revocation, TooMany, Verifier};
use meridian_core::config::{self, Config, Origins, Proxies};
use meridian_core::mode::Mode;
use meridian_core::protocol::{Limits, Place};
use meridian_core::seams::{AckLog, BackplaneError, LedgerPlace, TokenLedger};
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::acks::Acks;
use crate::delivery::{Distributor, Stores};
use crate::hub::{Bounds, RingBounds};
use crate::lifecycle::{Lifecycle, Phase};
use crate::metrics::Metrics;
use crate::modes::{Modes, NoSuchNamespace};
use crate::names::Names;
use crate::ops::{self, OpsOptions};
use crate::orders::{Diversion, Leave, Order, StandingOrder};
use crate::polling::Polling;
use crate::publish::Publisher;
use crate::quota::Quotas;
use crate::regions::Regions;
use crate::room::Room;
use crate::session::Settings;
use crate::tokens::{OutboundError, Reach, Tokens};
use crate::transport::{Certificates, QuicKeys, ResetKey, Steering, TlsError, bind_tcp, bind_udp};
use crate::worker;

/// Inputs that may wait for a worker; beyond it the worker compares heads.
const MAILBOX: usize = 8192;
/// Connections on their way from one worker to another.
const HAND_OVER: usize = 1024;
/// Commands of one session that may be under way.
const COMMANDS_IN_FLIGHT: usize = 1024;
const EPHEMERAL_EVENTS: usize = 256;
/// Pages of history that a worker's readers hold: a hundred of the largest.
const PAGE_BYTES: usize = 64 << 20;
/// Files of certificates are looked at this often.
const CERTIFICATE_CHECK: Duration = Duration::from_secs(10);

/// What a node is started with.
pub struct NodeOptions {
    pub config: Config,
    pub stores: Stores,
    /// What acknowledged positions travel through, one a log.
    pub acks: Vec<Arc<dyn AckLog>>,
    pub verifier: Verifier,
    /// Revocations and tickets of the region.
    pub ledger: Arc<dyn TokenLedger>,
    pub authoriser: Arc<dyn Authoriser>,
    pub certificates: Arc<Certificates>,
    pub reset_key: ResetKey,
    pub ops: OpsOptions,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address} (is another process using it?)")]
    Bind { address: SocketAddr, source: io::Error },
    #[error("TLS")]
    Tls(#[from] TlsError),
    #[error("the backplane is unavailable")]
    Backplane(#[from] BackplaneError),
    #[error("cannot ask an issuer for its keys")]
    Issuer(#[from] OutboundError),
    #[error("cannot start a worker thread")]
    Thread(#[source] io::Error),
}

/// One worker as the others see it.
pub(crate) struct WorkerShare {
    pub(crate) connections: AtomicUsize,
    pub(crate) hand_over: mpsc::Sender<(std::net::TcpStream, SocketAddr)>,
}

/// What all workers share.
pub(crate) struct Node {
    pub(crate) settings: Arc<Settings>,
    pub(crate) stores: Stores,
    pub(crate) tokens: Tokens,
    pub(crate) authoriser: Arc<dyn Authoriser>,
    pub(crate) publisher: Publisher,
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) polling: Polling,
    pub(crate) names: Arc<Names>,
    pub(crate) acks: Acks,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) draining: CancellationToken,
    pub(crate) workers: Vec<WorkerShare>,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) quic_keys: QuicKeys,
    pub(crate) steering: Arc<Steering>,
    pub(crate) tcp_tls: Option<Arc<rustls::ServerConfig>>,
    pub(crate) handshake_timeout: Duration,
    pub(crate) room: Room,
    pub(crate) proxies: Proxies,
    pub(crate) cors: Origins,
    pub(crate) origins: Origins,
    pub(crate) client_address: SocketAddr,
    pub(crate) regions: Arc<Regions>,
    pub(crate) modes: Arc<Modes>,
    pub(crate) leave: Leave,
    /// The cookie that a ticket is given for.
    pub(crate) cookie: Option<String>,
    /// The longest that a token may be good, where that is bounded.
    pub(crate) longest_lifetime: Option<Duration>,
    standing_order: watch::Sender<StandingOrder>,
}

impl Node {
    /// What sessions are told, as a session that begins sees it: what stands already is news to it.
    pub(crate) fn standing_order(&self) -> watch::Receiver<StandingOrder> {
        let mut order = self.standing_order.subscribe();
        if !matches!(order.borrow().order, Order::Stay) || !self.modes.all_normal() {
            order.mark_changed();
        }
        order
    }

    /// Revokes in the whole region. Sessions of this node look at once.
    pub(crate) async fn revoke(&self, revocation: &Revocation) -> Result<Reach, TooMany> {
        self.tokens.revoked().add(revocation)?;
        self.look_at_revocations();
        Ok(self.tokens.revoked().tell(revocation).await)
    }

    /// How often a mode was changed.
    pub(crate) fn mode_serial(&self) -> u64 {
        self.standing_order.borrow().mode_serial
    }

    fn look_at_revocations(&self) {
        self.standing_order.send_modify(|_| {});
    }

    /// Puts the node or a namespace in a mode, and tells every client; `None`: the namespace has none of its
    /// own any more.
    pub(crate) fn put_mode(
        &self,
        namespace: Option<&str>,
        mode: Option<Mode>,
        spread: Duration,
    ) -> Result<(), NoSuchNamespace> {
        match namespace {
            Some(namespace) => self.modes.put(namespace, mode)?,
            None => self.modes.put_node(mode.unwrap_or_default()),
        }
        self.standing_order.send_modify(|standing| {
            standing.mode_serial += 1;
            standing.mode_spread = spread;
        });
        Ok(())
    }

    /// Sends all clients to another region until further notice, or no more. A node that stops takes
    /// no such order.
    pub(crate) fn divert(&self, to: Option<Diversion>) -> bool {
        self.standing_order.send_if_modified(|standing| {
            let stops = matches!(standing.order, Order::Drain(_));
            if !stops {
                let divert = |diversion| Order::Divert(Arc::new(diversion));
                standing.put(to.map_or(Order::Stay, divert));
            }
            !stops
        })
    }

    /// Where clients are being sent.
    pub(crate) fn diversion(&self) -> Option<Arc<Diversion>> {
        match &self.standing_order.borrow().order {
            Order::Divert(diversion) => Some(diversion.clone()),
            Order::Stay | Order::Drain(_) => None,
        }
    }

    /// The phase as others are told it: whose clients are sent away is no place to come to.
    pub(crate) fn told_phase(&self) -> Phase {
        match self.lifecycle.phase() {
            Phase::Serving if self.diversion().is_some() => Phase::Draining,
            phase => phase,
        }
    }

    pub(crate) fn connections(&self) -> usize {
        self.workers.iter().map(|worker| worker.connections.load(Ordering::Relaxed)).sum()
    }
}

/// A node that serves. Dropping it stops it at once; `drain` stops it in order.
pub struct RunningNode {
    node: Arc<Node>,
    stop: CancellationToken,
    threads: Vec<std::thread::JoinHandle<()>>,
    tasks: JoinSet<()>,
    /// They end by themselves after `stop`.
    senders: JoinSet<()>,
    client_address: SocketAddr,
    admin_address: SocketAddr,
}

impl RunningNode {
    /// Binds, starts the workers and serves.
    pub async fn start(options: NodeOptions) -> Result<Self, StartError> {
        let listen = options.config.listen.clone();
        let workers = match listen.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        }
        .min(64);
        let bind_error = |address| move |source| StartError::Bind { address, source };
        let (tcp, udp) = bind_clients(listen.client, workers)?;
        let client_address = tcp[0].local_addr().map_err(bind_error(listen.client))?;
        let admin = ops::bind(listen.admin).await.map_err(bind_error(listen.admin))?;
        let admin_address = admin.local_addr().map_err(bind_error(listen.admin))?;

        let stop = CancellationToken::new();
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..workers).map(|_| mpsc::channel(MAILBOX)).unzip();
        let (hand_over, handed_over): (Vec<_>, Vec<_>) =
            (0..workers).map(|_| mpsc::channel(HAND_OVER)).unzip();
        let bounds = bounds(&options.config);
        let link = options.stores.backplane.link().await?;
        let (distributor, interest) = Distributor::new(link, senders);
        let ops_options = options.ops.clone();
        let (steering, strays) = Steering::new(server_id(&options.config.node.name), workers);
        let mut tasks = JoinSet::new();
        let (verifier, ledger) = (options.verifier.clone(), options.ledger.clone());
        let tokens = Tokens::start(verifier, ledger, &mut tasks)?;
        let revoked_until = tokens.revoked().read_first().await;
        let node = Arc::new(share(options, tokens, client_address, steering, hand_over)?);

        let mut threads = Vec::with_capacity(workers);
        let sockets = tcp.into_iter().zip(udp).zip(strays);
        let queues = receivers.into_iter().zip(handed_over);
        for (index, (((tcp, udp), strays), (inputs, handed_over))) in
            sockets.zip(queues).enumerate()
        {
            let parts = worker::Parts {
                index,
                node: node.clone(),
                interest: interest.clone(),
                inputs,
                handed_over,
                tcp,
                udp,
                strays,
                bounds,
            };
            threads.push(worker::run(parts, stop.clone()).map_err(StartError::Thread)?);
        }
        tasks.spawn(distributor.run(stop.clone()));
        tasks.spawn(ops::serve(admin, node.clone(), ops_options, stop.clone()));
        tasks.spawn(watch_certificates(node.clone()));
        tasks.spawn(watch_revocations(node.clone(), revoked_until));
        let mut senders = JoinSet::new();
        node.acks.start(&mut senders, &stop);
        node.lifecycle.advance(Phase::Serving);
        Ok(Self { node, stop, threads, tasks, senders, client_address, admin_address })
    }

    /// Where clients connect, TCP and UDP.
    pub fn client_address(&self) -> SocketAddr {
        self.client_address
    }

    /// Where operators look.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Tells clients to move, waits until they have (at most until the deadline), then stops.
    pub async fn drain(mut self) {
        self.node.lifecycle.advance(Phase::Draining);
        let leave = Order::Drain(self.node.leave);
        self.node.standing_order.send_modify(|standing| standing.put(leave));
        self.node.draining.cancel();
        // Sessions close by themselves at the deadline; their closes take a moment more.
        let deadline = Instant::now() + self.node.leave.deadline + Duration::from_secs(2);
        while self.node.connections() > 0 && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
        self.node.lifecycle.advance(Phase::Stopped);
        self.stop.cancel();
        let threads = std::mem::take(&mut self.threads);
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a worker panicked");
                }
            }
        });
        let _ = joined.await;
        while self.senders.join_next().await.is_some() {}
        self.tasks.shutdown().await;
    }
}

impl Drop for RunningNode {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Binds TCP and UDP on one port. Where any port will do, one that is free for both is looked for: the
/// system knows only of TCP when it picks.
fn bind_clients(
    address: SocketAddr,
    workers: usize,
) -> Result<(Vec<TcpListener>, Vec<UdpSocket>), StartError> {
    const ATTEMPTS: usize = 16;
    let error = |address| move |source| StartError::Bind { address, source };
    let mut attempt = 0;
    loop {
        attempt += 1;
        let tcp = bind_tcp(address, workers).map_err(error(address))?;
        let bound = tcp[0].local_addr().map_err(error(address))?;
        match bind_udp(bound, workers) {
            Ok(udp) => return Ok((tcp, udp)),
            Err(_) if address.port() == 0 && attempt < ATTEMPTS => {}
            Err(source) => return Err(error(bound)(source)),
        }
    }
}

fn bounds(config: &Config) -> Bounds {
    Bounds {
        ring: RingBounds { events: config.hub.ring_events, bytes: config.hub.ring_bytes },
        linger: Duration::from_millis(config.hub.linger_ms),
        ephemeral_events: EPHEMERAL_EVENTS,
        page_bytes: PAGE_BYTES,
    }
}

fn share(
    options: NodeOptions,
    tokens: Tokens,
    client_address: SocketAddr,
    steering: Arc<Steering>,
    hand_over: Vec<mpsc::Sender<(std::net::TcpStream, SocketAddr)>>,
) -> Result<Node, StartError> {
    let config = options.config;
    let metrics = Arc::new(Metrics::new());
    let handshake_timeout = Duration::from_millis(config.limits.handshake_timeout_ms);
    let regions = Arc::new(Regions {
        own: config.node.region.clone(),
        addresses: config.regions,
        zones: config.zones,
        parts: options.ops.parts,
    });
    let others = regions.others();
    let room = Room::new(config.limits.sessions, !others.is_empty());
    let settings = settings(&config.node, &config.limits, others);
    let quotas = Arc::new(Quotas::new(config.quotas));
    let modes = Arc::new(Modes::new(config.node.mode, &config.policies));
    let spread = Duration::from_millis(config.drain.spread_ms);
    let publisher = Publisher {
        modes: modes.clone(),
        quotas: quotas.clone(),
        stores: options.stores.clone(),
        authoriser: options.authoriser.clone(),
        regions: regions.clone(),
        horizon_ms: config.limits.publish_horizon_ms,
        metrics: metrics.clone(),
    };
    let tcp_tls =
        if config.tls.plain_tcp { None } else { Some(options.certificates.tcp_config()?) };
    let share = |hand_over| WorkerShare { connections: AtomicUsize::new(0), hand_over };
    let workers = hand_over.into_iter().map(share).collect();
    Ok(Node {
        settings: Arc::new(settings),
        stores: options.stores,
        tokens,
        authoriser: options.authoriser,
        publisher,
        quotas,
        polling: Polling::default(),
        names: Arc::default(),
        acks: Acks::new(options.acks),
        metrics,
        lifecycle: Lifecycle::default(),
        draining: CancellationToken::new(),
        workers,
        certificates: options.certificates,
        quic_keys: QuicKeys::new(&options.reset_key),
        steering,
        tcp_tls,
        handshake_timeout,
        room,
        proxies: config.proxies,
        cors: config.cors,
        origins: config.origins,
        client_address,
        regions,
        modes,
        leave: Leave { spread, deadline: Duration::from_millis(config.drain.deadline_ms) },
        cookie: config.auth.cookie,
        longest_lifetime: config.auth.options.max_lifetime_ms.map(Duration::from_millis),
        standing_order: watch::Sender::new(StandingOrder {
            mode_spread: spread,
            ..StandingOrder::default()
        }),
    })
}

fn settings(node: &config::Node, limits: &config::Limits, others: Vec<Place>) -> Settings {
    Settings {
        node: node.name.clone(),
        region: node.region.clone(),
        limits: told(limits),
        others,
        queued_bytes: limits.control_queue_bytes,
        connect_timeout: Duration::from_millis(limits.handshake_timeout_ms),
        commands_in_flight: COMMANDS_IN_FLIGHT,
    }
}

/// The limits as clients are told of them.
fn told(limits: &config::Limits) -> Limits {
    Limits {
        event_bytes: limits.event_bytes as u64,
        frame_bytes: limits.frame_bytes as u64,
        batch_events: limits.batch_events as u64,
        channels: limits.channels_per_session as u64,
        commands_per_s: u64::from(limits.commands_per_s),
        commands_burst: u64::from(limits.commands_burst),
        heartbeat_ms: limits.heartbeat_ms,
        publish_horizon_ms: limits.publish_horizon_ms,
    }
}

/// What load balancers know the node by, in its connection ids.
fn server_id(node: &str) -> [u8; 2] {
    let digest = Sha256::digest(node.as_bytes());
    [digest[0], digest[1]]
}

async fn watch_revocations(node: Arc<Node>, place: LedgerPlace) {
    node.tokens.revoked().run(place, || node.look_at_revocations()).await;
}

async fn watch_certificates(node: Arc<Node>) {
    let mut ticks = interval(CERTIFICATE_CHECK);
    loop {
        ticks.tick().await;
        match node.certificates.reload() {
            Ok(true) => tracing::info!("a new certificate is in use"),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "the new certificate cannot be used; the old one stays");
            }
        }
    }
}
