//! Readers that come back on another transport each time: `kill -9` of the node under load, with clients on
//! all four transports.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Version;
use meridian_client::{CertificateHash, Transport, Trust};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::client::token;
use crate::node::{Node, eventually};
use crate::peer::{Opening, Peer, id_of};
use crate::web::{Ask, EventSource, VERSIONS, events_of};
use crate::witnesses::{Cast, END, Received, Witnesses};

const WANDERERS: u64 = 40;
const KILLS: usize = 20;
/// Events come all the time: who hears nothing for so long has lost its node.
const SILENCE: Duration = Duration::from_secs(3);
/// No outage of a test is longer, with all that comes back after it.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    WebSocket,
    WebTransport,
    EventStream,
    LongPoll,
}

const WAYS: [Way; 4] = [Way::WebSocket, Way::WebTransport, Way::EventStream, Way::LongPoll];

/// Where a node is, and its certificate.
pub(crate) type Place = (SocketAddr, CertificateHash);

/// Events that came, by way.
pub(crate) type Heard = [AtomicU64; 4];

/// Why a visit was over before the end of the channel.
type Moved = String;

/// A reader that keeps a cursor, and nothing else, between two visits.
struct Wanderer {
    places: Vec<Place>,
    /// Where this visit is.
    at: Place,
    channel: String,
    random: StdRng,
    cursor: String,
    ids: Vec<String>,
    offset: i64,
    moves: u64,
    heard: Arc<Heard>,
    heard_last: Instant,
}

impl Wanderer {
    /// Reads to the channel's end, on one way after another.
    async fn wander(mut self, n: u64) -> Received {
        let mut way = WAYS[n as usize % 4];
        loop {
            self.at = self.places[self.random.random_range(0..self.places.len())];
            let over = match way {
                Way::WebSocket => self.session(Transport::WebSocket).await,
                Way::WebTransport => self.session(Transport::WebTransport).await,
                Way::EventStream => self.event_stream().await,
                Way::LongPoll => self.polls().await,
            };
            let Err(why) = over else { break };
            let silence = self.heard_last.elapsed();
            let (name, at) = (&self.channel, &self.cursor);
            assert!(
                silence < PATIENCE,
                "wanderer {n} hears nothing of {name} behind {at}, {way:?}: {why}"
            );
            self.moves += 1;
            let others: Vec<Way> = WAYS.into_iter().filter(|other| *other != way).collect();
            way = others[self.random.random_range(0..others.len())];
            tokio::time::sleep(Duration::from_millis(self.random.random_range(10..200))).await;
        }
        let (name, reconnects) = (format!("wanderer {n}"), self.moves);
        Received { name, channel: self.channel, ids: self.ids, reconnects }
    }

    /// How many batches of a visit are taken before it is broken off.
    fn stay(&mut self) -> usize {
        self.random.random_range(1..400)
    }

    fn version(&mut self) -> Version {
        VERSIONS[self.random.random_range(0..VERSIONS.len())]
    }

    /// Takes a push of events; whether it brought the channel's end.
    fn take(&mut self, way: Way, push: &Value) -> bool {
        assert!(!push["gap"].is_object(), "nothing is gone: {push}");
        let mut end = false;
        for event in events_of(push) {
            let (offset, prev) = (event["offset"].as_i64(), event["prev"].as_i64());
            let offset = offset.expect("an offset");
            if offset <= self.offset {
                // An event stream that is cut in a batch repeats it.
                assert_eq!(way, Way::EventStream, "a repeat: {event}");
                continue;
            }
            assert!(
                self.offset < 0 || prev.is_some_and(|prev| prev <= self.offset),
                "a hole: {event}"
            );
            self.offset = offset;
            self.cursor = event["cursor"].as_str().expect("a cursor").to_owned();
            self.heard[way as usize].fetch_add(1, Ordering::Relaxed);
            self.heard_last = Instant::now();
            end |= event["id"] == END;
            if !end {
                self.ids.push(id_of(&event));
            }
        }
        end
    }

    async fn session(&mut self, transport: Transport) -> Result<(), Moved> {
        let way =
            if transport == Transport::WebSocket { Way::WebSocket } else { Way::WebTransport };
        let (at, trust) = (self.at.0, Trust::Hashes(vec![self.at.1]));
        let opening = timeout(SILENCE, Opening::new().open_at(at, &trust, transport));
        let mut peer = opening.await.map_err(|_| "no session")??;
        tell(&mut peer, 1, "connect", json!({ "protocol": 1, "token": token("wanderer") })).await?;
        let subscribe = json!({ "channel": self.channel, "cursor": self.cursor });
        tell(&mut peer, 2, "subscribe", subscribe).await?;
        for _ in 0..self.stay() {
            let message = timeout(SILENCE, peer.next()).await.map_err(|_| "silence")?;
            let message = message.map_err(|closed| format!("{closed:?}"))?;
            if self.take(way, &message) {
                return Ok(());
            }
        }
        Err("moves on".to_owned())
    }

