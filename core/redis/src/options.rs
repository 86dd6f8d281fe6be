//! What a Redis backplane is told: where its servers are, how to be let in, and its bounds. Owns the
//! checks of these; opens no connection.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use meridian_core::policy::Policies;

const MAX_PREFIX_BYTES: usize = 32;

/// The options of a Redis backplane.
#[derive(Clone)]
pub struct RedisOptions {
    /// The scheme tells the kind: `redis://` one server (or an address that follows the master),
    /// `redis-sentinel://host:port?node=…&sentinelServiceName=…` a master that Sentinel names (it is
    /// asked with the same credentials, of plain letters and signs),
    /// `redis-cluster://host:port?node=…` a cluster. `rediss…` is the same over TLS.
    pub url: String,
    /// Overrides the URL's.
    pub credentials: Option<Credentials>,
    /// PEM certificates to trust, in place of the system's. For `rediss…` only.
    pub tls_ca_pem: Option<Vec<u8>>,
    /// What all keys and shard channels begin with; deployments that share servers differ in it.
    pub prefix: String,
    /// A channel's hot history is bounded by its policy's retention too. A channel of class
    /// `ephemeral` is followed for ephemeral events only, one of another class for events only, one
    /// that no policy names for both.
    pub policies: Arc<Policies>,
    pub hot: HotBounds,
    /// Deliveries that a link holds.
    pub link_capacity: usize,
    /// Connections that share a link's subscriptions.
    pub link_connections: usize,
    pub timing: Timing,
}

/// An ACL user. Without a name: the default user.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub user: Option<String>,
    pub password: String,
}

/// The bounds of hot history in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HotBounds {
    /// Events a channel, at most, once the history has them.
    pub channel_events: u64,
    /// Bytes a channel, at most, once the history has them.
    pub channel_bytes: u64,
    /// Bytes a partition, names and Redis' own cost roughly included. Beyond it the channels longest
    /// without an event are forgotten as soon as the history has them.
    pub partition_bytes: u64,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// One attempt to connect.
    pub connect_timeout: Duration,
    /// One command.
    pub command_timeout: Duration,
    /// A connection that owes an answer for this long is given up.
    pub unresponsive_after: Duration,
    /// The longest pause between two attempts to connect.
    pub reconnect_pause: Duration,
    /// How often a link makes sure that its subscriptions are where its channels are.
    pub probe_interval: Duration,
}

/// Why options can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    #[error("the Redis URL can't be read")]
    Url(#[source] fred::error::Error),
    #[error("the prefix must be 1 to {MAX_PREFIX_BYTES} letters, digits, `-`, `_` or `.`")]
    Prefix,
    #[error("the CA file holds no certificate that can be read")]
    Ca,
    #[error("a CA is given, but the URL is not of a `rediss` scheme")]
    CaWithoutTls,
    #[error("the system's certificates can't be read")]
    SystemCertificates(#[source] fred::error::Error),
    #[error("TLS can't be set up")]
    Tls(#[from] rustls::Error),
    #[error("{0} must be at least 1")]
    Zero(&'static str),
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".to_owned(),
            credentials: None,
            tls_ca_pem: None,
            prefix: "mrd".to_owned(),
            policies: Arc::default(),
            hot: HotBounds::default(),
            // Seconds of a busy node; an event is shared, so it costs its size once.
            link_capacity: 8_192,
            link_connections: 1,
            timing: Timing::default(),
        }
    }
}

impl Default for HotBounds {
    /// 2 GiB with 64 partitions.
    fn default() -> Self {
        Self { channel_events: 1_000, channel_bytes: 1 << 20, partition_bytes: 32 << 20 }
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            // A script of a full chunk takes some milliseconds; more means that something is wrong.
            command_timeout: Duration::from_secs(2),
            unresponsive_after: Duration::from_secs(3),
            reconnect_pause: Duration::from_millis(500),
            // Below the 5 s within which the edge compares all heads.
            probe_interval: Duration::from_secs(2),
        }
    }
}

impl RedisOptions {
    /// What can be told without a connection.
    pub(crate) fn check(&self) -> Result<(), OptionsError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let fits = (1..=MAX_PREFIX_BYTES).contains(&self.prefix.len());
        if !fits || !self.prefix.bytes().all(allowed) {
            return Err(OptionsError::Prefix);
        }
        if self.tls_ca_pem.is_some() && !self.uses_tls() {
            return Err(OptionsError::CaWithoutTls);
        }
        for (value, what) in [
            (self.link_capacity, "link_capacity"),
            (self.link_connections, "link_connections"),
            (self.hot.channel_events as usize, "hot.channel_events"),
        ] {
            if value == 0 {
                return Err(OptionsError::Zero(what));
            }
        }
        Ok(())
    }

    pub(crate) fn uses_tls(&self) -> bool {
        self.url.starts_with("rediss")
    }
}

/// The URL may hold a password: it is not shown.
impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("credentials", &self.credentials)
            .field("prefix", &self.prefix)
            .field("hot", &self.hot)
            .field("timing", &self.timing)
            .finish_non_exhaustive()
    }
}

/// Passwords are not shown.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told() {
        let of = |options: RedisOptions| options.check();
        assert!(of(RedisOptions::default()).is_ok());
        for prefix in ["", "a{b}", "a:b", &"x".repeat(33)] {
            let options = RedisOptions { prefix: prefix.to_owned(), ..RedisOptions::default() };
            assert!(matches!(of(options), Err(OptionsError::Prefix)), "{prefix:?}");
        }
        let options = RedisOptions { tls_ca_pem: Some(Vec::new()), ..RedisOptions::default() };
        assert!(matches!(of(options), Err(OptionsError::CaWithoutTls)));
        let options = RedisOptions { link_capacity: 0, ..RedisOptions::default() };
        assert!(matches!(of(options), Err(OptionsError::Zero("link_capacity"))));
    }

    #[test]
    fn passwords_are_not_shown() {
        let secret = Credentials { user: None, password: "hunter2".to_owned() };
        assert!(!format!("{secret:?}").contains("hunter2"));
    }
}
