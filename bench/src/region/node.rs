//! A region's edge and router as processes of the server's command: configured, started, watched and
//! ended by process id.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use meridian_core::auth::{Claims, SigningKey, mint};
use meridian_core::vocabulary::{Tenant, UserId};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use super::{Servers, TENANT};
use crate::cli::RegionOptions;
use crate::server::{configuration, drain, free_address, is_ready, until};
use crate::target::{Kind, Target};

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(20);
const SECRET: &str = "a secret of thirty-two bytes, ok: bench";
const KEY: &str = "bench";

/// Clients of a bench send faster than any person: their rate is no part of what is measured. The
/// namespace `cold` keeps so little hot that most of what a client missed is in Postgres only.
const CONFIG: &str = "\
[limits]
commands_per_s = 1000000
commands_burst = 1000000

[namespaces.bench]
subscribe = [\"tenant\"]
publish = [\"tenant\"]

[namespaces.cold]
subscribe = [\"tenant\"]
publish = [\"tenant\"]
[namespaces.cold.history]
events = 8
";

/// Which process of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Edge,
    Router,
}

/// A region's configuration, and where its files are.
pub(crate) struct Region {
    name: String,
    server_cmd: String,
    more: Option<PathBuf>,
    servers: Servers,
    partitions: u32,
    client: SocketAddr,
    dir: TempDir,
}

/// A running process. Ends with its handle; its files end with its region.
pub(crate) struct Node {
    pub(crate) pid: u32,
    pub(crate) admin: SocketAddr,
    child: Child,
    log: PathBuf,
    /// Reads what it prints, so that it never waits for a reader.
    _output: JoinSet<()>,
}

impl Role {
    fn word(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Router => "router",
        }
    }
}

impl Region {
    /// A region whose edge listens on an address of this host.
    pub(crate) fn new(
        name: &str,
        options: &RegionOptions,
        servers: &Servers,
        partitions: u32,
    ) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("meridian-bench").tempdir()?;
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
        std::fs::write(dir.path().join("chain.pem"), made.cert.pem())?;
        std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem())?;
        Ok(Self {
            name: name.to_owned(),
            server_cmd: options.server_cmd.clone(),
            more: options.server_config.clone(),
            servers: servers.clone(),
            partitions,
            client: free_address()?,
            dir,
        })
    }

    /// Makes the schema of the region's history.
    pub(crate) async fn migrate(&self) -> Result<()> {
        Ok(meridian_postgres::migrate(&self.servers.postgres_options()).await?)
    }

    /// Where its edge is reached, plain, by a user of the tenant `bench`.
    pub(crate) fn target(&self) -> Result<Target> {
        let key = SigningKey::hs256(KEY, SECRET.as_bytes())?;
        let claims = Claims::new(Tenant::parse(TENANT)?, UserId::parse("bench")?);
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let token = mint(&key, &claims, now.as_millis() as u64)?;
        let kind = Kind::Meridian { token };
        Ok(Target { addr: self.client, kind, tls: false, certificate_hash: None })
    }

    /// Starts a process; returns when it is ready.
    pub(crate) async fn start(&self, role: Role) -> Result<Node> {
        let mut node = self.spawn(role)?;
        let ready = until(START, "readiness", async || {
            if let Some(status) = node.child.try_wait()? {
                bail!("it ended with {status}");
            }
            Ok(is_ready(node.admin).await)
        });
        match ready.await {
            Ok(()) => Ok(node),
            Err(error) => Err(error.context(node.said())),
        }
    }

    /// Starts a process without waiting for it.
    pub(crate) fn spawn(&self, role: Role) -> Result<Node> {
        let admin = free_address()?;
        let config = self.configure(role, admin)?;
        let log = self.file(&format!("{}.log", role.word()));
        let mut words = self.server_cmd.split_ascii_whitespace();
        let mut child = Command::new(words.next().context("--server-cmd is empty")?)
            .args(words)
            .arg(role.word())
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {:?}; is it built?", self.server_cmd))?;
        let pid = child.id().context("the process ended at once")?;
        let stdout = child.stdout.take().context("its stdout is piped")?;
        let mut output = JoinSet::new();
        output.spawn_local(drain(BufReader::new(stdout).lines()));
        Ok(Node { pid, admin, child, log, _output: output })
    }

    fn configure(&self, role: Role, admin: SocketAddr) -> Result<PathBuf> {
        let base = format!("{CONFIG}{}", self.own(role, admin));
        let config = configuration(&base, self.more.as_deref())?;
        let path = self.file(&format!("{}.toml", role.word()));
        std::fs::write(&path, config.to_string())?;
        Ok(path)
    }

    /// What is this region's and this process' own.
    fn own(&self, role: Role, admin: SocketAddr) -> String {
        let Servers { kafka, redis, postgres } = &self.servers;
        format!(
            "[node]\nname = '{name}-{role}'\nregion = '{name}'\n\
             [listen]\nclient = '{client}'\nadmin = '{admin}'\n\
             [tls]\ncertificate = '{chain}'\nkey = '{key}'\nplain_tcp = true\n\
             [storage]\ndir = '{data}'\n\
             [kafka]\nbootstrap = '{kafka}'\npartitions = {partitions}\nreplication = 1\n\
             [redis]\nurl = '{redis}'\n\
             [postgres]\nurl = '{postgres}'\nplain = true\n\
             [[auth.keys]]\nid = '{KEY}'\nalgorithm = 'HS256'\nsecret = '{SECRET}'\n",
            name = self.name,
            role = role.word(),
            client = self.client,
            chain = self.file("chain.pem").display(),
            key = self.file("key.pem").display(),
            data = self.file(role.word()).display(),
            partitions = self.partitions,
        )
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::new(self.dir.path()).join(name)
    }
}

impl Node {
    /// What it has logged.
    pub(crate) fn said(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        format!("process {} said:\n{log}", self.pid)
    }

    /// Asks it to stop and waits for its end.
    pub(crate) async fn stop(mut self) -> Result<()> {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)?;
        }
        if tokio::time::timeout(STOP, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        Ok(())
    }
}
