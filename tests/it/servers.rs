//! Two regions on real servers: one Kafka, a Redis and a Postgres for each region, and each region's
//! edge and router as processes, the second region's behind a slow link if wanted. Owns how they are
//! configured, started, killed and started again.

mod asking;

use std::collections::HashMap;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use meridian_client::{Builder, CertificateHash, Choice, Client, Transport};
use meridian_stack::{Counts, Link, Packets, Stack};
use tokio::runtime::Handle;

use crate::far::Far;
use crate::node::{LOOK_EVERY, eventually_within};
use crate::{SECRET, certificate, request};

const PROGRAM: &str = env!("CARGO_BIN_EXE_meridian");
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Of the log.
pub(crate) const PARTITIONS: u32 = 8;
/// A busy machine starts a broker's clients slowly.
const PATIENCE: Duration = Duration::from_secs(60);

/// The servers and the processes. All end with it.
pub(crate) struct Regions {
    pub(crate) stack: Stack,
    dir: tempfile::TempDir,
    processes: Vec<Process>,
    certificate: CertificateHash,
    clients: [SocketAddr; 2],
    kafka_lines: String,
    /// Whether the first region's Redis is found by Sentinel.
    watched: bool,
    /// By process.
    admins: HashMap<String, SocketAddr>,
    /// Where the second region is, unless here.
    far: Option<Far>,
}

/// What is started.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    /// Brokers: 1 or 3.
    pub(crate) kafka: u32,
    /// 1 or 2.
    pub(crate) regions: usize,
    /// Lines of `[kafka]` besides.
    pub(crate) kafka_lines: &'static str,
    /// The first region's Redis has a replica, the last `redisN`, which Sentinel promotes.
    pub(crate) replica: bool,
}

impl Setup {
    /// One region.
    pub(crate) const ONE: Self = Self { kafka: 1, regions: 1, kafka_lines: "", replica: false };
}

impl Default for Setup {
    fn default() -> Self {
        Self { regions: 2, ..Self::ONE }
    }
}

struct Process {
    /// `edge1`, `router2`.
    name: String,
    child: Child,
}

impl Regions {
    /// Starts everything; returns when all of it is ready.
    pub(crate) async fn start() -> Self {
        Self::start_with(Setup::default()).await
    }

    /// The same with other servers.
    pub(crate) async fn start_with(setup: Setup) -> Self {
        let mut regions = Self::prepare_with(setup, None);
        regions.spawn_all(setup.regions).await;
        regions
    }

    /// The same with the second region at the far end of a link, and Kafka at this one.
    pub(crate) async fn start_over(link: Link) -> Self {
        let setup = Setup::default();
        let mut regions = Self::prepare_with(setup, Some(link));
        regions.spawn_all(setup.regions).await;
        regions
    }

    async fn spawn_all(&mut self, count: usize) {
        // The routers make the log; an edge that comes first would do as well.
        for kind in ["router", "edge"] {
            for region in 1..=count {
                self.spawn(&format!("{kind}{region}")).await;
            }
        }
    }

    /// Starts the servers, and configures what is to run on them: `revive` starts that.
    pub(crate) fn prepare() -> Self {
        Self::prepare_with(Setup::default(), None)
    }

    fn prepare_with(setup: Setup, link: Option<Link>) -> Self {
        let Setup { kafka, regions: count, kafka_lines, replica } = setup;
        let each = if link.is_some() { 1 } else { u32::try_from(count).expect("a small number") };
        let replicas = u32::from(replica);
        let (redis, sentinel) = (each + replicas, replicas);
        let counts = Counts { redis, sentinel, postgres: each, kafka, ..Counts::default() };
        let (stack, near) = match &link {
            Some(link) => (Stack::start_near(link, counts), link.near()),
            None => (Stack::start(counts), LOOPBACK),
        };
        let far = link.map(Far::start);
        let dir = tempfile::tempdir().expect("a directory");
        let certificate = certificate::write(dir.path());
        let clients = [near, far.as_ref().map_or(LOOPBACK, Far::ip)].map(free_address);
        let replication = if kafka == 1 { 1 } else { 3 };
        let mut regions = Self {
            stack,
            dir,
            processes: Vec::new(),
            certificate,
            clients,
            kafka_lines: format!("replication = {replication}\n{kafka_lines}"),
            watched: replica,
            admins: HashMap::new(),
            far,
        };
        for region in 1..=count {
            regions.configure(&format!("edge{region}"), region);
            regions.configure(&format!("router{region}"), region);
            regions.migrate(region);
        }
        regions
    }

