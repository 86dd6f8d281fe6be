//! How a client is set up. Every default stands with its reason.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use meridian_core::protocol::Codec;
use tokio::sync::{Semaphore, mpsc, watch};

use crate::client::{Client, Shared, Task};
use crate::connection::{Backoff, Config, Machine, Policy, State};
use crate::driver::{Driver, Io, TokenSource};
use crate::error::{ConnectError, Lost};
use crate::mailbox::{Attention, Bounds};
use crate::tls::{CertificateHash, Trust};
use crate::transport::{Address, Choice, Dialer};

/// Commands that wait for the driver; it takes them at once, so few are enough.
const ASKS: usize = 256;

/// A client to be.
#[must_use]
pub struct Builder {
    urls: Vec<String>,
    discover_regions: bool,
    home_probe: Duration,
    home_spread: Duration,
    token: Option<String>,
    token_source: Option<TokenSource>,
    codec: Codec,
    choice: Choice,
    trust: Trust,
    subscriber: Option<String>,
    bounds: Bounds,
    max_publishes: usize,
    connect_timeout: Duration,
    request_timeout: Duration,
    reconnect: Backoff,
    seed: u64,
}

impl Builder {
    pub(crate) fn new(url: String) -> Self {
        Self {
            urls: vec![url],
            // An answer without authentication should not widen where tokens go unasked.
            discover_regions: false,
            // Soon enough for people to be near again; a thousand clients ask 33 times a second.
            home_probe: Duration::from_secs(30),
            // A region that comes back gets its clients over half a minute, not at once.
            home_spread: Duration::from_secs(30),
            token: None,
            token_source: None,
            // Payloads travel without base64, and decoding is cheaper.
            codec: Codec::MessagePack,
            choice: Choice::Auto,
            trust: Trust::System,
            subscriber: None,
            // A second of a busy channel, and no more memory than a large page.
            bounds: Bounds { updates: 1024, bytes: 4 << 20 },
            // More in flight gains nothing with a log that commits in groups of hundreds.
            max_publishes: 1024,
            connect_timeout: Duration::from_secs(15),
            request_timeout: Duration::from_secs(30),
            // The first attempt soon, since most drops are short; the cap spares a node that is down.
            reconnect: Backoff { base: Duration::from_millis(250), cap: Duration::from_secs(20) },
            seed: rand::random(),
        }
    }

