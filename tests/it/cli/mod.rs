//! `meridian sub`, `pub`, `history` and `latest` against a real node, as people and scripts use them.

mod ends;
mod examples;
mod publishing;
mod reading;
mod refusals;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use meridian_client::Transport;
use serde_json::Value;

use crate::Run;
use crate::client::token;
use crate::node::{Node, PATIENCE, eventually, eventually_within};

/// Commands that reach a node over one transport, as a user of it.
struct Cli<'a> {
    node: &'a Node,
    transport: Transport,
    token: String,
}

impl<'a> Cli<'a> {
    fn new(node: &'a Node, transport: Transport) -> Self {
        Self { node, transport, token: token("ann") }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let transport = match self.transport {
            Transport::WebSocket => "websocket",
            Transport::WebTransport => "webtransport",
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_meridian"));
        command
            .args(arguments)
            .args(["--transport", transport])
            .args(["--certificate-hash", &self.node.certificate.to_string()])
            .current_dir(self.node.dir())
            .env_clear()
            .env("MERIDIAN_URL", self.node.url())
            .env("MERIDIAN_TOKEN", &self.token)
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.command(arguments).output().expect("the built command starts").into()
    }

    /// Runs with `--json` and must succeed.
    fn objects(&self, arguments: &[&str]) -> Vec<Value> {
        let run = self.run(&[arguments, &["--json"]].concat());
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{arguments:?}: {}", run.stdout);
        objects(&run.stdout)
    }

    /// Waits until the region has applied the event: what is acknowledged is in the log, and may not be
    /// in the history yet.
    async fn settled(&self, channel: &str, id: &str) {
        eventually("the history", || {
            let newest = self.objects(&["latest", channel]);
            (newest[0]["id"] == id).then_some(())
        })
        .await;
    }

    /// Runs with this text as standard input.
    fn fed(&self, arguments: &[&str], input: &str) -> Run {
        let path = self.node.dir().join("input");
        std::fs::write(&path, input).expect("a file in our directory");
        let input = File::open(path).expect("a file in our directory");
        self.command(arguments).stdin(input).output().expect("the built command starts").into()
    }

    /// Starts with its output in a file of this name.
    fn start(&self, name: &str, arguments: &[&str], stdin: Stdio) -> Running {
        let path = self.node.dir().join(name);
        let out = File::create(&path).expect("a file in our directory");
        let errors = File::create(path.with_extension("err")).expect("a file in our directory");
        let mut command = self.command(arguments);
        let child = command.stdin(stdin).stdout(out).stderr(errors).spawn();
        Running { child: child.expect("the built command starts"), path }
    }
}

/// A command at work. Ends with its owner.
struct Running {
    child: Child,
    path: PathBuf,
}

impl Running {
    /// The whole lines that it printed.
    fn lines(&self) -> Vec<String> {
        whole_lines(&self.path)
    }

    /// Waits for so many objects of a type.
    async fn objects(&self, of_type: &str, count: usize) -> Vec<Value> {
        let what = format!("{count} × {of_type}");
        eventually(&what, || {
            let lines = self.lines();
            let seen: Vec<Value> = objects(&lines.join("\n"));
            let seen: Vec<Value> = seen.into_iter().filter(|one| one["type"] == of_type).collect();
            (seen.len() >= count).then_some(seen)
        })
        .await
    }

    fn interrupt(&self) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-INT", &pid]).status().expect("kill runs");
        assert!(status.success());
    }

    async fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        eventually_within(PATIENCE * 2, "the command's end", || child.try_wait().expect("ours"))
            .await
    }

    fn errors(&self) -> String {
        std::fs::read_to_string(self.path.with_extension("err")).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{} printed to standard error:\n{}", self.path.display(), self.errors());
        }
    }
}

fn whole_lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(str::to_owned).collect()
}

/// One object a line.
fn objects(text: &str) -> Vec<Value> {
    let read = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
    text.lines().map(read).collect()
}

fn of_type<'v>(objects: &'v [Value], name: &str) -> Vec<&'v Value> {
    objects.iter().filter(|object| object["type"] == name).collect()
}
