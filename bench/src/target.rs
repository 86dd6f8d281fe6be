//! What subscribers and publishers are pointed at, and what they are told to do. Travels as JSON to
//! the processes that do it.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use meridian_client::raw::Options;
use meridian_client::{Codec, Trust};
use serde::{Deserialize, Serialize};

/// A server under test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) addr: SocketAddr,
    pub(crate) kind: Kind,
    /// TLS on TCP.
    pub(crate) tls: bool,
    /// The certificate's SHA-256, in hexadecimal.
    pub(crate) certificate_hash: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Meridian { token: String },
    Floor,
}

/// What a process of subscribers does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LoadPlan {
    pub(crate) target: Target,
    pub(crate) transport: Transport,
    pub(crate) connections: usize,
    /// Connection `i` takes channel `i` modulo their number. None: connections stay idle.
    pub(crate) channels: Vec<Subscribe>,
    /// Subscribe only when told to.
    pub(crate) hold: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Subscribe {
    pub(crate) channel: String,
    pub(crate) cursor: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Transport {
    WebSocket,
    WebTransport,
}

/// What a publisher does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PublishPlan {
    pub(crate) target: Target,
    pub(crate) channels: Vec<String>,
    pub(crate) bytes: usize,
    /// Events a second, over all channels.
    pub(crate) rate: u32,
}

/// The codec of everything that is measured.
pub(crate) const CODEC: Codec = Codec::Json;

impl Target {
    pub(crate) fn trust(&self) -> Result<Trust> {
        let hash = self.certificate_hash.as_deref().context("the server named no certificate")?;
        Ok(Trust::Hashes(vec![hash.parse()?]))
    }

    /// A WebSocket at a path.
    pub(crate) fn websocket(&self, path: &str) -> Result<Options> {
        let options = Options::new(self.addr, path);
        if !self.tls {
            return Ok(options);
        }
        Ok(options.tls(self.trust()?.client_config(&[b"http/1.1"])?))
    }

    pub(crate) fn token(&self) -> Option<String> {
        match &self.kind {
            Kind::Meridian { token } => Some(token.clone()),
            Kind::Floor => None,
        }
    }

    pub(crate) fn is_floor(&self) -> bool {
        self.kind == Kind::Floor
    }
}

/// Names of channels.
pub(crate) fn channels(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("bench:{prefix}-{n}")).collect()
}

/// Subscriptions of channels from now on.
pub(crate) fn from_now(channels: &[String]) -> Vec<Subscribe> {
    channels.iter().map(|name| Subscribe { channel: name.clone(), cursor: None }).collect()
}