    fn ask(&mut self, path: &str) -> Ask {
        let query = format!("{path}?channel={}&cursor={}", self.channel, self.cursor);
        Ask::get_at(self.at, &query).token(&token("wanderer")).over(self.version())
    }

    async fn event_stream(&mut self) -> Result<(), Moved> {
        let ask = self.ask("/v1/sse");
        let answer = timeout(SILENCE, ask.try_send()).await.map_err(|_| "no answer")?;
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.status == 503 {
            return Err("the node starts or ends".to_owned());
        }
        let mut source = EventSource::of(answer).await;
        for _ in 0..self.stay() {
            let next = timeout(SILENCE, source.next()).await.map_err(|_| "silence")?;
            let dispatched = next.ok_or("the stream is over")?;
            if self.take(Way::EventStream, &dispatched.data) {
                return Ok(());
            }
        }
        Err("moves on".to_owned())
    }

    async fn polls(&mut self) -> Result<(), Moved> {
        for _ in 0..self.stay() / 10 + 1 {
            let ask = self.ask("/v1/poll");
            let answer =
                async { Ok::<_, crate::web::Failure>(ask.try_send().await?.whole().await) };
            let (status, answer) = timeout(2 * SILENCE, answer)
                .await
                .map_err(|_| "no answer")?
                .map_err(|error| error.to_string())?;
            if status != 200 || !answer["cursors"].is_object() {
                return Err(format!("{status}: {answer}"));
            }
            for message in answer["messages"].as_array().into_iter().flatten() {
                if self.take(Way::LongPoll, message) {
                    return Ok(());
                }
            }
            let cursor = answer["cursors"][&self.channel].as_str();
            self.cursor = cursor.expect("a cursor").to_owned();
        }
        Err("moves on".to_owned())
    }
}

/// Sends a command, whose reply comes among the other messages.
async fn tell(peer: &mut Peer, id: u64, name: &str, body: Value) -> Result<(), Moved> {
    let frame = json!({ "id": id, name: body }).to_string();
    peer.send(frame.as_bytes()).await.map_err(|error| error.to_string())
}

/// Where each channel stands before anything is published.
pub(crate) async fn beginnings(at: Place, channels: usize) -> Vec<(String, String)> {
    let mut peer = Peer::open_at(at.0).await;
    peer.introduce(&token("beginner")).await;
    let mut beginnings = Vec::new();
    for channel in Witnesses::names(channels) {
        let subscribed = peer.subscribe(&channel, json!({})).await;
        let stream = subscribed["stream"].as_str().expect("a stream");
        beginnings.push((channel, format!("{stream}.{}", subscribed["offset"])));
    }
    beginnings
}

/// Lets wanderers read what the witnesses publish, from these beginnings, at any of these places.
pub(crate) fn let_loose(
    witnesses: &mut Witnesses,
    beginnings: &[(String, String)],
    (places, count): (&[Place], u64),
    seed: u64,
) -> Arc<Heard> {
    let heard: Arc<Heard> = Arc::default();
    for n in 0..count {
        let (channel, cursor) = beginnings[n as usize % beginnings.len()].clone();
        let wanderer = Wanderer {
            places: places.to_vec(),
            at: places[0],
            channel,
            random: StdRng::seed_from_u64(seed.wrapping_add(n)),
            cursor,
            ids: Vec::new(),
            offset: -1,
            moves: 0,
            heard: heard.clone(),
            heard_last: Instant::now(),
        };
        witnesses.add_reader(wanderer.wander(n));
    }
    heard
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_lose_nothing_for_those_who_change_transports() {
    let seed = std::env::var("MERIDIAN_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    println!("MERIDIAN_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut node = Node::start_lasting("[limits]\nheartbeat_ms = 1000\n").await;
    let cast = Cast { publishers: 8, readers: 8, channels: 4, pace: Duration::from_millis(10) };
    let place = (node.client, node.certificate);
    let beginnings = beginnings(place, cast.channels).await;
    let mut witnesses = Witnesses::start(&node, &cast).await;
    let heard = let_loose(&mut witnesses, &beginnings, (&[place], WANDERERS), seed);
    for _ in 0..KILLS {
        let before = witnesses.acknowledged();
        let more = || (witnesses.acknowledged() >= before + 50).then_some(());
        eventually("acknowledgements", more).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..300))).await;
        node.kill();
        node.restart().await;
    }
    let verdict = witnesses.finish(&node).await;
    println!("{verdict:?}, heard on {WAYS:?}: {heard:?}");
    let all = WANDERERS * verdict.acknowledged as u64 / cast.channels as u64;
    let least = heard.iter().map(|heard| heard.load(Ordering::Relaxed)).min();
    assert!(least >= Some(all / 20), "each way carries some of {all}");
    assert!(verdict.acknowledged > 50 * KILLS, "{verdict:?}");
    assert!(verdict.reconnects > WANDERERS * KILLS as u64 / 4, "{verdict:?}");
}
