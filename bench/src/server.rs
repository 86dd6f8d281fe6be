//! Servers under test: a Meridian with a fresh data directory, or a floor. Each ends with its handle,
//! by its process id.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinSet;
use toml::{Table, Value};

use crate::cli::Common;
use crate::control::Worker;
use crate::target::{Kind, Target};

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(15);
/// Clients of a bench send faster than any person: their rate is no part of what is measured.
const CONFIG: &str = "\
[limits]
commands_per_s = 1000000
commands_burst = 1000000

[namespaces.bench]
subscribe = [\"tenant\"]
publish = [\"tenant\"]
";

/// A process to measure, and where to reach it.
pub(crate) struct Server {
    pub(crate) target: Target,
    pub(crate) pid: u32,
    _process: Process,
}

enum Process {
    Meridian(Box<Meridian>),
    Floor { _worker: Box<Worker> },
}

struct Meridian {
    child: Child,
    _data: TempDir,
    /// Reads what the server prints, so that it never waits for a reader.
    _output: JoinSet<()>,
}

impl Server {
    /// Starts the server that the command line names.
    pub(crate) async fn meridian(common: &Common, tls: bool) -> Result<Self> {
        let data = tempfile::Builder::new().prefix("meridian-bench").tempdir()?;
        let config = data.path().join("bench.toml");
        let text = configuration(CONFIG, common.server_config.as_deref())?.to_string();
        std::fs::write(&config, text)?;
        let (listen, admin) = (free_address()?, free_address()?);
        let log = std::fs::File::create(data.path().join("server.log"))?;
        let mut words = common.server_cmd.split_ascii_whitespace();
        let mut command = Command::new(words.next().context("--server-cmd is empty")?);
        command.args(words).arg("dev");
        command.args(["--listen", &listen.to_string(), "--admin", &admin.to_string()]);
        command.arg("--data").arg(data.path().join("data")).arg("--config").arg(config);
        if tls {
            command.arg("--tls");
        }
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = spawned
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {:?}; is it built?", common.server_cmd))?;
        let pid = child.id().context("the server ended at once")?;
        let stdout = child.stdout.take().context("its stdout is piped")?;
        let started = tokio::time::timeout(START, ready(stdout, admin)).await;
        let Ok(Ok((said, lines))) = started else {
            let log = std::fs::read_to_string(data.path().join("server.log")).unwrap_or_default();
            bail!("the server did not become ready; it said:\n{log}");
        };
        let mut output = JoinSet::new();
        output.spawn_local(drain(lines));
        let target = Target {
            addr: listen,
            kind: Kind::Meridian { token: said.token },
            tls,
            certificate_hash: said.certificate_hash,
        };
        let process = Meridian { child, _data: data, _output: output };
        Ok(Self { target, pid, _process: Process::Meridian(Box::new(process)) })
    }

    /// Starts a floor.
    pub(crate) async fn floor(tls: bool) -> Result<Self> {
        let args: &[&str] = if tls { &["--tls"] } else { &[] };
        let mut worker = Worker::start("floor", args)?;
        let line = worker.line(START).await?;
        let addr = line.strip_prefix("listening ").context("the floor says where it listens")?;
        let addr = addr.parse()?;
        let certificate_hash = match tls {
            true => word(&worker.line(START).await?, "certificate-hash"),
            false => None,
        };
        let target = Target { addr, kind: Kind::Floor, tls, certificate_hash };
        let pid = worker.pid()?;
        Ok(Self { target, pid, _process: Process::Floor { _worker: Box::new(worker) } })
    }

    /// Asks the server to stop and waits for its end.
    pub(crate) async fn stop(self) -> Result<()> {
        let Process::Meridian(mut meridian) = self._process else { return Ok(()) };
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)?;
        }
        if tokio::time::timeout(STOP, meridian.child.wait()).await.is_err() {
            meridian.child.kill().await?;
        }
        Ok(())
    }
}

/// What a server says of itself when it starts.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    token: String,
    certificate_hash: Option<String>,
}

impl Said {
    fn take(&mut self, line: &str) {
        if let Some(token) = word(line, "token") {
            self.token = token;
        }
        if let Some(hash) = word(line, "certificate-hash") {
            self.certificate_hash = Some(hash);
        }
    }
}

/// The word behind `name` at the start of a line.
fn word(line: &str, name: &str) -> Option<String> {
    let rest = line.strip_prefix(name)?.strip_prefix(' ')?;
    rest.split_ascii_whitespace().next().map(str::to_owned)
}

/// Reads what the server says until it is ready.
async fn ready(
    stdout: ChildStdout,
    admin: SocketAddr,
) -> Result<(Said, Lines<BufReader<ChildStdout>>)> {
    let mut said = Said::default();
    let mut lines = BufReader::new(stdout).lines();
    let mut poll = tokio::time::interval(Duration::from_millis(50));
    loop {
        tokio::select! {
            line = lines.next_line() => said.take(&line?.context("the server ended")?),
            _ = poll.tick() => {
                if !said.token.is_empty() && is_ready(admin).await {
                    return Ok((said, lines));
                }
            }
        }
    }
}

/// Reads what a process says, for nobody.
pub(crate) async fn drain(mut lines: Lines<BufReader<ChildStdout>>) {
    while let Ok(Some(_)) = lines.next_line().await {}
}

/// Whether `/readyz` says so.
pub(crate) async fn is_ready(admin: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(admin).await?;
        stream
            .write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await?;
        std::io::Result::Ok(answer.ends_with(b" 200"))
    };
    ask.await.unwrap_or(false)
}

/// What the bench needs, with what the command line adds on top.
pub(crate) fn configuration(base: &str, more: Option<&Path>) -> Result<Table> {
    let mut config: Table = base.parse()?;
    if let Some(path) = more {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let more: Table =
            text.parse().with_context(|| format!("{} is not TOML", path.display()))?;
        merge(&mut config, more);
    }
    Ok(config)
}

fn merge(base: &mut Table, more: Table) {
    for (key, value) in more {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// A port that was free a moment ago, for TCP and for UDP.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(StdListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Waits for a condition that another process brings about.
pub(crate) async fn until(
    patience: Duration,
    what: &str,
    mut check: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    let deadline = Instant::now() + patience;
    while !check().await? {
        if Instant::now() > deadline {
            bail!("{what} did not happen within {patience:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_is_found_at_the_start_of_a_line() {
        let mut said = Said::default();
        for line in [
            "client http://127.0.0.1:1",
            "token abc.def.ghi",
            "a token x",
            "certificate-hash 00ff",
            "tokens y",
        ] {
            said.take(line);
        }
        assert_eq!(
            said,
            Said { token: "abc.def.ghi".into(), certificate_hash: Some("00ff".into()) }
        );
    }

    #[test]
    fn further_configuration_goes_on_top() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[hub]\nring_events = 64\n[limits]\ncommands_burst = 5\n")
            .unwrap();
        let config = configuration(CONFIG, Some(file.path())).unwrap();
        assert_eq!(config["hub"]["ring_events"].as_integer(), Some(64));
        assert_eq!(config["limits"]["commands_burst"].as_integer(), Some(5));
        assert_eq!(config["limits"]["commands_per_s"].as_integer(), Some(1_000_000));
        assert!(config["namespaces"]["bench"].is_table());
    }
}
