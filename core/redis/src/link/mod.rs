//! Links: what a node follows, and the bounded way of what is published to it. A link has a few
//! connections of its own; a channel belongs to one of them by its hash tag, so its order holds.

mod followed;
mod pump;
mod subscriptions;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use meridian_core::seams::{BackplaneError, Link, LinkControl};
use meridian_core::vocabulary::{ChannelKey, Stream};
use tokio::sync::{mpsc, oneshot};

pub(crate) use self::followed::Wanted;
use self::followed::{Followed, Name};
use self::pump::Pump;
use self::subscriptions::{Change, ChangeKind, Subscriptions};
use crate::connect::Connection;

/// Changes that wait for one connection; further callers wait for room.
const WAITING_CHANGES: usize = 64;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) capacity: usize,
    pub(crate) connections: usize,
    pub(crate) probe_interval: Duration,
}

struct Control {
    wanted: Wanted,
    subscribers: Vec<mpsc::Sender<Change>>,
    /// Dropped with this: the tasks learn that nobody controls the link any more.
    _controls: Vec<oneshot::Sender<()>>,
}

/// Opens a link; its tasks are the caller's to run, and end with the link's both ends.
pub(crate) async fn open(
    start: impl Fn() -> Connection,
    wanted: Wanted,
    options: Options,
) -> (Link, Vec<impl Future<Output = ()> + Send + 'static>) {
    let (outlet, deliveries) = mpsc::channel(options.capacity);
    let (mut subscribers, mut controls, mut tasks) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.connections {
        let (sender, changes) = mpsc::channel(WAITING_CHANGES);
        let (connection, followed) = (start(), Arc::new(Followed::default()));
        let pump = Pump::new(&connection, outlet.clone(), followed.clone());
        let mut subscriptions = Subscriptions::new(connection, followed, pump.alarm());
        subscriptions.settle().await;
        let (control, controlled) = oneshot::channel();
        subscribers.push(sender);
        controls.push(control);
        tasks.push(run(pump, subscriptions, changes, options.probe_interval, controlled));
    }
    let control = Arc::new(Control { wanted, subscribers, _controls: controls });
    (Link { deliveries, control }, tasks)
}

/// Runs until both ends of the link are gone.
async fn run(
    pump: Pump,
    subscriptions: Subscriptions,
    changes: mpsc::Receiver<Change>,
    probe_interval: Duration,
    controlled: oneshot::Receiver<()>,
) {
    let unread = pump.unread();
    let both_gone = async {
        unread.await;
        let _ = controlled.await;
    };
    tokio::select! {
        () = pump.run() => {}
        () = subscriptions.run(changes, probe_interval) => {}
        () = both_gone => {}
    }
}

impl Control {
    async fn change(
        &self,
        kind: ChangeKind,
        channels: &[(ChannelKey, Stream)],
    ) -> Result<(), BackplaneError> {
        let mut parts: Vec<Vec<Name>> = self.subscribers.iter().map(|_| Vec::new()).collect();
        for name in channels.iter().flat_map(|(key, stream)| self.wanted.names(key, stream)) {
            let part = name.part(parts.len());
            parts[part].push(name);
        }
        let mut answers = Vec::new();
        for (names, subscriber) in parts.into_iter().zip(&self.subscribers) {
            if names.is_empty() {
                continue;
            }
            let (reply, answer) = oneshot::channel();
            let change = Change { kind, names, reply };
            subscriber.send(change).await.map_err(|_| BackplaneError)?;
            answers.push(answer);
        }
        for answer in answers {
            answer.await.map_err(|_| BackplaneError)??;
        }
        Ok(())
    }
}

#[async_trait]
impl LinkControl for Control {
    async fn follow(&self, channels: &[(ChannelKey, Stream)]) -> Result<(), BackplaneError> {
        self.change(ChangeKind::Follow, channels).await
    }

    async fn unfollow(&self, channels: &[(ChannelKey, Stream)]) -> Result<(), BackplaneError> {
        self.change(ChangeKind::Unfollow, channels).await
    }
}
