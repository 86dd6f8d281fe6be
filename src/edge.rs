//! `meridian edge`: a region's node that clients connect to, on the region's servers.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use meridian_core::config::{Config, RegionStores};
use meridian_core::lag::Rules;
use meridian_core::seams::{AckLog, History, Log};
use meridian_edge::{
    Certificates, Histories, Logs, NodeOptions, OpsOptions, PartState, ResetKey, RunningNode,
    Stores, authoriser,
};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::process::{self, Signals};
use crate::region::{self, LogHere, Region};
use crate::{acks, halting, health, lag, logging, waiting};

/// Run a node that clients connect to, on a region's Kafka, Redis and Postgres
///
/// Needs a configuration that names them, and `meridian migrate` done before.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Options {
    #[command(flatten)]
    config: region::ConfigFile,
}

const HELP: &str = "\
Examples:
  meridian edge --config meridian.toml

Health, readiness and metrics are on the admin address: /healthz, /readyz, /metrics.";

/// A start does not wait for longer to know how far the region is behind.
const LAG_PATIENCE: Duration = Duration::from_secs(3);

/// Runs the node until it is told to stop.
pub(crate) fn run(options: &Options) -> Result<()> {
    let (config, stores) = region::configured(&options.config)?;
    logging::start(&config.log)?;
    if config.tls.certificate.is_none() {
        bail!("`tls.certificate` and `tls.key` are missing: UDP is always encrypted");
    }
    process::runtime()?.block_on(serve(config, &stores))
}

async fn serve(mut config: Config, stores: &RegionStores) -> Result<()> {
    let metrics = process::install_metrics()?;
    let mut signals = Signals::listen()?;
    let opened = waiting::open(&mut config, stores, (&metrics, &mut signals)).await?;
    let Some(region) = opened else { return Ok(()) };
    let places = region::places(&config, stores)?;
    let acks = places.iter().map(|place| acks::Acks::new(place) as Arc<dyn AckLog>).collect();
    let stop = tokio_util::sync::CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(process::drain_histograms(metrics.clone(), stop.clone()));
    let logs = region.logs.clone();
    for LogHere { log, history } in logs.clone() {
        tasks.spawn(halting::obey(log, history, stop.clone()));
    }
    let node = start(config, region, acks, metrics).await?;
    announce(&node)?;
    tokio::select! {
        () = signals.next() => {}
        // Another epoch: a node that starts anew finds it. What else ended the log is for a person.
        () = Region::superseded(&logs) => {
            tracing::warn!("a log went on to another epoch: this node ends, to be started anew");
        }
    }
    tracing::info!("draining; a second signal stops at once");
    tokio::select! {
        () = node.drain() => {}
        () = signals.next() => bail!("stopped before every client had moved"),
    }
    stop.cancel();
    while tasks.join_next().await.is_some() {}
    region::close(&logs).await;
    Ok(())
}

async fn start(
    config: Config,
    region: Region,
    acks: Vec<Arc<dyn AckLog>>,
    metrics: metrics_exporter_prometheus::PrometheusHandle,
) -> Result<RunningNode> {
    let files = config.tls.certificate.clone().context("no certificate")?;
    let certificates = Certificates::from_files(files.certificate, files.key)?;
    let dir = &config.storage.dir;
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let reset_key = ResetKey::kept_in(dir, &config.node.name)
        .context("cannot keep a key in the data folder")?;
    let policies = Arc::new(config.policies.clone());
    let after = Duration::from_millis(config.node.rebuilding_after_ms);
    let servers = health::watch(&region);
    let lags = region.logs.iter().map(|here| lag::watch(here, &region.backplane, Rules { after }));
    let mut lags: Vec<watch::Receiver<Option<PartState>>> = lags.collect();
    // A region that is being rebuilt says so from the first client on.
    let known = lags.iter_mut().map(|lag| lag.wait_for(Option::is_some));
    let _ = timeout(LAG_PATIENCE, futures_util::future::join_all(known)).await;
    let parts = move || {
        let mut parts = servers.borrow().clone();
        parts.extend(lags.iter().filter_map(|lag| lag.borrow().clone()));
        parts
    };
    let node = RunningNode::start(NodeOptions {
        verifier: config.auth.verifier(),
        ledger: region.backplane.clone(),
        stores: Stores {
            logs: Logs::new(region.logs.iter().map(|here| here.log.clone() as Arc<dyn Log>)),
            history: history(&region.logs)?,
            backplane: region.backplane,
            policies: policies.clone(),
        },
        acks,
        authoriser: authoriser(config.authoriser.as_ref(), policies)?,
        certificates,
        reset_key,
        ops: OpsOptions {
            parts: Arc::new(parts),
            metrics: Arc::new(move || metrics.render()),
            console: None,
            api: None,
            fail: None,
        },
        config,
    });
    Ok(node.await?)
}

/// The histories of all logs as one.
fn history(logs: &[LogHere]) -> Result<Arc<dyn History>> {
    let (first, zones) = logs.split_first().context("a region has a log")?;
    if zones.is_empty() {
        return Ok(first.history.clone());
    }
    let all = Histories::new(first.name().clone(), first.history.clone());
    let joined =
        zones.iter().fold(all, |all, here| all.and(here.name().clone(), here.history.clone()));
    Ok(Arc::new(joined))
}

/// One fact a line, so that scripts can read them.
fn announce(node: &RunningNode) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "client {}", node.client_address())?;
    writeln!(out, "admin http://{}", node.admin_address())?;
    out.flush()?;
    Ok(())
}
