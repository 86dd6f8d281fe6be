//! A server with its subscribers and its publisher, and one measured turn of it.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::control::{LoadAnswer, LoadOrder, PublishAnswer, PublishOrder, Worker};
use crate::procfs::{cpu_us, rss_bytes};
use crate::report::progress;
use crate::server::{Server, until};
use crate::stats::{Buckets, per};
use crate::target::{LoadPlan, PublishPlan};

const OPENING: Duration = Duration::from_secs(300);
const ANSWER: Duration = Duration::from_secs(60);
/// For deliveries that are still under way when the publisher is done.
const STRAGGLERS: Duration = Duration::from_secs(5);

/// What takes turns.
pub(super) struct Subject {
    pub(super) name: &'static str,
    /// `None` where another subject owns the server.
    server: Option<Server>,
    pid: u32,
    pub(super) rss_per_connection: f64,
    load: Worker,
    publisher: Worker,
    receivers: u64,
    cpu_begun_us: u64,
}

/// What one turn gave.
#[derive(Debug, Clone, Default)]
pub(super) struct Turn {
    pub(super) seconds: u32,
    pub(super) deliveries: u64,
    /// Deliveries that were due and did not come.
    pub(super) missing: u64,
    /// Publishes that the server refused.
    pub(super) failed: u64,
    pub(super) cpu_us: u64,
    pub(super) latencies: Buckets,
}

impl Turn {
    pub(super) fn cpu_us_per_delivery(&self) -> f64 {
        per(self.cpu_us as f64, self.deliveries)
    }
}

impl Subject {
    /// Opens all connections and gets the publisher ready.
    pub(super) async fn start(
        name: &'static str,
        server: Server,
        load: LoadPlan,
        publish: PublishPlan,
    ) -> Result<Self> {
        let mut subject = Self::beside(name, server.pid, load, publish).await?;
        subject.server = Some(server);
        Ok(subject)
    }

    /// The same on a server that another subject owns.
    pub(super) async fn beside(
        name: &'static str,
        pid: u32,
        load: LoadPlan,
        publish: PublishPlan,
    ) -> Result<Self> {
        let connections = load.connections;
        let receivers = (connections / publish.channels.len().max(1)) as u64;
        progress(format_args!("{name}: opening {connections} connections"));
        let before = rss_bytes(pid)?;
        let load = start_load(&load).await?.0;
        let grown = rss_bytes(pid)?.saturating_sub(before);
        let publisher = start_publisher(&publish).await?;
        let rss_per_connection = per(grown as f64, connections as u64);
        Ok(Self {
            name,
            server: None,
            pid,
            rss_per_connection,
            load,
            publisher,
            receivers,
            cpu_begun_us: 0,
        })
    }

    /// Publishes for so long and counts what comes.
    pub(super) async fn turn(&mut self, seconds: u32) -> Result<Turn> {
        self.begin(seconds).await?;
        self.end(seconds).await
    }

    /// Lets the publisher go.
    pub(super) async fn begin(&mut self, seconds: u32) -> Result<()> {
        self.load.tell(&LoadOrder::Reset).await?;
        match self.load.hear(ANSWER).await? {
            LoadAnswer::Zeroed => {}
            other => bail!("the subscribers said {other:?}"),
        }
        self.cpu_begun_us = cpu_us(self.pid)?;
        self.publisher.tell(&PublishOrder::Go { seconds }).await
    }

    /// Waits for the publisher and for what it published.
    pub(super) async fn end(&mut self, seconds: u32) -> Result<Turn> {
        let patience = ANSWER + Duration::from_secs(u64::from(seconds));
        let (sent, failed) = match self.publisher.hear(patience).await? {
            PublishAnswer::Done { sent, failed } => (sent, failed),
            other => bail!("the publisher said {other:?}"),
        };
        let due = (sent - failed) * self.receivers;
        let mut turn = Turn { seconds, failed, ..Turn::default() };
        let load = &mut self.load;
        let all = until(STRAGGLERS, "delivery", async || {
            load.tell(&LoadOrder::Report).await?;
            match load.hear(ANSWER).await? {
                LoadAnswer::Report { deliveries, latencies, .. } => {
                    (turn.deliveries, turn.latencies) = (deliveries, latencies);
                    Ok(deliveries >= due)
                }
                other => bail!("the subscribers said {other:?}"),
            }
        });
        if all.await.is_err() {
            turn.missing = due.saturating_sub(turn.deliveries);
        }
        turn.cpu_us = cpu_us(self.pid)? - self.cpu_begun_us;
        Ok(turn)
    }

    /// Ends the server; subscribers and publisher end with this.
    pub(super) async fn stop(self) -> Result<()> {
        drop((self.load, self.publisher));
        match self.server {
            Some(server) => server.stop().await,
            None => Ok(()),
        }
    }
}

/// Starts subscribers and waits until all are there; how long that took, in nanoseconds.
pub(super) async fn start_load(plan: &LoadPlan) -> Result<(Worker, u64)> {
    let mut load = Worker::start("load", &[])?;
    load.tell(plan).await?;
    match load.hear(OPENING).await.context("opening connections")? {
        LoadAnswer::Ready { opening_ns } => Ok((load, opening_ns)),
        other => bail!("the subscribers said {other:?}"),
    }
}

/// Starts a publisher and waits until it may publish.
pub(super) async fn start_publisher(plan: &PublishPlan) -> Result<Worker> {
    let mut publisher = Worker::start("publisher", &[])?;
    publisher.tell(plan).await?;
    match publisher.hear(ANSWER).await.context("opening the publisher")? {
        PublishAnswer::Ready => Ok(publisher),
        other => bail!("the publisher said {other:?}"),
    }
}
