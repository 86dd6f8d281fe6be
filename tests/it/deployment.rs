//! `deploy/local`: one command starts two whole regions, and nothing of them outlives their end.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use meridian_client::{Choice, Client, From, Publish, Transport};

use crate::Run;
use crate::client::next_event;
use crate::node::eventually_within;

/// Everything that `up` starts, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A running `up`.
struct Deployment {
    folder: PathBuf,
    up: Child,
}

impl Drop for Deployment {
    /// Also where a test fails: it ends what it started.
    fn drop(&mut self) {
        if matches!(self.up.try_wait(), Ok(None)) {
            self.signal("-TERM");
            let _ = self.up.wait();
        }
    }
}

impl Deployment {
    fn start(folder: &Path) -> Self {
        let said = File::create(folder.join("said")).expect("a file of ours");
        let errors = said.try_clone().expect("the file stays open");
        let binary = env!("CARGO_BIN_EXE_meridian");
        let up = command("up", folder)
            .args(["--routers", "1", "--binary", binary])
            .stdout(said)
            .stderr(errors)
            .spawn()
            .expect("the script starts");
        Self { folder: folder.to_owned(), up }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.folder.join("said")).unwrap_or_default()
    }

    /// What is where, once everything runs.
    async fn facts(&mut self) -> HashMap<String, String> {
        eventually_within(PATIENCE, "two regions", || {
            let ended = self.up.try_wait().expect("the process is ours");
            assert!(ended.is_none(), "{}", self.said());
            self.said().contains("Ctrl-C ends everything").then_some(())
        })
        .await;
        let env = std::fs::read_to_string(self.folder.join("env")).expect("the facts");
        let facts = env.lines().filter_map(|line| line.split_once('='));
        facts.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// What Ctrl-C does, or a crash; returns when the process is gone, with what it said.
    async fn end(mut self, signal: &str) -> String {
        self.signal(signal);
        eventually_within(PATIENCE, "the end", || self.up.try_wait().expect("the process is ours"))
            .await;
        self.said()
    }

    fn signal(&self, signal: &str) {
        let pid = self.up.id().to_string();
        let told = Command::new("kill").args([signal, &pid]).status().expect("kill runs");
        assert!(told.success());
    }
}

fn command(name: &str, folder: &Path) -> Command {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy/local").join(name);
    let mut command = Command::new(script);
    command.env("MERIDIAN_LOCAL", folder).stdin(Stdio::null());
    command
}

fn run(name: &str, folder: &Path) -> Run {
    command(name, folder).output().expect("the script starts").into()
}

/// The processes that run in the folder.
fn processes_in(folder: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir("/proc").expect("the processes");
    let all = all.flatten().filter_map(|entry| std::fs::read_link(entry.path().join("cwd")).ok());
    all.filter(|cwd| cwd.starts_with(folder)).collect()
}

/// A client of one edge, which follows no redirect and goes nowhere else.
async fn connect(facts: &HashMap<String, String>, edge: &str) -> Client {
    Client::builder(&facts[edge])
        .token(facts["TOKEN"].clone())
        .transport(Choice::Only(Transport::WebSocket))
        .connect()
        .await
        .expect("a connection")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_command_starts_two_regions_and_ends_them() {
    install_servers();
    let channel = "demo:hello";
    let folder = tempfile::tempdir().expect("a directory");
    let folder = folder.path();
    let mut deployment = Deployment::start(folder);
    let facts = deployment.facts().await;
    let (writer, reader) = (connect(&facts, "EDGE_1A").await, connect(&facts, "EDGE_2B").await);
    let mut read = reader.subscribe(channel, From::Now).await.expect("a subscription");
    writer.publish(Publish::json(channel, "1").id("first")).await.expect("acknowledged");
    assert_eq!(next_event(&mut read).await.id.as_deref(), Some("first"));

    let second = run("up", folder);
    assert_eq!(second.code, 1, "{}", second.stderr);
    assert!(second.stderr.contains("runs already"), "{}", second.stderr);

    deployment.end("-KILL").await;
    assert!(!processes_in(folder).is_empty(), "nobody ended what it had started");
    let mut deployment = Deployment::start(folder);
    let facts = deployment.facts().await;
    assert!(deployment.said().contains("ends what an earlier run left"), "{}", deployment.said());
    let reader = connect(&facts, "EDGE_2A").await;
    let mut read = reader.subscribe(channel, From::Last(1)).await.expect("a subscription");
    assert_eq!(next_event(&mut read).await.id.as_deref(), Some("first"), "the stores stay");

    let said = deployment.end("-INT").await;
    assert_eq!(processes_in(folder), Vec::<PathBuf>::new(), "{said}");
    let purged = run("down", folder);
    assert_eq!(purged.code, 0, "{}", purged.stderr);
}

/// The first time takes longer than any wait here.
fn install_servers() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stack/stack.sh");
    let done = Command::new(script).arg("install").output().expect("the script starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
