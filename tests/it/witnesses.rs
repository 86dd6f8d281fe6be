//! Clients that write down, outside the server, what they were acknowledged and what they received,
//! and the comparison of the two.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use meridian_client::{Builder, Client, From, Publish, Subscription, Transport, Update};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client::{builder, token};
use crate::node::{LOOK_EVERY, Node};

/// What ends a channel's record.
pub(crate) const END: &str = "end";

/// How many of whom.
pub(crate) struct Cast {
    pub(crate) publishers: usize,
    pub(crate) readers: usize,
    pub(crate) channels: usize,
    /// Between two publishes of one publisher.
    pub(crate) pace: Duration,
}

/// How the client of this number gets in.
pub(crate) type Door<'a> = dyn Fn(usize, Transport) -> Builder + Sync + 'a;

/// The same, and what opens its sockets.
pub(crate) type Gate<'a> = dyn Fn(usize, Transport) -> (Builder, Handle) + Sync + 'a;

/// Publishers and readers at work.
pub(crate) struct Witnesses {
    channels: Vec<String>,
    stop: CancellationToken,
    tally: Arc<Tally>,
    publishers: JoinSet<Published>,
    readers: JoinSet<Received>,
}

/// How far everyone is.
struct Tally {
    /// By channel.
    acknowledged: Vec<AtomicUsize>,
    /// By reader.
    received: Vec<AtomicUsize>,
}

/// One publisher's record, in its order: channel and id.
#[derive(Default)]
struct Published {
    acknowledged: Vec<(String, String)>,
    unknown: Vec<(String, String)>,
}

/// One reader's record.
pub(crate) struct Received {
    pub(crate) name: String,
    pub(crate) channel: String,
    pub(crate) ids: Vec<String>,
    pub(crate) reconnects: u64,
}

/// What came of it all.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) acknowledged: usize,
    pub(crate) unacknowledged: usize,
    pub(crate) received: usize,
    pub(crate) reconnects: u64,
}

fn transport(n: usize) -> Transport {
    if n.is_multiple_of(2) { Transport::WebSocket } else { Transport::WebTransport }
}

/// The number of a reader's channel.
fn channel_of(reader: usize, channels: usize) -> usize {
    reader / 2 % channels
}

impl Witnesses {
    /// Connects everyone, subscribes, and begins to publish.
    pub(crate) async fn start(node: &Node, cast: &Cast) -> Self {
        Self::start_at(&|_, transport| builder(node, transport), cast).await
    }

    /// The same, each going where `door` says.
    pub(crate) async fn start_at(door: &Door<'_>, cast: &Cast) -> Self {
        Self::start_from(&|n, transport| (door(n, transport), Handle::current()), cast).await
    }

    /// The same, each from where `gate` says.
    pub(crate) async fn start_from(gate: &Gate<'_>, cast: &Cast) -> Self {
        let channels = Self::names(cast.channels);
        let counters = |count| (0..count).map(|_| AtomicUsize::new(0)).collect();
        let tally = Arc::new(Tally {
            acknowledged: counters(cast.channels),
            received: counters(cast.readers),
        });
        let mut readers = JoinSet::new();
        for n in 0..cast.readers {
            let client = client(gate, n, "reader").await;
            let channel = channels[channel_of(n, channels.len())].clone();
            let room = client.subscribe(&channel, From::Now).await.expect("a subscription");
            readers.spawn(read(n, client, room, tally.clone()));
        }
        let stop = CancellationToken::new();
        let mut publishers = JoinSet::new();
        for n in 0..cast.publishers {
            let client = client(gate, n, &format!("publisher-{n}")).await;
            let work = Publisher {
                n,
                client,
                channels: channels.clone(),
                pace: cast.pace,
                tally: tally.clone(),
            };
            publishers.spawn(work.run(stop.clone()));
        }
        Self { channels, stop, tally, publishers, readers }
    }

    /// The channels that so many are.
    pub(crate) fn names(channels: usize) -> Vec<String> {
        (0..channels).map(|n| format!("room:record-{n}")).collect()
    }

    /// Has another reader's record compared as well: one that ends with the event `END`.
    pub(crate) fn add_reader(&mut self, reading: impl Future<Output = Received> + Send + 'static) {
        self.readers.spawn(reading);
    }

