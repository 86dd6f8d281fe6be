//! A slow link from this network namespace to a new one, through a process in user space, and the
//! broker's address at its far end. Needs root. Ends with its handle.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command as Spawn};
use tokio::time::timeout;

use crate::control::Worker;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/stack/tunlink.py");
const NEAR: &str = "10.89.0.1";
const FAR: &str = "10.89.0.2";
const PATIENCE: Duration = Duration::from_secs(20);

/// What the link does to packets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) round_trip_ms: u32,
    pub(super) loss_percent: f64,
}

pub(super) struct Link {
    spaces: Spaces,
    tunnel: Child,
    forwards: Vec<Worker>,
}

/// The names of both ends' network namespaces; taken back when dropped.
struct Spaces {
    near: String,
    far: String,
}

impl Link {
    pub(super) async fn open(shape: Shape) -> Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "a link needs root");
        let spaces = Spaces::new()?;
        let mut tunnel = Spawn::new("python3")
            .arg(SCRIPT)
            .args([&spaces.near, NEAR, &spaces.far, FAR])
            .args(["--delay", &format!("{}", f64::from(shape.round_trip_ms) / 2.0)])
            .args(["--loss", &shape.loss_percent.to_string()])
            .args(["--dev", &format!("mb{}", std::process::id())])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting the link; is Python there?")?;
        let stdout = tunnel.stdout.take().context("its stdout is piped")?;
        let line = timeout(PATIENCE, BufReader::new(stdout).lines().next_line()).await??;
        ensure!(line.as_deref() == Some("ready"), "the link said {line:?}");
        Ok(Self { spaces, tunnel, forwards: Vec::new() })
    }

    /// A process of this program at the far end.
    pub(super) fn start_far(&self, name: &'static str, args: &[&str]) -> Result<Worker> {
        Worker::start_within(&self.spaces.far, name, args)
    }

    /// Makes a loopback address of this end answer at the far end as well.
    pub(super) async fn reach(&mut self, address: SocketAddr) -> Result<()> {
        let (here, over) = (address.to_string(), format!("{NEAR}:{}", address.port()));
        let near = Worker::start("forward", &[&over, &here])?;
        let far = self.start_far("forward", &[&here, &over])?;
        for mut forward in [near, far] {
            ensure!(forward.line(PATIENCE).await? == "listening", "a forward does not listen");
            self.forwards.push(forward);
        }
        Ok(())
    }

    /// Where the far end reaches this one, without `reach`.
    pub(super) fn near_address(port: u16) -> String {
        format!("{NEAR}:{port}")
    }

    /// Ends it; it says on stderr what it carried and lost.
    pub(super) async fn close(mut self) -> Result<()> {
        self.forwards.clear();
        let pid = self.tunnel.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        kill_process(pid.context("the link has ended")?, Signal::TERM)?;
        timeout(PATIENCE, self.tunnel.wait()).await??;
        Ok(())
    }
}

impl Spaces {
    fn new() -> Result<Self> {
        let pid = std::process::id();
        let spaces = Self { near: format!("bench-near-{pid}"), far: format!("bench-far-{pid}") };
        // The one that this process is in gets a name.
        ip(&["netns", "attach", &spaces.near, &pid.to_string()])?;
        ip(&["netns", "add", &spaces.far])?;
        ip(&["-n", &spaces.far, "link", "set", "lo", "up"])?;
        Ok(spaces)
    }
}

impl Drop for Spaces {
    fn drop(&mut self) {
        for name in [&self.near, &self.far] {
            let _ = ip(&["netns", "del", name]);
        }
    }
}

fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(args).output().context("running `ip`")?;
    if !output.status.success() {
        bail!("`ip {}`: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
