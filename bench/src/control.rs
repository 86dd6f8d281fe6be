//! Processes that this one starts and talks to: orders in on stdin, answers out on stdout, a line of
//! JSON each. A process ends with its handle.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use meridian_stack::Space;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines, Stdin, Stdout};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::stats::Buckets;

/// What a process of subscribers is told after its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LoadOrder {
    /// Count from zero, and say so: what is published before the answer may go uncounted.
    Reset,
    /// Say what was counted.
    Report,
    /// Subscribe all that hold, and say when so many events have come.
    Go { expect: u64 },
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LoadAnswer {
    /// All connections are open, and subscribed unless they hold.
    Ready {
        opening_ns: u64,
    },
    Zeroed,
    Report {
        deliveries: u64,
        lost: u64,
        latencies: Buckets,
    },
    /// The events came; how long after the first subscribe.
    Done {
        deliveries: u64,
        elapsed_ns: u64,
    },
}

/// What a publisher is told after its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PublishOrder {
    Go { seconds: u32 },
}

/// What it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PublishAnswer {
    Ready,
    Done { sent: u64, failed: u64 },
}

/// A process of this program.
pub(crate) struct Worker {
    name: &'static str,
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

/// This process, as one that is given orders.
pub(crate) struct Orders {
    lines: Lines<BufReader<Stdin>>,
    stdout: Stdout,
}

impl Worker {
    /// Starts this program with another subcommand.
    pub(crate) fn start(name: &'static str, args: &[&str]) -> Result<Self> {
        let program = std::env::current_exe().context("finding this program")?;
        let mut command = Command::new(program);
        command.kill_on_drop(true);
        Self::spawn(command, name, args)
    }

    /// The same in a network namespace. It has further processes to end, so it is not killed: it ends
    /// when its stdin does.
    pub(crate) fn start_within(space: &Space, name: &'static str, args: &[&str]) -> Result<Self> {
        let program = std::env::current_exe().context("finding this program")?;
        Self::spawn(space.command(program).into(), name, args)
    }

    fn spawn(mut command: Command, name: &'static str, args: &[&str]) -> Result<Self> {
        let mut child = command
            .arg(name)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting `{name}`"))?;
        let stdin = child.stdin.take().context("its stdin is piped")?;
        let stdout = child.stdout.take().context("its stdout is piped")?;
        Ok(Self { name, child, stdin, lines: BufReader::new(stdout).lines() })
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        self.child.id().with_context(|| format!("`{}` has ended", self.name))
    }

    /// Tells it that there are no more orders, and waits for its end.
    pub(crate) async fn finish(self, patience: Duration) -> Result<()> {
        let Self { name, mut child, stdin, .. } = self;
        drop(stdin);
        let status = timeout(patience, child.wait()).await;
        let status = status.with_context(|| format!("`{name}` goes on"))??;
        anyhow::ensure!(status.success(), "`{name}` ended with {status}");
        Ok(())
    }

    pub(crate) async fn tell(&mut self, order: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        self.stdin.write_all(&line).await.with_context(|| format!("`{}` has ended", self.name))
    }

    /// The next line as it is.
    pub(crate) async fn line(&mut self, patience: Duration) -> Result<String> {
        match timeout(patience, self.lines.next_line()).await {
            Ok(line) => line?.with_context(|| format!("`{}` ended", self.name)),
            Err(_) => bail!("`{}` said nothing for {patience:?}", self.name),
        }
    }

    pub(crate) async fn hear<T: DeserializeOwned>(&mut self, patience: Duration) -> Result<T> {
        let line = self.line(patience).await?;
        serde_json::from_str(&line).with_context(|| format!("`{}` said {line:?}", self.name))
    }
}

impl Orders {
    pub(crate) fn new() -> Self {
        Self { lines: BufReader::new(tokio::io::stdin()).lines(), stdout: tokio::io::stdout() }
    }

    /// The next order; `None` when there will be none. Cancel safe.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        match self.lines.next_line().await? {
            Some(line) => Ok(Some(serde_json::from_str(&line)?)),
            None => Ok(None),
        }
    }

    pub(crate) async fn answer(&mut self, answer: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(answer)?;
        line.push(b'\n');
        self.stdout.write_all(&line).await?;
        Ok(self.stdout.flush().await?)
    }
}