    /// How many publishes were acknowledged so far.
    pub(crate) fn acknowledged(&self) -> usize {
        self.tally.acknowledged.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Waits until every reader has received as many events of its channel as are acknowledged by now;
    /// how long it took.
    pub(crate) async fn caught_up(&self, limit: Duration) -> Duration {
        let began = Instant::now();
        let load = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        let wanted: Vec<usize> = self.tally.acknowledged.iter().map(load).collect();
        let behind = || -> Vec<usize> {
            let received = self.tally.received.iter().map(load).enumerate();
            let lacks = |(n, got): &(usize, usize)| *got < wanted[channel_of(*n, wanted.len())];
            received.filter(lacks).map(|(n, _)| n).collect()
        };
        while !behind().is_empty() {
            let waited = began.elapsed();
            assert!(waited < limit, "readers {:?} did not catch up in {waited:?}", behind());
            tokio::time::sleep(LOOK_EVERY).await;
        }
        began.elapsed()
    }

    /// Ends the publishing, waits until every reader has all, and compares.
    pub(crate) async fn finish(self, node: &Node) -> Verdict {
        self.finish_at(&|_, transport| builder(node, transport)).await
    }

    /// The same, where the end is published through `door`.
    pub(crate) async fn finish_at(self, door: &Door<'_>) -> Verdict {
        self.finish_from(&|n, transport| (door(n, transport), Handle::current())).await
    }

    /// The same, from where `gate` says.
    pub(crate) async fn finish_from(mut self, gate: &Gate<'_>) -> Verdict {
        self.stop.cancel();
        let mut published = Vec::new();
        while let Some(record) = self.publishers.join_next().await {
            published.push(record.expect("a publisher's record"));
        }
        let client = client(gate, 0, "ender").await;
        for channel in &self.channels {
            client.publish(Publish::json(channel, "1").id(END)).await.expect("the end");
        }
        let mut received = Vec::new();
        while let Some(record) = self.readers.join_next().await {
            received.push(record.expect("a reader's record"));
        }
        compare(&published, &received)
    }
}

async fn client(gate: &Gate<'_>, n: usize, user: &str) -> Client {
    let (builder, place) = gate(n, transport(n));
    let builder = builder.token(token(user)).request_timeout(Duration::from_secs(60));
    place.spawn(builder.connect()).await.expect("nobody aborts it").expect("a connection")
}

struct Publisher {
    n: usize,
    client: Client,
    channels: Vec<String>,
    pace: Duration,
    tally: Arc<Tally>,
}

impl Publisher {
    async fn run(self, stop: CancellationToken) -> Published {
        let mut record = Published::default();
        for k in 0.. {
            if stop.is_cancelled() {
                break;
            }
            let at = (self.n + k) % self.channels.len();
            let channel = self.channels[at].clone();
            let id = format!("{}-{k}", self.n);
            let event = Publish::json(&channel, "{}").id(&id);
            match self.client.publish(event).await {
                Ok(_) => {
                    self.tally.acknowledged[at].fetch_add(1, Ordering::Relaxed);
                    record.acknowledged.push((channel, id));
                }
                Err(_) => record.unknown.push((channel, id)),
            }
            tokio::time::sleep(self.pace).await;
        }
        record
    }
}

async fn read(n: usize, client: Client, mut room: Subscription, tally: Arc<Tally>) -> Received {
    let name = format!("reader {n} on {:?}", transport(n));
    let channel = room.channel().to_owned();
    let mut ids = Vec::new();
    loop {
        // Anything takes less, a restart with all its reconnects too.
        let next = tokio::time::timeout(Duration::from_secs(60), room.next()).await;
        match next {
            Ok(Some(Update::Event(event))) => {
                let id = event.id.expect("an id");
                if id == END {
                    break;
                }
                ids.push(id);
                tally.received[n].fetch_add(1, Ordering::Relaxed);
            }
            Ok(other) => panic!("{name} of {channel} behind {} events: {other:?}", ids.len()),
            Err(_) => panic!(
                "{name} of {channel} has heard nothing behind {} events, in state {:?}",
                ids.len(),
                *client.state().borrow()
            ),
        }
    }
    let reconnects = client.session().map_or(0, |session| session.reconnects);
    Received { name, channel, ids, reconnects }
}

/// Every acknowledged event once and in order, others at most once, one order for all.
fn compare(published: &[Published], received: &[Received]) -> Verdict {
    let mut acknowledged: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut attempted: HashSet<(&str, &str)> = HashSet::new();
    for record in published {
        for (channel, id) in &record.acknowledged {
            acknowledged.entry(channel).or_default().insert(id);
        }
        let all = record.acknowledged.iter().chain(&record.unknown);
        attempted.extend(all.map(|(channel, id)| (&**channel, &**id)));
    }
    let mut orders: BTreeMap<&str, &Received> = BTreeMap::new();
    for record in received {
        let Received { name, channel, ids, .. } = record;
        let unique: BTreeSet<&str> = ids.iter().map(|id| &**id).collect();
        assert_eq!(unique.len(), ids.len(), "{name} of {channel} got an event twice");
        let empty = BTreeSet::new();
        let wanted = acknowledged.get(&**channel).unwrap_or(&empty);
        let lost: Vec<_> = wanted.difference(&unique).collect();
        assert!(lost.is_empty(), "{name} of {channel} lost {lost:?}");
        for id in ids {
            assert!(attempted.contains(&(&**channel, &**id)), "{name} got {id}, which nobody sent");
        }
        let first = orders.entry(channel).or_insert(record);
        assert_eq!(first.ids, *ids, "{} and {name} disagree about {channel}", first.name);
        assert_publishers_order(record);
    }
    Verdict {
        acknowledged: acknowledged.values().map(BTreeSet::len).sum(),
        unacknowledged: published.iter().map(|record| record.unknown.len()).sum(),
        received: received.iter().map(|record| record.ids.len()).sum(),
        reconnects: received.iter().map(|record| record.reconnects).sum(),
    }
}

/// Each publisher sent one after the other.
fn assert_publishers_order(record: &Received) {
    let mut newest: BTreeMap<&str, usize> = BTreeMap::new();
    for id in &record.ids {
        let (publisher, k) = id.split_once('-').expect("an id of ours");
        let k: usize = k.parse().expect("an id of ours");
        let before = newest.insert(publisher, k);
        assert!(before < Some(k), "{} of {}: {id} came late", record.name, record.channel);
    }
}
