//! Connections: what `fred` is told, and who ends its tasks. Owns one client and the task that drives
//! it; knows no key and no command of the backplane.

use std::sync::Arc;
use std::time::Duration;

use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::ClientLike as _;
use fred::types::config::{
    Config, ConnectionConfig, Options, PerformanceConfig, ReconnectError, ReconnectPolicy,
    TlsConfig, TlsConnector, UnresponsiveConfig,
};
use fred::types::{ClusterHash, ConnectHandle, CustomCommand, RespVersion, Value};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::options::{OptionsError, RedisOptions};

/// Commands that wait for one connection. More are refused at once.
const QUEUED_COMMANDS: usize = 8_192;
const FIRST_RECONNECT_PAUSE_MS: u32 = 20;
/// How long one who asks for a new connection waits for it.
const RECONNECTED: Duration = Duration::from_secs(1);
const CONNECTED_CHECK: Duration = Duration::from_millis(20);

/// A node that answers thus is not the one to ask: find the master again.
const WRONG_NODE: [ReconnectError; 3] =
    [ReconnectError::ReadOnly, ReconnectError::Loading, ReconnectError::MasterDown];

/// How to connect, checked.
#[derive(Clone)]
pub(crate) struct Connector {
    config: Config,
    connection: ConnectionConfig,
    policy: ReconnectPolicy,
    command_timeout: Duration,
    reconnect_pause: Duration,
}

/// A client that connects again by itself. Dropping it ends its tasks and its connections.
pub(crate) struct Connection {
    client: Client,
    keeper: JoinHandle<()>,
}

/// `fred`'s own task. Dropping it ends it.
struct Driver(ConnectHandle);

impl Connector {
    pub(crate) fn new(options: &RedisOptions) -> Result<Self, OptionsError> {
        options.check()?;
        // The certificates to trust are chosen below, not by the URL's reader.
        let plain = match options.url.strip_prefix("rediss") {
            Some(rest) => format!("redis{rest}"),
            None => options.url.clone(),
        };
        let mut config = Config::from_url(&plain).map_err(OptionsError::Url)?;
        if let Some(credentials) = &options.credentials {
            config.username.clone_from(&credentials.user);
            config.password = Some(credentials.password.clone());
        }
        config.username = config.username.as_deref().map(quoted);
        config.password = config.password.as_deref().map(quoted);
        config.tls = if options.uses_tls() { Some(tls(options)?) } else { None };
        // Shard channels' messages are told from answers only by RESP3's pushes.
        config.version = RespVersion::RESP3;
        // A node starts without its Redis too, and finds it later.
        config.fail_fast = false;
        let timing = options.timing;
        let pause_ms = u32::try_from(timing.reconnect_pause.as_millis()).unwrap_or(u32::MAX);
        let connection = ConnectionConfig {
            connection_timeout: timing.connect_timeout,
            internal_command_timeout: timing.command_timeout,
            // Whoever called knows whether to try again.
            max_command_attempts: 1,
            // `fred` sends a command for a slot that is on its way back to the node that it came from,
            // until it gives up all connections. Refused, it still learns of slots that have moved.
            max_redirections: 0,
            max_command_buffer_len: QUEUED_COMMANDS,
            // A cluster that lost one master still serves the partitions of the others.
            disable_cluster_health_check: true,
            unresponsive: UnresponsiveConfig {
                max_timeout: Some(timing.unresponsive_after),
                interval: timing.unresponsive_after / 4,
            },
            reconnect_errors: WRONG_NODE.to_vec(),
            ..ConnectionConfig::default()
        };
        Ok(Self {
            config,
            connection,
            policy: ReconnectPolicy::new_exponential(
                0,
                FIRST_RECONNECT_PAUSE_MS,
                pause_ms.max(FIRST_RECONNECT_PAUSE_MS),
                2,
            ),
            command_timeout: timing.command_timeout,
            reconnect_pause: timing.reconnect_pause,
        })
    }

    /// Starts to connect, on the runtime that it is called on. `messages` are kept for a slow reader
    /// of what was published.
    pub(crate) fn start(&self, messages: usize) -> Connection {
        let performance = PerformanceConfig {
            default_command_timeout: self.command_timeout,
            broadcast_channel_capacity: messages,
            ..PerformanceConfig::default()
        };
        let client = Client::new(
            self.config.clone(),
            Some(performance),
            Some(self.connection.clone()),
            Some(self.policy.clone()),
        );
        let keeper = tokio::spawn(keep_connected(client.clone(), self.reconnect_pause));
        Connection { client, keeper }
    }