    /// Another command of `meridian`; the processes' configurations are `edge1.toml` and so on.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command();
        command.args(arguments).current_dir(self.dir.path());
        command
    }

    /// A client whose home is this region (1 or 2), and which may go to the other.
    pub(crate) fn door(&self, region: usize, transport: Transport) -> Builder {
        self.only_door(region, transport).region(self.url(3 - region))
    }

    /// A client that knows no other region.
    pub(crate) fn only_door(&self, region: usize, transport: Transport) -> Builder {
        Client::builder(self.url(region))
            .certificate_hash(self.certificate)
            .transport(Choice::Only(transport))
            .reconnect_delay(Duration::from_millis(50), Duration::from_millis(500))
            .connect_timeout(Duration::from_secs(30))
    }

    /// Connects a client that is where a region (1 or 2) is, wherever it goes.
    pub(crate) async fn connect(&self, region: usize, door: Builder) -> Client {
        let connected = self.place(region).spawn(door.connect()).await;
        connected.expect("nobody aborts it").expect("a connection")
    }

    /// Where a region's clients are.
    pub(crate) fn place(&self, region: usize) -> Handle {
        match self.far_of(region) {
            Some(far) => far.clients().clone(),
            None => Handle::current(),
        }
    }

    /// Ends everything; what came to the link.
    pub(crate) fn close(mut self) -> Packets {
        self.end_processes();
        self.far.take().expect("a region behind a link").close()
    }

    fn far_of(&self, region: usize) -> Option<&Far> {
        self.far.as_ref().filter(|_| region == 2)
    }

    fn url(&self, region: usize) -> String {
        format!("http://{}", self.clients[region - 1])
    }

    /// `kill -9` of `edge1`, `router2`, `redis1`, `pg2` or `kafka1`.
    pub(crate) fn kill(&mut self, name: &str) {
        match self.processes.iter().position(|process| process.name == name) {
            Some(at) => {
                let mut process = self.processes.remove(at);
                process.child.kill().expect("the process is ours");
                process.child.wait().expect("the process is ours");
            }
            None => self.stack.kill(name),
        }
    }

    /// Starts again what was killed; returns when it is ready.
    pub(crate) async fn revive(&mut self, name: &str) {
        if self.admins.contains_key(name) {
            self.spawn(name).await;
        } else {
            self.stack.restart(name);
        }
    }

    /// What a process has logged.
    pub(crate) fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(format!("{name}.log"))).unwrap_or_default()
    }

    /// Starts another router of a region, say `router11` beside `router1`.
    pub(crate) async fn add_router(&mut self, name: &str, region: usize) {
        self.configure(name, region);
        self.spawn(name).await;
    }

    /// Starts another edge of a region, say `edge11` beside `edge1`; where its clients connect.
    pub(crate) async fn add_edge(&mut self, name: &str, region: usize) -> SocketAddr {
        let own = self.configure_edge(name, region);
        self.spawn(name).await;
        own
    }

    /// Configures another edge of a region, to be started by `revive`.
    pub(crate) fn configure_edge(&mut self, name: &str, region: usize) -> SocketAddr {
        self.configure(name, region);
        let usual = self.clients[region - 1];
        let own = free_address(usual.ip());
        let text = std::fs::read_to_string(self.config(name)).expect("a file of ours");
        let text = text.replace(&format!("client = '{usual}'"), &format!("client = '{own}'"));
        std::fs::write(self.config(name), text).expect("a file of ours");
        own
    }

    /// Where clients of a region (1 or 2) connect.
    pub(crate) fn client(&self, region: usize) -> SocketAddr {
        self.clients[region - 1]
    }

    /// Of every edge.
    pub(crate) fn certificate(&self) -> CertificateHash {
        self.certificate
    }

    /// The admin address of a process.
    pub(crate) fn admin(&self, name: &str) -> SocketAddr {
        self.admins[name]
    }

    /// Starts a bridge with these routes.
    pub(crate) async fn add_bridge(&mut self, name: &str, region: usize, routes: &str) {
        self.configure(name, region);
        self.append(name, routes);
        self.spawn(name).await;
    }

    /// Adds sections to the configuration of a process that is not started yet.
    pub(crate) fn append(&self, name: &str, sections: &str) {
        let config = self.config(name);
        let text = std::fs::read_to_string(&config).expect("a file of ours");
        std::fs::write(&config, text + sections).expect("a file of ours");
    }

    /// Has a process end in order, and waits for that.
    pub(crate) async fn terminate(&mut self, name: &str) {
        let at = self.processes.iter().position(|process| process.name == name);
        let mut process = self.processes.remove(at.expect("a process of ours"));
        crate::node::terminate(&process.child);
        let child = &mut process.child;
        let ended = || child.try_wait().expect("the process is ours");
        let status = eventually_within(PATIENCE, "a process that ends in order", ended).await;
        assert!(status.success(), "{name}: {status}: {}", self.log(name));
    }

    /// Waits until a process has ended by itself, in order.
    pub(crate) async fn ends(&mut self, name: &str) {
        let at = self.processes.iter().position(|process| process.name == name);
        let mut process = self.processes.remove(at.expect("a process of ours"));
        let child = &mut process.child;
        let ended = || child.try_wait().expect("the process is ours");
        let status = eventually_within(PATIENCE, "a process that ends by itself", ended).await;
        assert!(status.success(), "{name}: {status}: {}", self.log(name));
    }

    /// SIGSTOP of a process of ours.
    pub(crate) fn pause(&self, name: &str) {
        self.signal("-STOP", name);
    }

    /// SIGCONT.
    pub(crate) fn resume(&self, name: &str) {
        self.signal("-CONT", name);
    }

    fn signal(&self, signal: &str, name: &str) {
        let process = self.processes.iter().find(|process| process.name == name);
        let pid = process.expect("a process of ours").child.id().to_string();
        let told = Command::new("kill").args([signal, &pid]).status().expect("kill runs");
        assert!(told.success());
    }

    /// Runs another command on a process's configuration; what it printed.
    pub(crate) fn run(&self, arguments: &[&str], name: &str) -> String {
        let config = self.config(name);
        let done = self.meridian(name).args(arguments).arg("--config").arg(config).output();
        let done = done.expect("the built command starts");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("text")
    }

    fn configure(&mut self, name: &str, region: usize) {
        let admin = free_address(self.clients[region - 1].ip());
        self.admins.insert(name.to_owned(), admin);
        let (servers, number) = match self.far_of(region) {
            Some(far) => (far.stack(), 1),
            None => (&self.stack, u32::try_from(region).expect("a small number")),
        };
        let postgres = servers.postgres(number);
        let redis = match self.watched && region == 1 {
            true => format!("redis-sentinel://{}?sentinelServiceName=main", servers.sentinel(1)),
            false => servers.redis(number).to_owned(),
        };
        let postgres = postgres.split('?').next().unwrap_or(postgres);
        let text = format!(
            "[node]\nname = '{name}'\nregion = 'region-{region}'\n\
             [listen]\nclient = '{}'\nadmin = '{admin}'\nworkers = 2\n\
             [tls]\ncertificate = 'chain.pem'\nkey = 'key.pem'\nplain_tcp = true\n\
             [storage]\ndir = '{name}'\n\
             [kafka]\nbootstrap = '{}'\npartitions = {PARTITIONS}\n{}\n\
             [redis]\nurl = '{redis}'\n\
             [postgres]\nurl = '{postgres}'\nplain = true\n\
             [regions.region-1]\nurl = 'http://{}'\n[regions.region-2]\nurl = 'http://{}'\n\
             [[auth.keys]]\nid = 'main'\nalgorithm = 'HS256'\nsecret = '{SECRET}'\n\
             [namespaces.room]\nsubscribe = ['tenant']\npublish = ['tenant']\n\
             [namespaces.typing]\nclass = 'ephemeral'\nsubscribe = ['tenant']\npublish = ['tenant']\n",
            self.clients[region - 1],
            self.stack.kafka(),
            self.kafka_lines,
            self.clients[0],
            self.clients[1],
        );
        std::fs::write(self.config(name), text).expect("a file of ours");
    }

    /// Has a process that is not started yet configured with these keys of `[node]` besides.
    pub(crate) fn amend_node(&self, name: &str, keys: &str) {
        self.amend(name, "[node]\n", &format!("[node]\n{keys}\n"));
    }

    /// Has a process that is not started yet configured with other words.
    pub(crate) fn amend(&self, name: &str, words: &str, others: &str) {
        let path = self.config(name);
        let text = std::fs::read_to_string(&path).expect("a file of ours");
        assert!(text.contains(words), "{words} in {text}");
        std::fs::write(path, text.replacen(words, others, 1)).expect("a file of ours");
    }

    fn config(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.toml"))
    }

    fn migrate(&self, region: usize) {
        self.run(&["migrate"], &format!("router{region}"));
    }

    async fn spawn(&mut self, name: &str) {
        self.launch(name);
        self.ready(name).await;
    }

    /// Waits until a process that was launched is ready.
    pub(crate) async fn ready(&mut self, name: &str) {
        let (admin, began) = (self.admins[name], Instant::now());
        loop {
            let log = self.log(name);
            let process = self.processes.iter_mut().find(|process| process.name == name);
            let exit = process.expect("a process of ours").child.try_wait();
            assert!(matches!(exit, Ok(None)), "{name} ended: {exit:?}: {log}");
            if request::get(admin, "/readyz").await.is_ok_and(|answer| answer.status == 200) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{name} is not ready: {log}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Starts a process, ready or not.
    pub(crate) fn launch(&mut self, name: &str) {
        let kind = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let log = self.dir.path().join(format!("{name}.log"));
        let log = File::options().append(true).create(true).open(log).expect("a file of ours");
        let child = self
            .meridian(name)
            .arg(kind)
            .arg("--config")
            .arg(self.config(name))
            .current_dir(self.dir.path())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the built command starts");
        self.processes.push(Process { name: name.to_owned(), child });
    }

    /// The command, where the process of this name is.
    fn meridian(&self, name: &str) -> Command {
        match self.far.as_ref().filter(|far| far.has(self.admins[name])) {
            Some(far) => bare(far.command(Path::new(PROGRAM))),
            None => command(),
        }
    }

    fn end_processes(&mut self) {
        for mut process in self.processes.drain(..) {
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
    }
}

impl Drop for Regions {
    fn drop(&mut self) {
        self.end_processes();
        if std::thread::panicking() {
            for name in ["router1", "router2", "edge1", "edge2"] {
                let log = self.log(name);
                let from = log.char_indices().rev().nth(2000).map_or(0, |(at, _)| at);
                eprintln!("{name}'s log ends with:\n{}", &log[from..]);
            }
        }
    }
}

fn command() -> Command {
    bare(Command::new(PROGRAM))
}

fn bare(mut command: Command) -> Command {
    command.env_clear().stdin(Stdio::null());
    command
}

/// A port that is free for TCP and UDP now, at an address. What is at a link's far end alone is free
/// there as it is here.
fn free_address(ip: IpAddr) -> SocketAddr {
    let listener = TcpListener::bind((LOOPBACK, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    match UdpSocket::bind(address) {
        Ok(_) => SocketAddr::new(ip, address.port()),
        Err(_) => free_address(ip),
    }
}
