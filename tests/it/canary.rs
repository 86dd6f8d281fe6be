//! A client that others must not be able to harm: publishes and receives all the while, and tells
//! how long the slowest event took.

use std::time::{Duration, Instant};

use meridian_client::{Client, From, Publish, State, Subscription, Transport};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::client::{connect, next_event};
use crate::node::Node;

const CHANNEL: &str = "room:canary";
/// One event so often.
const PACE: Duration = Duration::from_millis(20);
/// Slower than this is noticed, on a machine that runs other tests as well.
const SLOW: Duration = Duration::from_secs(5);

pub(crate) struct Canary {
    stop: CancellationToken,
    task: JoinHandle<Sung>,
}

/// How it went.
#[derive(Debug)]
pub(crate) struct Sung {
    pub(crate) events: u32,
    pub(crate) slowest: Duration,
}

impl Canary {
    /// Starts one publisher and a reader on each transport.
    pub(crate) async fn start(node: &Node) -> Self {
        let publisher = connect(node, Transport::WebSocket, "canary").await;
        let mut readers = Vec::new();
        for transport in [Transport::WebSocket, Transport::WebTransport] {
            let client = connect(node, transport, "canary").await;
            let room = client.subscribe(CHANNEL, From::Now).await.expect("a subscription");
            readers.push((client, room));
        }
        let stop = CancellationToken::new();
        let task = tokio::spawn(sing(publisher, readers, stop.clone()));
        Self { stop, task }
    }

    /// Stops it, and checks that it noticed nothing.
    pub(crate) async fn finish(self) -> Sung {
        self.stop.cancel();
        let sung = self.task.await.expect("the canary lives");
        assert!(sung.events > 0, "{sung:?}");
        assert!(sung.slowest < SLOW, "others were noticed: {sung:?}");
        sung
    }
}

async fn sing(
    publisher: Client,
    mut readers: Vec<(Client, Subscription)>,
    stop: CancellationToken,
) -> Sung {
    let mut sung = Sung { events: 0, slowest: Duration::ZERO };
    while !stop.is_cancelled() {
        let id = sung.events.to_string();
        let began = Instant::now();
        publisher.publish(Publish::json(CHANNEL, "1").id(&id)).await.expect("acknowledged");
        for (_, room) in &mut readers {
            assert_eq!(next_event(room).await.id.as_deref(), Some(&*id));
        }
        sung.slowest = sung.slowest.max(began.elapsed());
        sung.events += 1;
        tokio::time::sleep(PACE).await;
    }
    for client in readers.iter().map(|(client, _)| client).chain([&publisher]) {
        let state = client.state().borrow().clone();
        let State::Connected(session) = state else { panic!("{state:?}") };
        assert_eq!(session.reconnects, 0, "it had to reconnect");
    }
    sung
}
