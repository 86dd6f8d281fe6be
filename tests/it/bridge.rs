//! The bridge on a real Kafka: a domain topic becomes events, whoever is killed; what can't become an
//! event is set aside; a fill makes nothing new, a redelivery makes each event anew.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use meridian_client::{From, Transport};
use meridian_core::seams::Log as _;
use meridian_core::vocabulary::{LogName, Offset, Partition, Position, Prev, Stream};
use meridian_kafka::{KafkaLog, Options};
use meridian_region_router::apply::{
    Decision, Feeds, Heads, Incoming, SourceMarks, Start, State, Window, WindowRules,
};
use meridian_stack::{Counts, Stack};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::producer::{
    BaseRecord, FutureProducer, FutureRecord, Producer as _, ThreadedProducer,
};
use rdkafka::{ClientConfig, Offset as At, TopicPartitionList};
use serde_json::{Value, json};

use crate::SECRET;
use crate::client::{Rights, next_event, token, token_with};
use crate::node::{eventually_within, terminate};
use crate::request::{self, Request};
use crate::servers::Regions;

const TOPIC: &str = "shop.orders";
const PARTITIONS: i32 = 3;
const KEYS: u64 = 20;
/// A killed bridge's partitions are free after its session.
const PATIENCE: Duration = Duration::from_secs(90);

/// Kafka and a bridge. Everything ends with it.
struct World {
    stack: Arc<Stack>,
    dir: tempfile::TempDir,
    child: Option<Child>,
    admin: SocketAddr,
}

impl World {
    async fn start() -> Self {
        let stack = Stack::start(Counts { kafka: 1, ..Counts::default() });
        make_topic(&stack, TOPIC, PARTITIONS).await;
        Self::beside(Arc::new(stack), "n1").await
    }

    /// A bridge of this name.
    async fn beside(stack: Arc<Stack>, name: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let text = format!(
            "[listen]\nadmin = '127.0.0.1:0'\n[node]\nname = '{name}'\n[kafka]\nbootstrap = '{}'\npartitions = 4\nreplication = 1\n\
             [redis]\nurl = 'redis://127.0.0.1:1'\n[postgres]\nurl = 'postgres://127.0.0.1:1/x'\n\
             [[auth.keys]]\nid = 'main'\nalgorithm = 'HS256'\nsecret = '{SECRET}'\n\
             [namespaces.orders]\nsubscribe = ['tenant']\n\
             [bridge.routes.orders]\ntopic = '{TOPIC}'\ntenant = 'acme'\nchannel = 'orders:{{key}}'\n\
             filter = ['/draft != true']\nfields = ['/n']\n",
            stack.kafka(),
        );
        std::fs::write(dir.path().join("meridian.toml"), text).expect("a file of ours");
        let admin = ([127, 0, 0, 1], 0).into();
        let mut world = Self { stack, dir, child: None, admin };
        world.spawn().await;
        world
    }

