//! How long a router takes to own a partition whose window is full, beside reading that window alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use meridian_core::seams::{History as _, Log as _};
use meridian_core::vocabulary::Partition;
use meridian_kafka::KafkaLog;
use meridian_postgres::PostgresHistory;
use meridian_redis::RedisBackplane;
use meridian_region_router::{Options, PartitionState, PartitionStatus, Router};
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::cli::RouterArgs;
use crate::region::{Servers, Views, fill, log_name, streams};
use crate::report::progress;

const PATIENCE: Duration = Duration::from_secs(300);

/// Milliseconds of each takeover, and of each claim alone.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Takeovers {
    pub(super) window_rows: usize,
    pub(super) takeover_ms: Vec<f64>,
    pub(super) claim_ms: Vec<f64>,
}

/// One region, one partition.
struct Place {
    log: Arc<KafkaLog>,
    history: Arc<PostgresHistory>,
    backplane: Arc<RedisBackplane>,
}

/// A router in this process.
struct Running {
    stop: CancellationToken,
    task: JoinHandle<meridian_region_router::Outcome>,
    status: watch::Receiver<PartitionStatus>,
}

pub(super) async fn measure(args: &RouterArgs, servers: &Servers) -> Result<Takeovers> {
    let mut options = servers.log_options("bench-takeover", 1);
    options.topics.window_records = args.window;
    let log = Arc::new(KafkaLog::open(options, log_name()?).await?);
    progress(format_args!("takeover: {} records fill the window", args.window));
    let ends = fill(&*log, args.window as usize, args.channels, args.region.bytes).await?;
    Views::emptied(servers, log.incarnation()).await?.close().await;
    let history = PostgresHistory::open(servers.postgres_options(), log.incarnation()).await?;
    let backplane = Arc::new(servers.backplane()?);
    ensure!(backplane.wait_connected(PATIENCE).await, "Redis does not answer");
    let place = Place { log, history: Arc::new(history), backplane };
    place.work_off(ends.iter().sum()).await?;
    let mut takeovers = Takeovers::default();
    for _ in 0..args.takeovers {
        takeovers.takeover_ms.push(place.take_over().await?);
        let (rows, took_ms) = place.claim(args.window as usize).await?;
        takeovers.window_rows = rows;
        takeovers.claim_ms.push(took_ms);
    }
    place.log.close().await;
    place.history.close().await;
    Ok(takeovers)
}

impl Place {
    fn route(&self) -> Result<Running> {
        let (log, history) = (self.log.clone(), self.history.clone());
        let router = Router::new(log, history, self.backplane.clone(), Options::default());
        let status = router.status().follow(Partition(0)).context("the log has a partition")?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(router.run(stop.clone()));
        Ok(Running { stop, task, status })
    }

    /// Has a router store so many records.
    async fn work_off(&self, records: u64) -> Result<()> {
        let mut running = self.route()?;
        let stored = |status: &PartitionStatus| {
            status.checkpoint.is_some_and(|at| at.next_offset().0 >= records)
        };
        timeout(PATIENCE, running.status.wait_for(stored)).await.context("storing it")??;
        running.stop().await
    }

    /// From a worker's start to its first read of the log's new records.
    async fn take_over(&self) -> Result<f64> {
        let began = Instant::now();
        let mut running = self.route()?;
        let live = |status: &PartitionStatus| status.state == PartitionState::Live;
        timeout(PATIENCE, running.status.wait_for(live)).await.context("taking over")??;
        let took_ms = began.elapsed().as_secs_f64() * 1000.0;
        running.stop().await?;
        Ok(took_ms)
    }

    async fn claim(&self, rows: usize) -> Result<(usize, f64)> {
        let stream = streams(self.log.incarnation()).remove(0);
        let began = Instant::now();
        let claim = self.history.claim(&stream, rows).await?;
        Ok((claim.window.len(), began.elapsed().as_secs_f64() * 1000.0))
    }
}

impl Running {
    async fn stop(self) -> Result<()> {
        self.stop.cancel();
        self.task.await?;
        Ok(())
    }
}
