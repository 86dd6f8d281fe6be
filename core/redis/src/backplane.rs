//! The seam on Redis: puts the parts together. Owns the connections for writes and for reads, and the
//! tasks of its links.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use fred::clients::{Client, WithOptions};
use fred::interfaces::{ClientLike as _, PubsubInterface as _};
use meridian_core::policy::Policies;
use meridian_core::seams::{
    Applied, ApplyOutcome, Backplane, BackplaneError, Ephemeral, HotHead, HotRead, Link, Stale,
};
use meridian_core::vocabulary::{ChannelKey, Position, Stream};
use tokio::task::JoinSet;

use crate::apply::{self, keep_of};
use crate::connect::{Connection, Connector};
use crate::encoding::encode_ephemeral;
use crate::hot;
use crate::keys::{Layout, PartitionKeys};
use crate::link::{self, Wanted};
use crate::options::{HotBounds, OptionsError, RedisOptions};
use crate::retain::Keeper;
use crate::scripts::{Scripts, unavailable};

/// Events that wait between a connection and a link, beside the link's own.
const UNREAD_MESSAGES: usize = 4_096;

/// A region's backplane on Redis. It connects, and connects again, by itself; while it can't, its
/// calls fail at once. Dropping it ends its connections and its links.
pub struct RedisBackplane {
    connector: Connector,
    layout: Layout,
    policies: Arc<Policies>,
    hot: HotBounds,
    link_options: link::Options,
    scripts: Scripts,
    /// Applies and repairs: what a partition's writer sends keeps its order.
    writes: Connection,
    /// Reads and ephemeral events: a large answer holds up no apply.
    reads: Arc<Connection>,
    /// The links', and one that watches `reads`.
    tasks: Mutex<JoinSet<()>>,
}

impl RedisBackplane {
    /// Starts to connect. Needs a tokio runtime, on which the connections' tasks run.
    pub fn start(options: &RedisOptions) -> Result<Self, OptionsError> {
        let connector = Connector::new(options)?;
        // Nothing is published to these two.
        let (writes, reads) = (connector.start(16), Arc::new(connector.start(16)));
        let mut tasks = JoinSet::new();
        // The writer learns by itself of a replica: it refuses to write.
        tasks.spawn(leave_replicas(reads.clone(), options.timing.probe_interval));
        Ok(Self {
            layout: Layout::new(&options.prefix),
            policies: options.policies.clone(),
            hot: options.hot,
            link_options: link::Options {
                capacity: options.link_capacity,
                connections: options.link_connections,
                probe_interval: options.timing.probe_interval,
            },
            scripts: Scripts::new(),
            writes,
            reads,
            tasks: Mutex::new(tasks),
            connector,
        })
    }

    /// Waits for its first connections. `false`: they are not there after `limit`; it goes on trying.
    pub async fn wait_connected(&self, limit: Duration) -> bool {
        let both =
            async { self.writes.connected(limit).await && self.reads.connected(limit).await };
        both.await
    }

    pub(crate) fn writer(&self) -> WithOptions<Client> {
        self.writes.client().with_options(&self.connector.at_once())
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    fn reader(&self) -> WithOptions<Client> {
        self.reads.client().with_options(&self.connector.at_once())
    }

    fn keeper<'a>(
        &'a self,
        client: &'a WithOptions<Client>,
        keys: &'a PartitionKeys,
        stream: &'a Stream,
    ) -> Keeper<'a> {
        Keeper { client, scripts: &self.scripts, keys, stream }
    }
}

#[async_trait]
impl Backplane for RedisBackplane {
    async fn apply(
        &self,
        stream: &Stream,
        events: &[Applied],
    ) -> Result<Vec<ApplyOutcome>, BackplaneError> {
        let keys = self.layout.partition(stream);
        let keep = |key: &ChannelKey| keep_of(key, &self.policies, self.hot);
        apply::apply(&self.writer(), &self.scripts, &keys, stream, events, keep).await
    }

    async fn marker(&self, stream: &Stream) -> Result<Option<Position>, BackplaneError> {
        hot::marker(&self.writer(), &self.layout.partition(stream)).await
    }

    async fn repair(
        &self,
        stream: &Stream,
        found: Option<Position>,
        stale: Stale<'_>,
        restored: Position,
    ) -> Result<bool, BackplaneError> {
        let (client, keys) = (self.writer(), self.layout.partition(stream));
        self.keeper(&client, &keys, stream).repair(found, stale, restored).await
    }

    async fn trim_below(
        &self,
        stream: &Stream,
        checkpoint: Position,
    ) -> Result<(), BackplaneError> {
        let (client, keys) = (self.writer(), self.layout.partition(stream));
        let keep = |key: &ChannelKey| keep_of(key, &self.policies, self.hot);
        let keeper = self.keeper(&client, &keys, stream);
        keeper.trim_below(checkpoint, self.hot.partition_bytes, keep).await
    }

    async fn heads(
        &self,
        stream: &Stream,
        keys: &[ChannelKey],
    ) -> Result<Vec<HotHead>, BackplaneError> {
        let partition = self.layout.partition(stream);
        hot::heads(&self.reader(), &self.scripts.heads, &partition, stream, keys).await
    }

    async fn read(
        &self,
        key: &ChannelKey,
        stream: &Stream,
        after: Position,
        max_events: usize,
    ) -> Result<HotRead, BackplaneError> {
        let keys = self.layout.partition(stream);
        let channel = hot::Channel { keys: &keys, key, stream };
        hot::read(&self.reader(), &self.scripts.read, channel, after, max_events).await
    }

    async fn send(&self, event: Arc<Ephemeral>) -> Result<(), BackplaneError> {
        let channel = self.layout.ephemeral(&event.key);
        let sent = self.reader().spublish::<(), _, _>(channel, encode_ephemeral(&event)).await;
        sent.map_err(|error| unavailable(&error))
    }

    async fn link(&self) -> Result<Link, BackplaneError> {
        let wanted = Wanted::new(self.layout.clone(), self.policies.clone());
        let start = || self.connector.start(UNREAD_MESSAGES);
        let (link, tasks) = link::open(start, wanted, self.link_options).await;
        let mut all = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while all.try_join_next().is_some() {}
        for task in tasks {
            all.spawn(task);
        }
        Ok(link)
    }
}

async fn leave_replicas(connection: Arc<Connection>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        connection.leave_replica().await;
    }
}
