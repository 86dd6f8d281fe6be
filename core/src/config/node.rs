//! The node itself: addresses, certificate, name, storage and logs.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::network::Origin;
use super::reader::Section;
use crate::mode::Mode;

const MAX_WORKERS: usize = 1024;
const MAX_PARTITIONS: u64 = 1024;

/// `[listen]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// 127.0.0.1:8440: a fresh node is nobody else's. TCP and UDP on the same port.
    pub client: SocketAddr,
    /// 127.0.0.1:8441: never public.
    pub admin: SocketAddr,
    /// 0: one worker a core, which is what the design's fan-out is made for.
    pub workers: usize,
    /// None: what clients are told is the address that they asked. Set it behind a load balancer.
    pub public_url: Option<Origin>,
}

/// `[tls]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// None: only a development node, which makes its own, can start.
    pub certificate: Option<CertificateFiles>,
    /// false: nothing is sent in clear unless one says so. True for a node behind a load balancer that
    /// ends TLS; UDP is always encrypted.
    pub plain_tcp: bool,
}

/// A certificate chain and its key, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// `[node]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// `n1`: one node needs no better name; of several, each needs its own.
    pub name: String,
    /// `local`: a node without a region is alone.
    pub region: String,
    /// 60 s: longer than any takeover or restart. The region says `rebuilding` while records of the log
    /// wait for longer.
    pub rebuilding_after_ms: u64,
    /// `normal`: in which mode the node begins. An operator changes it while it runs.
    pub mode: Mode,
}

/// `[storage]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// `data`: beside the configuration.
    pub dir: PathBuf,
    /// 8: of the embedded log; enough for one machine's cores. Fixed once the log exists.
    pub partitions: u32,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `text`: read by people first.
    pub format: LogFormat,
    /// `info`: what changed, not what happened. In the notation of `tracing_subscriber::EnvFilter`.
    pub filter: String,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl Listen {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let listen = Self {
            client: section.parsed("client", "127.0.0.1:8440", address),
            admin: section.parsed("admin", "127.0.0.1:8441", address),
            workers: section.size("workers", 0, 0..=MAX_WORKERS),
            public_url: section.optional("public_url", |text| {
                text.strip_suffix('/').unwrap_or(text).parse::<Origin>()
            }),
        };
        if listen.client == listen.admin && listen.client.port() != 0 {
            section.fault("admin", "must differ from `listen.client`");
        }
        listen
    }
}

impl Tls {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let certificate = file(section, "certificate");
        let key = file(section, "key");
        let plain_tcp = section.flag("plain_tcp", false);
        let missing = match (section.has("certificate"), section.has("key")) {
            (true, false) => Some("key"),
            (false, true) => Some("certificate"),
            _ => None,
        };
        if let Some(missing) = missing {
            section.fault(missing, "missing: `certificate` and `key` go together");
        }
        let files = certificate.zip(key);
        let certificate = files.map(|(certificate, key)| CertificateFiles { certificate, key });
        Self { certificate, plain_tcp }
    }
}

impl Node {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            name: section.parsed("name", "n1", name),
            region: section.parsed("region", "local", name),
            rebuilding_after_ms: section.number("rebuilding_after_ms", 60_000, 1_000..=86_400_000),
            mode: section.parsed("mode", "normal", str::parse::<Mode>),
        }
    }
}

impl Storage {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let base = section.base();
        Self {
            dir: section.parsed("dir", "data", |text| match text {
                "" => Err("must name a directory"),
                text => Ok(base.join(text)),
            }),
            partitions: section.number("partitions", 8, 1..=MAX_PARTITIONS) as u32,
        }
    }
}

impl Log {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let format = |text: &str| match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("must be `text` or `json`"),
        };
        Self {
            format: section.parsed("format", "text", format),
            filter: section.parsed("filter", "info", |text| Ok::<_, String>(text.to_owned())),
        }
    }
}

/// A file that is there.
pub(super) fn file(section: &mut Section<'_, '_>, key: &'static str) -> Option<PathBuf> {
    let base = section.base();
    section.optional(key, |text| {
        let path = base.join(text);
        if path.is_file() { Ok(path) } else { Err(format!("no file at {}", path.display())) }
    })
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "must be an address and a port, such as 0.0.0.0:8440 or [::]:8440")
}

pub(super) fn name(text: &str) -> Result<String, &'static str> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    match text {
        "" => Err("must not be empty"),
        text if text.len() > 64 => Err("must have at most 64 bytes"),
        text if text.bytes().all(allowed) => Ok(text.to_owned()),
        _ => Err("may have letters, digits, `.`, `_` and `-` only"),
    }
}
