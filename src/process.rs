//! What every long-running command needs: a runtime, metrics, signals, and how its router is doing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use meridian_core::lag::Lag;
use meridian_edge::PartState;
use meridian_region_router::{PartitionState, PartitionStatus, RouterStatus};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

/// Stores, router and admin; an edge's workers have their own threads.
const RUNTIME_THREADS: usize = 2;
const SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    10.0,
];

pub(crate) fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build()
        .context("cannot start a runtime")
}

/// The signals that ask a process to end.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on they no longer kill the process. Needs a runtime.
    pub(crate) fn listen() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("cannot handle SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot handle SIGINT")?,
        })
    }

    /// Returns at the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

pub(crate) fn install_metrics() -> Result<PrometheusHandle> {
    let suffix = Matcher::Suffix("_seconds".to_owned());
    PrometheusBuilder::new()
        .set_buckets_for_metric(suffix, SECONDS)
        .and_then(PrometheusBuilder::install_recorder)
        .context("cannot install the metrics recorder")
}

/// The exporter's histograms are drained here; a scrape does it too, but nobody may scrape.
pub(crate) async fn drain_histograms(metrics: PrometheusHandle, stop: CancellationToken) {
    let mut ticks = interval(Duration::from_secs(5));
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        metrics.run_upkeep();
    }
}

pub(crate) fn router_part(part: &str, status: &RouterStatus) -> PartState {
    let partitions = status.partitions();
    let owned = status.owned();
    let lags: Vec<Lag> = owned.iter().map(|partition| partition.lag).collect();
    let halted = status.halted().borrow().clone();
    let detail = match halted {
        Some((partition, reason)) => format!("halted in partition {}: {reason}", partition.0),
        None => {
            let (count, behind, waiting) = (owned.len(), behind(&lags), waiting(&owned));
            format!("{count} of {} partitions, {behind}{waiting}", partitions.len())
        }
    };
    let (part, ready) = (part.to_owned(), status.is_ready());
    PartState { part, ready, vital: true, rebuilding: false, detail }
}

/// What partitions wait for, in words.
fn waiting(owned: &[PartitionStatus]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for partition in owned {
        let told = match partition.state {
            PartitionState::Paused(pause) => format!("paused: {pause}"),
            PartitionState::HistoryOnly => "not live: the backplane does not answer".to_owned(),
            _ => continue,
        };
        *counts.entry(told).or_default() += 1;
    }
    counts.into_iter().map(|(told, count)| format!("; {count} {told}")).collect()
}

/// How far partitions are behind, in words: all records, and the oldest one's age.
pub(crate) fn behind(lags: &[Lag]) -> String {
    let records: u64 = lags.iter().map(|lag| lag.records).sum();
    if records == 0 {
        return "0 records behind".to_owned();
    }
    match lags.iter().map(|lag| lag.ms).reduce(|a, b| Some(a?.max(b?))).flatten() {
        Some(ms) => format!("{records} records and {:.1} s behind", ms as f64 / 1000.0),
        None => format!("{records} records behind, nobody can tell yet how long"),
    }
}

/// What a self-made certificate is for.
pub(crate) fn own_names(listen: SocketAddr) -> Vec<String> {
    vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned(), listen.ip().to_string()]
}

pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
