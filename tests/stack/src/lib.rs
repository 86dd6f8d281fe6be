//! Real Kafka, Redis and Postgres for tests: started on free loopback ports in a temporary folder,
//! killed, paused and started again by name, and ended when dropped; and a slow link, for servers on both
//! of its ends. Owns no client of theirs.

#![expect(clippy::unwrap_used, reason = "a test that has no servers has nothing else to do")]

mod link;

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

pub use link::{Link, Packets, Shape, Space};

/// How many servers of each kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    pub redis: u32,
    /// Masters of one cluster without replicas: none, or at least 3.
    pub redis_cluster: u32,
    /// Sentinels that watch the first Redis by the name `main`; each may start a failover alone.
    pub sentinel: u32,
    pub postgres: u32,
    /// 1, or 3 for a replicated cluster with `min.insync.replicas=2`.
    pub kafka: u32,
}

/// Files of a killed server as they were, to be put back: a disk that lost what was written after.
#[derive(Debug)]
pub struct Kept {
    folder: PathBuf,
    copy: TempDir,
}

/// Running servers. Their ports and data stay the same over `kill` and `start`.
#[derive(Debug)]
pub struct Stack {
    folder: TempDir,
    /// Where they run, unless here.
    space: Option<Space>,
    addresses: HashMap<String, String>,
}

impl Stack {
    /// Starts them, installing by package name what is missing; returns when all are ready. Panics
    /// with the script's output if they can't be.
    pub fn start(counts: Counts) -> Self {
        Self::up(counts, None, "127.0.0.1")
    }

    /// The same, with brokers that are reached from both ends of a link.
    pub fn start_near(link: &Link, counts: Counts) -> Self {
        Self::up(counts, None, &link.near().to_string())
    }

    /// The same at the far end of a link, on loopback there.
    pub fn start_far(link: &Link, counts: Counts) -> Self {
        Self::up(counts, Some(link.space().clone()), "127.0.0.1")
    }

    /// `host`: the address of the brokers.
    fn up(counts: Counts, space: Option<Space>, host: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("meridian-stack.").tempdir().unwrap();
        // Postgres runs as another user, which must get in.
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        // Before they start: what did start ends with it, also where one of them can't.
        let mut stack = Self { folder, space, addresses: HashMap::new() };
        let mut script = stack.script("up", None);
        script
            .env("STACK_REDIS", counts.redis.to_string())
            .env("STACK_REDIS_CLUSTER", counts.redis_cluster.to_string())
            .env("STACK_SENTINEL", counts.sentinel.to_string())
            .env("STACK_PG", counts.postgres.to_string())
            .env("STACK_KAFKA", counts.kafka.to_string())
            .env("STACK_KAFKA_HOST", host);
        let printed = run(&mut script);
        stack.addresses = printed
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        stack
    }

    /// `redis://127.0.0.1:PORT` of server `number`, from 1.
    pub fn redis(&self, number: u32) -> &str {
        self.address(&format!("REDIS{number}_URL"))
    }

    /// `redis://127.0.0.1:PORT` of the cluster's master `number`, from 1.
    pub fn redis_cluster(&self, number: u32) -> &str {
        self.address(&format!("CLUSTER{number}_URL"))
    }

    /// `127.0.0.1:PORT` of Sentinel `number`, from 1.
    pub fn sentinel(&self, number: u32) -> &str {
        self.address(&format!("SENTINEL{number}"))
    }

    /// `postgres://…/postgres` of server `number`, from 1; a superuser who needs no password.
    pub fn postgres(&self, number: u32) -> &str {
        self.address(&format!("PG{number}_URL"))
    }

    /// Bootstrap servers, comma-separated.
    pub fn kafka(&self) -> &str {
        self.address("KAFKA_BOOTSTRAP")
    }

    /// SIGKILL to a server by name: `redis1`, `cluster2`, `sentinel1`, `pg2`, `kafka1`.
    pub fn kill(&self, server: &str) {
        self.act("kill", server);
    }

    /// Starts a killed server at its old address with its old data; returns when it is ready.
    pub fn restart(&self, server: &str) {
        self.act("start", server);
    }

    /// SIGSTOP.
    pub fn pause(&self, server: &str) {
        self.act("pause", server);
    }

    /// SIGCONT.
    pub fn resume(&self, server: &str) {
        self.act("resume", server);
    }

    /// A server's folder: its data and its `log`.
    pub fn folder(&self, server: &str) -> PathBuf {
        self.folder.path().join(server)
    }

    /// Copies a folder of a killed server that holds files only, say `data/TOPIC-0` of a broker.
    pub fn keep(&self, server: &str, folder: &str) -> Kept {
        let (folder, copy) = (self.folder(server).join(folder), TempDir::new().unwrap());
        copy_files(&folder, copy.path());
        Kept { folder, copy }
    }

    /// Has a killed server find its files as they were kept.
    pub fn put_back(&self, kept: &Kept) {
        std::fs::remove_dir_all(&kept.folder).unwrap();
        std::fs::create_dir(&kept.folder).unwrap();
        copy_files(kept.copy.path(), &kept.folder);
    }

    fn act(&self, action: &str, server: &str) {
        run(&mut self.script(action, Some(server)));
    }

    fn script(&self, action: &str, server: Option<&str>) -> Command {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/stack.sh");
        let mut command = match &self.space {
            Some(space) => space.command(script),
            None => Command::new(script),
        };
        command.arg(action).arg(self.folder.path()).args(server).stdin(Stdio::null());
        command
    }

    fn address(&self, name: &str) -> &str {
        match self.addresses.get(name) {
            Some(address) => address,
            None => panic!("{name} was not started: {:?}", self.addresses),
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // What it says of servers that are not there is nobody's.
        let _ = self.script("down", None).output();
    }
}

fn copy_files(from: &Path, to: &Path) {
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// What a script printed that did as asked.
fn run(script: &mut Command) -> String {
    let output = script.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn listens(url: &str) -> bool {
        let at = url.rsplit_once('@').map_or(url, |(_, host)| host);
        let at = at.trim_start_matches("redis://").split('/').next().unwrap();
        TcpStream::connect(at).is_ok()
    }

    #[test]
    fn servers_start_die_and_come_back_at_their_addresses() {
        let stack = Stack::start(Counts { redis: 1, postgres: 1, kafka: 1, ..Counts::default() });
        let addresses = [stack.redis(1), stack.postgres(1), stack.kafka()].map(str::to_owned);
        for (server, address) in ["redis1", "pg1", "kafka1"].into_iter().zip(&addresses) {
            assert!(listens(address), "{address}");
            stack.kill(server);
            assert!(!listens(address), "{address}");
            stack.restart(server);
            assert!(listens(address), "{address}");
        }
        drop(stack);
        assert!(addresses.iter().all(|address| !listens(address)));
    }
}