    /// A token that is used as long as it lasts.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Where tokens come from: asked before the first connection (unless there is a `token`), before
    /// a token expires, and when the server refuses one.
    pub fn token_source<F, R, E>(mut self, source: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<String, E>> + Send + 'static,
        E: std::error::Error + Send + Sync + 'static,
    {
        self.token_source = Some(Arc::new(move || {
            let token = source();
            Box::pin(async move { token.await.map_err(|error| Lost::NoToken(Arc::new(error))) })
        }));
        self
    }

    /// Another region's address. The nearest region that is well is used, another when it fails; the
    /// one that was nearest is gone back to once it is well again. All addresses must be secure, or
    /// none. May be called again.
    pub fn region(mut self, url: impl Into<String>) -> Self {
        self.urls.push(url.into());
        self
    }

    /// Further regions' addresses, as with `region`.
    pub fn regions(mut self, urls: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.urls.extend(urls.into_iter().map(Into::into));
        self
    }

    /// Also uses the regions that a region's answer names.
    pub fn discover_regions(mut self) -> Self {
        self.discover_regions = true;
        self
    }

    /// How often home is probed while the client is elsewhere, ±50 %, and the time over which it moves
    /// back once home is well.
    pub fn home_return(mut self, probe_interval: Duration, spread: Duration) -> Self {
        self.home_probe = probe_interval;
        self.home_spread = spread;
        self
    }

    /// How messages are written; MessagePack by default.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Which transports to try; both by default.
    pub fn transport(mut self, choice: Choice) -> Self {
        self.choice = choice;
        self
    }

    /// Trusts exactly this certificate instead of the system's authorities; more than one may be
    /// given. Makes WebTransport possible beside plain HTTP.
    pub fn certificate_hash(mut self, hash: CertificateHash) -> Self {
        self.trust = match self.trust {
            Trust::Hashes(mut hashes) => {
                hashes.push(hash);
                Trust::Hashes(hashes)
            }
            Trust::System | Trust::Authorities(_) => Trust::Hashes(vec![hash]),
        };
        self
    }

    /// Whose certificates are accepted; those that the system's authorities signed, unless said.
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// The name under which acknowledged positions are kept.
    pub fn subscriber(mut self, name: impl Into<String>) -> Self {
        self.subscriber = Some(name.into());
        self
    }

    /// How many updates, and bytes of them, a subscription holds that its reader has not taken.
    pub fn queue(mut self, updates: usize, bytes: usize) -> Self {
        self.bounds = Bounds { updates: updates.max(1), bytes };
        self
    }

    /// How many publishes may be without an answer; further ones wait.
    pub fn max_publishes(mut self, count: usize) -> Self {
        self.max_publishes = count.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// How long `connect` tries.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a command is tried, over all its attempts.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// The first delay before a reconnect, and the longest.
    pub fn reconnect_delay(mut self, base: Duration, cap: Duration) -> Self {
        self.reconnect = Backoff { base, cap };
        self
    }

    /// Connects: tries until the server has answered, refused for good, or time is up.
    pub async fn connect(self) -> Result<Client, ConnectError> {
        let timeout = self.connect_timeout;
        let client = self.start()?;
        let mut state = client.state();
        let mut cause = None;
        let deadline = Instant::now() + timeout;
        loop {
            match &*state.borrow_and_update() {
                State::Connected(_) => break,
                State::Closed(Some(lost)) => return Err(ConnectError::Stopped(lost.clone())),
                State::Waiting { cause: lost, .. } => cause = Some(lost.clone()),
                State::Connecting | State::Closed(None) => {}
            }
            match tokio::time::timeout_at(deadline.into(), state.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(ConnectError::TimedOut(cause)),
            }
        }
        Ok(client)
    }

    /// Starts a client that connects by itself, without waiting for it.
    pub fn start(self) -> Result<Client, ConnectError> {
        // A dial may take less than `connect` as a whole, so that there is a second one.
        let handshake_timeout = Duration::from_secs(10);
        let regions = self.policy()?;
        let secure = regions.addresses[0].secure;
        let dialer = Dialer::new(secure, self.codec, self.trust, handshake_timeout)?;
        let (transports, no_webtransport) = dialer.narrow(self.choice)?;
        let config = Config {
            regions,
            subscriber: self.subscriber,
            token: self.token,
            has_token_source: self.token_source.is_some(),
            transports,
            no_webtransport,
            reconnect: self.reconnect,
            retry: Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(5) },
            handshake_timeout,
            request_timeout: self.request_timeout,
            seed: self.seed,
        };
        let (asks, asked) = mpsc::channel(ASKS);
        let (state, watched) = watch::channel(State::Connecting);
        let (region, watched_region) = watch::channel(None);
        let (modes, watched_modes) = watch::channel(None);
        let attention = Arc::new(Attention::default());
        let driver = Driver {
            machine: Machine::new(config, Instant::now()),
            dialer,
            codec: self.codec,
            token_source: self.token_source,
            asks: asked,
            attention: attention.clone(),
            state,
            region,
            modes,
            io: Io::default(),
        };
        Ok(Client::new(Shared {
            asks,
            publishes: Semaphore::new(self.max_publishes),
            attention,
            bounds: self.bounds,
            serials: AtomicU64::new(0),
            state: watched,
            region: watched_region,
            modes: watched_modes,
            _task: Task(tokio::spawn(driver.run())),
        }))
    }

    fn policy(&self) -> Result<Policy, ConnectError> {
        let addresses: Vec<Address> =
            self.urls.iter().map(|url| Address::parse(url)).collect::<Result<_, _>>()?;
        if addresses.iter().any(|address| address.secure != addresses[0].secure) {
            return Err(ConnectError::MixedRegions);
        }
        Ok(Policy {
            addresses,
            discover: self.discover_regions,
            home_probe: self.home_probe,
            home_spread: self.home_spread,
        })
    }
}