    async fn spawn(&mut self) {
        let out = self.dir.path().join("out");
        let log = File::options().append(true).create(true).open(self.dir.path().join("log"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_meridian"))
            .args(["bridge", "--config", "meridian.toml"])
            .env_clear()
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(File::create(&out).expect("a file of ours"))
            .stderr(log.expect("a file of ours"))
            .spawn()
            .expect("the built command starts");
        self.admin = eventually_within(PATIENCE, "the bridge's start", || {
            assert!(matches!(child.try_wait(), Ok(None)), "{}", self.log());
            let text = std::fs::read_to_string(&out).unwrap_or_default();
            text.lines().find_map(|line| line.strip_prefix("admin http://")?.parse().ok())
        })
        .await;
        self.child = Some(child);
    }

    /// Asks it to end, and waits until it has.
    async fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        terminate(&child);
        let ended = || child.try_wait().expect("the process is ours");
        let status = eventually_within(PATIENCE, "the bridge's end", ended).await;
        assert!(status.success(), "{}", self.log());
    }

    /// `kill -9`.
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the process is ours");
            child.wait().expect("the process is ours");
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    async fn ask(&self, action: &str, token: Option<&str>, body: &Value) -> request::Answer {
        let path = format!("/ops/v1/bridge/orders/{action}");
        let mut request = Request::new("POST", &path).body("application/json", body.to_string());
        if let Some(token) = token {
            request = request.header("Authorization", &format!("Bearer {token}"));
        }
        request.send(self.admin).await.expect("an answer")
    }

    /// Waits until all three partitions are committed to their ends.
    async fn caught_up(&self, ends: &BTreeMap<u64, u64>) {
        crate::node::in_time("the bridge to catch up", async {
            loop {
                let answer = request::get(self.admin, "/ops/v1/bridge").await.expect("an answer");
                let answer = answer.json();
                let partitions = answer["routes"][0]["partitions"].as_array().expect("a list");
                let at = |p: &Value| Some((p["partition"].as_u64()?, p["next"].as_u64()?));
                let found: BTreeMap<u64, u64> = partitions.iter().filter_map(at).collect();
                if found == *ends {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let from = log.char_indices().rev().nth(3000).map_or(0, |(at, _)| at);
            eprintln!("the bridge's log ends with:\n{}", &log[from..]);
        }
    }
}

pub(crate) async fn make_topic(stack: &Stack, name: &str, partitions: i32) {
    let admin: AdminClient<DefaultClientContext> = client(stack).create().expect("a client");
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    let made = admin.create_topics([&topic], &AdminOptions::new()).await.expect("an answer");
    assert!(made[0].is_ok(), "{made:?}");
}

/// A record of a topic.
pub(crate) async fn produce(stack: &Stack, topic: &str, key: &str, payload: &str) {
    let producer: FutureProducer = client(stack).create().expect("a producer");
    let record = FutureRecord::to(topic).key(key).payload(payload);
    producer.send(record, Duration::from_secs(30)).await.expect("produced");
}

fn client(stack: &Stack) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", stack.kafka());
    config
}

/// What was produced: the numbers of each key, and how many can't become events.
#[derive(Default)]
struct Produced {
    numbers: BTreeMap<String, Vec<u64>>,
    poison: usize,
    ends: BTreeMap<u64, u64>,
}

impl Produced {
    fn produce(
        &mut self,
        producer: &ThreadedProducer<rdkafka::producer::DefaultProducerContext>,
        count: u64,
    ) {
        for n in 0..count {
            let key = format!("k{}", n * 7 % KEYS);
            let partition = (n * 7 % KEYS % PARTITIONS as u64) as i32;
            let payload = match n % 50 {
                7 => "no JSON".to_owned(),
                13 => json!({ "n": n, "draft": true }).to_string(),
                _ => json!({ "n": n, "secret": "x" }).to_string(),
            };
            match n % 50 {
                7 => self.poison += 1,
                13 => {}
                _ => {
                    let numbers = self.numbers.entry(key.clone()).or_default();
                    numbers.push(n);
                }
            }
            let record = BaseRecord::to(TOPIC).partition(partition).key(&key).payload(&payload);
            producer.send(record).map_err(|(error, _)| error).expect("room");
            *self.ends.entry(partition as u64).or_default() += 1;
        }
        producer.flush(Duration::from_secs(30)).expect("stored");
    }

    fn events(&self) -> usize {
        self.numbers.values().map(Vec::len).sum()
    }
}

/// The events of each channel as every region decides.
async fn events(log: &KafkaLog) -> BTreeMap<String, Vec<u64>> {
    let mut events: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let incarnation = log.incarnation().clone();
    for partition in (0..incarnation.partitions).map(Partition) {
        let start = Position::start_of(incarnation.epoch);
        let rules = WindowRules { records: incarnation.window_records, ms: incarnation.window_ms };
        let stream = Stream { log: incarnation.log.clone(), epoch: incarnation.epoch, partition };
        let mut state = State::new(Start {
            stream,
            position: start,
            last_kept: start,
            window: Window::new(rules),
            marks: SourceMarks::default(),
            heads: Heads::new(1 << 10),
            feeds: Feeds::default(),
        });
        let (end, mut next) = (log.end(partition).await.expect("an end"), Offset(0));
        while next < end {
            let records = log.read(partition, next, 1000, 1 << 20).await.expect("records");
            let batch: Vec<Incoming> = records.into_iter().map(Incoming::decode).collect();
            for key in state.missing_heads(&batch, start) {
                state.learn(key, Prev::None).expect("a head from below");
            }
            for incoming in &batch {
                next = Offset(incoming.offset.0 + 1);
                if let Decision::Kept(applied) = state.step(incoming) {
                    let data: Value =
                        serde_json::from_slice(&applied.event.body.data).expect("JSON");
                    assert_eq!(data.as_object().map(|object| object.len()), Some(1), "{data}");
                    let channel = applied.event.key.channel.name().to_owned();
                    events.entry(channel).or_default().push(data["n"].as_u64().expect("a number"));
                }
            }
        }
    }
    events
}

/// The reasons of the dead letters, by source partition and offset.
fn letters(stack: &Stack) -> BTreeMap<(String, String), String> {
    let consumer: BaseConsumer =
        client(stack).set("group.id", "tests").create().expect("a consumer");
    let topic = format!("{TOPIC}.dead-letter");
    let (mut place, mut left) = (TopicPartitionList::new(), 0);
    for partition in 0..PARTITIONS {
        place.add_partition_offset(&topic, partition, At::Beginning).expect("a place");
        let bounds = consumer.fetch_watermarks(&topic, partition, Duration::from_secs(10));
        left += bounds.expect("bounds").1;
    }
    consumer.assign(&place).expect("assigned");
    let mut letters = BTreeMap::new();
    while left > 0 {
        let message = consumer.poll(Duration::from_secs(10)).expect("a letter").expect("a letter");
        let text = |name: &str| {
            let found = message.headers().expect("headers").iter().find(|h| h.key == name);
            String::from_utf8(found.and_then(|h| h.value).expect(name).to_vec()).expect("a text")
        };
        assert_eq!(message.payload(), Some(&b"no JSON"[..]));
        letters
            .insert((text("meridian-partition"), text("meridian-offset")), text("meridian-reason"));
        left -= 1;
    }
    letters
}

#[tokio::test(flavor = "multi_thread")]
async fn each_record_of_a_topic_is_one_event() {
    let mut world = World::start().await;
    let mut options = Options::new(world.stack.kafka());
    options.topics.replication = Some(1);
    let log =
        KafkaLog::open(options, LogName::parse("global").expect("a name")).await.expect("a log");
    let producer = client(&world.stack).create().expect("a producer");
    let mut produced = Produced::default();
    // Killed at a random moment of the work: as soon as the log has some of it.
    for round in 0..3 {
        let before: u64 = (0..4).map(|p| log.known_end(Partition(p)).0).sum();
        produced.produce(&producer, 4000);
        eventually_within(PATIENCE, "some of it in the log", || {
            let now: u64 = (0..4).map(|p| log.known_end(Partition(p)).0).sum();
            (now > before + 300 * round).then_some(())
        })
        .await;
        world.kill();
        world.spawn().await;
    }
    world.caught_up(&produced.ends).await;
    assert_eq!(events(&log).await, produced.numbers);
    let letters = letters(&world.stack);
    assert_eq!(letters.len(), produced.poison);
    assert!(letters.values().all(|reason| reason == "the payload is not one JSON value"));

    let fill = json!({ "mode": "fill", "reason": "a test" });
    assert_eq!(world.ask("replay", None, &fill).await.status, 401);
    assert_eq!(world.ask("replay", Some(&token("ann")), &fill).await.status, 403);
    let operator =
        token_with("ann", &Rights { roles: &["meridian-operator"], ..Rights::default() });
    let filled = world.ask("replay", Some(&operator), &fill).await;
    assert_eq!(filled.status, 200, "{filled:?}");
    world.caught_up(&produced.ends).await;
    assert_eq!(events(&log).await, produced.numbers);

    let again = json!({ "mode": "redeliver", "partition": 0, "offset": 0, "reason": "a test" });
    let redelivered = world.ask("replay", Some(&operator), &again).await;
    assert_eq!(redelivered.status, 200, "{redelivered:?}");
    world.caught_up(&produced.ends).await;
    let anew: usize = produced
        .numbers
        .iter()
        .filter(|(key, _)| key[1..].parse::<u64>().expect("a number") % PARTITIONS as u64 == 0)
        .map(|(_, numbers)| numbers.len())
        .sum();
    let total: usize = events(&log).await.values().map(Vec::len).sum();
    assert_eq!(total, produced.events() + anew);
    log.close().await;
}

/// Waits until the log holds each record's event, once and in its key's order.
async fn all_bridged(log: &KafkaLog, produced: &Produced) {
    let bridged = async {
        while events(log).await != produced.numbers {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, bridged).await;
    assert!(in_time.is_ok(), "{:?} of {:?}", events(log).await, produced.numbers);
}

/// Partitions change hands: to one that joins, from one that is killed, from one that ends, and back.
#[tokio::test(flavor = "multi_thread")]
async fn bridges_share_a_topic_and_take_over() {
    let mut first = World::start().await;
    let mut options = Options::new(first.stack.kafka());
    options.topics.replication = Some(1);
    let log =
        KafkaLog::open(options, LogName::parse("global").expect("a name")).await.expect("a log");
    let producer = client(&first.stack).create().expect("a producer");
    let mut produced = Produced::default();
    produced.produce(&producer, 1000);
    let mut second = World::beside(first.stack.clone(), "n2").await;
    produced.produce(&producer, 1000);
    all_bridged(&log, &produced).await;
    produced.produce(&producer, 1000);
    first.kill();
    all_bridged(&log, &produced).await;
    first.spawn().await;
    produced.produce(&producer, 1000);
    second.stop().await;
    produced.produce(&producer, 1000);
    all_bridged(&log, &produced).await;
    first.stop().await;
    log.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_whose_name_another_takes_ends_and_says_so() {
    let mut first = World::start().await;
    let _second = World::beside(first.stack.clone(), "n1").await;
    let mut child = first.child.take().expect("a child");
    let ended = || child.try_wait().expect("the process is ours");
    let ended = eventually_within(PATIENCE, "the first one's end", ended).await;
    assert!(!ended.success());
    assert!(first.log().contains("each needs a `node.name` of its own"), "{}", first.log());
}

/// The whole way: a domain topic, the bridge, the log, both regions' routers and edges, a client.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_bridged_reaches_clients_of_every_region() {
    let mut regions = Regions::start().await;
    make_topic(&regions.stack, TOPIC, PARTITIONS).await;
    let route = format!(
        "[bridge.routes.orders]\ntopic = '{TOPIC}'\ntenant = 'acme'\nchannel = 'room:{{key}}'\nfields = ['/n']\n"
    );
    regions.add_bridge("bridge1", 1, &route).await;
    let mut readers = Vec::new();
    for region in [1, 2] {
        for transport in [Transport::WebSocket, Transport::WebTransport] {
            let door = regions.door(region, transport).token(token("reader"));
            let client = door.connect().await.expect("a connection");
            let room = client.subscribe("room:k0", From::Now).await.expect("a subscription");
            readers.push((client, room));
        }
    }
    let producer: ThreadedProducer<_> = client(&regions.stack).create().expect("a producer");
    let mut numbers = 0..600u32;
    for round in 0..3 {
        for n in numbers.by_ref().take(200) {
            let payload = json!({ "n": n, "secret": "x" }).to_string();
            let record = BaseRecord::to(TOPIC).partition(0).key("k0").payload(&payload);
            producer.send(record).map_err(|(error, _)| error).expect("room");
        }
        producer.flush(Duration::from_secs(30)).expect("stored");
        for (reader, (_, room)) in readers.iter_mut().enumerate() {
            for n in round * 200..(round + 1) * 200 {
                let event = next_event(room).await;
                let data: Value = serde_json::from_slice(&event.body.data).expect("JSON");
                assert_eq!(data, json!({ "n": n }), "reader {reader}");
                // Somewhere in the middle of the work.
                if reader == 0 && n == round * 200 + 20 {
                    regions.kill("bridge1");
                    regions.revive("bridge1").await;
                }
            }
        }
    }
}
