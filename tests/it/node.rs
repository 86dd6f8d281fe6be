//! A real server process in a directory of its own. Owns how it is started, watched and ended; each
//! test starts its own, on ports that the system picks, and ends it by its process id.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use meridian_client::{CertificateHash, Trust};

use crate::{certificate, request};

/// Nothing here takes longer, on a busy machine too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What every node here knows: one key, and a namespace for each kind of policy.
pub(crate) const BASE: &str = r#"
[[auth.keys]]
id = "main"
algorithm = "HS256"
secret = "a secret of thirty-two bytes, ok"
[namespaces.room]
subscribe = ["tenant"]
publish = ["tenant"]
[namespaces.closed]
subscribe = ["role:insider"]
publish = ["role:insider"]
[namespaces.granted]
subscribe = ["granted"]
publish = ["granted"]
[namespaces.typing]
class = "ephemeral"
subscribe = ["tenant"]
publish = ["tenant"]
"#;

/// A running server. Ends with its owner.
pub(crate) struct Node {
    process: Child,
    dir: tempfile::TempDir,
    arguments: Vec<String>,
    pub(crate) client: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) certificate: CertificateHash,
    /// Where clients of the further regions connect, and their certificates.
    pub(crate) others: Vec<(SocketAddr, CertificateHash)>,
}

impl Node {
    /// Starts a node with the base configuration and `extra` sections.
    pub(crate) async fn start(extra: &str) -> Self {
        Self::start_with(extra, &["--listen", "127.0.0.1:0"]).await
    }

    /// The same with other arguments for `dev`; the address is among them.
    pub(crate) async fn start_with(extra: &str, arguments: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), extra, arguments).await
    }

    /// The same with a certificate that outlives the process, as clients that pin it need.
    pub(crate) async fn start_lasting(extra: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        certificate::write(dir.path());
        let extra = format!("{}\n{extra}", certificate::SECTION);
        Self::start_in(dir, &extra, &["--listen", "127.0.0.1:0"]).await
    }

    /// The same in a directory that may hold files which the configuration names.
    pub(crate) async fn start_in(dir: tempfile::TempDir, extra: &str, arguments: &[&str]) -> Self {
        std::fs::write(dir.path().join("meridian.toml"), format!("{extra}\n{BASE}"))
            .expect("a configuration");
        let arguments: Vec<String> = arguments.iter().map(|&part| part.to_owned()).collect();
        let process = spawn(dir.path(), &arguments);
        let mut node = Self {
            process,
            dir,
            arguments,
            client: SocketAddr::from(([0, 0, 0, 0], 0)),
            admin: SocketAddr::from(([0, 0, 0, 0], 0)),
            certificate: CertificateHash([0; 32]),
            others: Vec::new(),
        };
        node.read_announcement().await;
        node
    }

    /// Starts it again on the same port and data, after it has ended.
    pub(crate) async fn restart(&mut self) {
        let at = self.arguments.iter().position(|part| part == "--listen").expect("an address");
        self.arguments[at + 1] = self.client.to_string();
        self.process = spawn(self.dir.path(), &self.arguments);
        self.read_announcement().await;
    }

    async fn read_announcement(&mut self) {
        let path = self.dir.path().join("stdout");
        let process = &mut self.process;
        let text = eventually("the announcement", || {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            if let Ok(Some(status)) = process.try_wait() {
                panic!("the node ended with {status}");
            }
            text.contains("\ntoken ").then_some(text)
        })
        .await;
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
            line.trim().to_owned()
        };
        let address = |name: &str| {
            value(name).split("://").nth(1).and_then(|at| at.parse().ok()).expect("an address")
        };
        (self.client, self.admin) = (address("client "), address("admin "));
        self.certificate = value("certificate-hash ").parse().expect("a hash");
        let values =
            |name: &'static str| text.lines().filter_map(move |line| line.strip_prefix(name));
        let clients = values("client ").filter_map(|url| url.split("://").nth(1)?.parse().ok());
        let certificates = values("certificate-hash ").filter_map(|hash| hash.parse().ok());
        self.others = clients.zip(certificates).skip(1).collect();
        let admin = self.admin;
        eventually_async("readiness", || async move {
            let answer = request::get(admin, "/readyz").await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("the process is ours");
        self.process.wait().expect("the process is ours");
    }

    /// Asks it to end in order.
    pub(crate) fn terminate(&self) {
        terminate(&self.process);
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self, within: Duration) -> ExitStatus {
        let process = &mut self.process;
        eventually_within(within, "the node's end", || process.try_wait().expect("ours")).await
    }

    /// Whose address a session or a request is sent to.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.client)
    }

    /// Trusts exactly this node's certificate.
    pub(crate) fn trust(&self) -> Trust {
        Trust::Hashes(vec![self.certificate])
    }

    /// What it keeps in memory, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let text = std::fs::read_to_string(path).expect("the process lives");
        let line = text.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }

    /// The sum of a metric over the label sets that contain `label`.
    pub(crate) async fn metric(&self, name: &str, label: &str) -> f64 {
        let answer = request::get(self.admin, "/metrics").await.expect("metrics");
        let of_name =
            |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        answer
            .body
            .lines()
            .filter(of_name)
            .filter(|line| line.contains(label))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Where its files are.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = self.log();
            let from = log.char_indices().rev().nth(3000).map_or(0, |(at, _)| at);
            eprintln!("the node's log ends with:\n{}", &log[from..]);
        }
    }
}

fn spawn(dir: &Path, arguments: &[String]) -> Child {
    let file = |name: &str| File::create(dir.join(name)).expect("a file in our directory");
    Command::new(env!("CARGO_BIN_EXE_meridian"))
        .args(["dev", "--admin", "127.0.0.1:0", "--data", "data", "--config", "meridian.toml"])
        .args(arguments)
        .current_dir(dir)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(file("stdout"))
        .stderr(File::options().append(true).create(true).open(dir.join("stderr")).expect("a file"))
        .spawn()
        .expect("the built command starts")
}

/// Waits until `look` sees it.
pub(crate) async fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, look).await
}

/// The same within a time.
pub(crate) async fn eventually_within<T>(
    within: Duration,
    what: &str,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(began.elapsed() < within, "waited {within:?} in vain for {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Asks a process of ours to end in order.
pub(crate) fn terminate(child: &Child) {
    let pid = child.id().to_string();
    let status = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
    assert!(status.success());
}

/// The same where looking takes time.
pub(crate) async fn eventually_async<T, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let began = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Fails the test where it takes too long.
pub(crate) async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("waited in vain for {what}"),
    }
}
