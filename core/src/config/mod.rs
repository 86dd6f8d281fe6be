//! A node's configuration: defaults, then a TOML file, then the environment, as validated types. Owns every
//! key, its default and its bounds; all faults are told at once. It reads the files that a key names
//! (secrets, PEM) and never opens a socket, never writes, never shows a secret.
//!
//! `docs/configuration.md` lists every key; a test keeps it equal to this code.

mod access;
mod auth;
mod authoriser;
mod bridge;
mod fault;
mod issuers;
mod limits;
mod namespaces;
mod network;
mod node;
mod quotas;
mod reader;
mod source;
mod stores;
mod url;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

pub use access::Proxies;
pub use auth::{Auth, AuthKey};
pub use authoriser::HttpAuthoriser;
pub use bridge::{Bridge, BridgeRoute};
pub use fault::{ConfigError, Fault};
pub use limits::{Drain, Hub, Limits, MAX_EVENT_BYTES, MAX_PUBLISH_HORIZON_MS};
pub use network::{Network, NetworkError, Origin, OriginError, Origins};
pub use node::{CertificateFiles, Listen, Log, LogFormat, Node, Storage, Tls};
pub use quotas::{Quota, Quotas, Rate};
pub use reader::KnownKey;
pub use stores::{Kafka, Postgres, Redis, RegionStores, SecretText, Zone, ZoneCluster};
pub use url::{ServiceUrl, ServiceUrlError};

use crate::policy::Policies;
use crate::vocabulary::LogName;
use reader::{Reader, Section};
use source::Source;

/// Everything that a node is told.
#[derive(Debug, Clone)]
pub struct Config {
    pub listen: Listen,
    pub tls: Tls,
    pub node: Node,
    pub storage: Storage,
    /// None: an embedded node.
    pub stores: Option<RegionStores>,
    /// Where the clients of each region connect.
    pub regions: BTreeMap<String, Origin>,
    /// The logs beside `global`.
    pub zones: BTreeMap<LogName, Zone>,
    pub auth: Auth,
    /// `None`: policies decide alone.
    pub authoriser: Option<HttpAuthoriser>,
    pub limits: Limits,
    pub quotas: Quotas,
    pub hub: Hub,
    /// Pages of these origins may read the answers of HTTP requests (CORS). None: nobody's page needs it
    /// for WebSocket and WebTransport.
    pub cors: Origins,
    /// Pages of these origins may open WebSocket and WebTransport sessions. None: those of the node's
    /// own origin, and clients that send no `Origin`, which are no browsers.
    pub origins: Origins,
    pub proxies: Proxies,
    pub drain: Drain,
    pub log: Log,
    pub policies: Policies,
    pub bridge: Bridge,
}

impl Config {
    /// Reads a file (none: the defaults), overlaid by the environment's `MERIDIAN__…` variables. Relative
    /// paths in keys are relative to the file's directory.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let Some(file) = file else { return Self::parse("", Path::new(""), environment) };
        let text = std::fs::read_to_string(file).map_err(|error| {
            let message = format!("cannot read {}: {error}", file.display());
            ConfigError { faults: vec![Fault::new("", message)] }
        })?;
        Self::parse(&text, file.parent().unwrap_or(Path::new("")), environment)
    }

    /// Reads a text, as `load` reads a file's. Relative paths are relative to `base`.
    pub fn parse(
        text: &str,
        base: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let (source, faults) = Source::merge(text, base, environment);
        let mut reader = Reader::new(&source, faults);
        let config = reader.root(read);
        match reader.faults {
            faults if faults.is_empty() => Ok(config),
            faults => Err(ConfigError { faults }),
        }
    }

    /// What is allowed but perhaps not meant.
    pub fn warnings(&self) -> Vec<Fault> {
        let mut warnings = Vec::new();
        let mut warn = |key: &str, message: &str| warnings.push(Fault::new(key, message));
        if !self.listen.admin.ip().is_loopback() {
            warn("listen.admin", "not a loopback address: make sure that it is never public");
        }
        if self.tls.plain_tcp && !self.listen.client.ip().is_loopback() {
            warn(
                "tls.plain_tcp",
                "tokens and data cross the network in clear unless a proxy adds TLS",
            );
        }
        if !self.auth.has_keys() {
            warn("auth.keys", "no key, so no token is accepted");
        }
        let free = |key: &AuthKey| key.verification.issuer().is_none();
        if !self.auth.issuers.is_empty() && self.auth.keys.iter().any(free) {
            warn("auth.keys", "a key without `issuer` speaks for every tenant");
        }
        if self.origins == Origins::Any {
            warn("origins.allow", "any web page may connect with a token that it holds");
        }
        for (name, policy) in self.policies.iter() {
            if policy.subscribe.is_empty() && policy.publish.is_empty() {
                warn(&format!("namespaces.{}", name.as_str()), "nobody may subscribe or publish");
            }
        }
        warnings
    }
}

impl Default for Config {
    fn default() -> Self {
        let source = Source::default();
        Reader::new(&source, Vec::new()).root(read)
    }
}

/// Every key that exists, sorted by path.
pub fn known_keys() -> Vec<KnownKey> {
    let sample = "[[auth.keys]]\n[[auth.issuers]]\n[namespaces.NAME]\n[regions.NAME]\n[zones.NAME]\n[bridge.routes.NAME]\n";
    let (source, _) = Source::merge(sample, Path::new(""), []);
    let mut reader = Reader::new(&source, Vec::new());
    reader.root(read);
    let mut known = reader.known;
    for key in &mut known {
        key.path = key.path.replace("[0]", "[]");
    }
    known.sort();
    known
}

fn read(root: &mut Section<'_, '_>) -> Config {
    let limits = root.section("limits", Limits::read);
    let zones = stores::zones(root);
    let mut config = Config {
        listen: root.section("listen", Listen::read),
        tls: root.section("tls", Tls::read),
        node: root.section("node", Node::read),
        storage: root.section("storage", Storage::read),
        stores: stores::read(root),
        regions: stores::regions(root),
        auth: root.section("auth", Auth::read),
        quotas: root.section("quotas", Quotas::read),
        hub: root.section("hub", |section| Hub::read(section, &limits)),
        cors: root.section("cors", |section| access::origins(section, "origins")),
        origins: root.section("origins", |section| access::origins(section, "allow")),
        proxies: root.section("proxies", Proxies::read),
        drain: root.section("drain", Drain::read),
        log: root.section("log", Log::read),
        authoriser: None,
        bridge: Bridge::default(),
        policies: namespaces::read(root, &limits, &zones),
        limits,
        zones,
    };
    let (limits, policies) = (&config.limits, &config.policies);
    config.authoriser =
        root.section("authoriser", |section| HttpAuthoriser::read(section, policies));
    config.bridge = root.section("bridge", |section| Bridge::read(section, limits, policies));
    config
}