    /// What one command is sent with by those who would rather fail than wait for a connection, and
    /// who know themselves whether to try again after a lost one.
    pub(crate) fn at_once(&self) -> Options {
        Options {
            max_attempts: Some(1),
            timeout: Some(self.command_timeout),
            fail_fast: true,
            ..Options::default()
        }
    }
}

impl Connection {
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Connects anew where the server is a replica: Sentinel, or the address, has another master now,
    /// and a connection that only reads or listens learns of it in no other way.
    pub(crate) async fn leave_replica(&self) {
        if self.client.is_clustered() {
            return;
        }
        let ask = CustomCommand::new_static("ROLE", ClusterHash::Random, false);
        let role: Result<Value, Error> = self.client.custom(ask, Vec::<String>::new()).await;
        let role = role.ok().and_then(|role| role.into_array().first().and_then(Value::as_string));
        if role.as_deref() == Some("slave") {
            tracing::warn!("Redis is a replica: looking for the master");
            // It goes on without being waited for.
            let _ = timeout(RECONNECTED, self.client.force_reconnection()).await;
        }
    }

    /// Whether it was connected within `limit`.
    pub(crate) async fn connected(&self, limit: Duration) -> bool {
        let connected = async {
            // `fred` may connect between its look at the state and its wait for the change.
            while !self.client.is_connected() {
                let _ = timeout(CONNECTED_CHECK, self.client.wait_for_connect()).await;
            }
        };
        timeout(limit, connected).await.is_ok()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts the driver again where it takes an error for its end, as some are that a cluster on the
/// move or a server with other passwords answers with.
async fn keep_connected(client: Client, pause: Duration) {
    loop {
        let mut driver = Driver(client.connect());
        let error = match (&mut driver.0).await {
            Ok(Ok(())) => "none".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(error, "a connection to Redis ended, and starts again");
        tokio::time::sleep(pause).await;
    }
}

fn tls(options: &RedisOptions) -> Result<TlsConfig, OptionsError> {
    let Some(pem) = &options.tls_ca_pem else {
        return Ok(TlsConnector::default_rustls()
            .map_err(OptionsError::SystemCertificates)?
            .into());
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.map_err(|_| OptionsError::Ca)?)?;
    }
    if roots.is_empty() {
        return Err(OptionsError::Ca);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(config).into())
}

/// `fred` sends `HELLO` as a line of words: what would be more or less than one word is put in quotes.
fn quoted(word: &str) -> String {
    let plain =
        |c: char| !c.is_ascii_whitespace() && !c.is_ascii_control() && c != '"' && c != '\'';
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut line = String::from('"');
    for c in word.chars() {
        match c {
            '"' | '\\' => line.extend(['\\', c]),
            c if c.is_ascii_control() => line.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => line.push(c),
        }
    }
    line.push('"');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connector(url: &str) -> Result<Connector, OptionsError> {
        Connector::new(&RedisOptions { url: url.to_owned(), ..RedisOptions::default() })
    }

    #[test]
    fn urls_tell_the_kind() {
        assert!(connector("redis-cluster://a:1?node=b:2").unwrap().config.server.is_clustered());
        let sentinel = "redis-sentinel://a:1?node=b:2&sentinelServiceName=main";
        assert!(connector(sentinel).unwrap().config.server.is_sentinel());
        assert!(connector("redis://user:secret@a:1").unwrap().config.server.is_centralized());
        assert!(matches!(connector("nonsense"), Err(OptionsError::Url(_))));
    }

    #[test]
    fn a_ca_that_is_none_is_refused() {
        let options = RedisOptions {
            url: "rediss://a:1".to_owned(),
            tls_ca_pem: Some(b"not a certificate".to_vec()),
            ..RedisOptions::default()
        };
        assert!(matches!(Connector::new(&options), Err(OptionsError::Ca)));
    }

    #[test]
    fn credentials_stay_one_word() {
        for (word, line) in [
            ("plain\\word", r"plain\word"),
            ("two words", r#""two words""#),
            (r#"a"b\"#, r#""a\"b\\""#),
            ("a\r\nFLUSHALL", r#""a\x0d\x0aFLUSHALL""#),
            ("", r#""""#),
        ] {
            assert_eq!(quoted(word), line);
        }
    }

    #[tokio::test]
    async fn what_ends_its_driver_ends_no_connection() {
        let counts = meridian_stack::Counts { redis: 1, ..Default::default() };
        let stack = meridian_stack::Stack::start(counts);
        let connection = connector(stack.redis(1)).unwrap().start(16);
        let limit = Duration::from_secs(20);
        for _ in 0..3 {
            assert!(connection.connected(limit).await);
            connection.client().quit().await.unwrap();
        }
        assert!(connection.connected(limit).await);
        connection.client().ping::<String>(None).await.unwrap();
    }
}
