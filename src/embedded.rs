//! A node of its own: edge and router in one process on the embedded stores. Owns how the parts start
//! and in which order they stop; each part's work is its own.

use std::io::Write as _;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use meridian_core::auth::PolicyAuthoriser;
use meridian_core::config::Config;
use meridian_core::embedded::{self, Embedded, Keep};
use meridian_core::policy::Policies;
use meridian_core::seams::Log;
use meridian_edge::{
    Certificates, ConsoleInfo, Logs, NodeOptions, OpsOptions, PartState, RunningNode, Stores,
};
use meridian_region_router::{Options as RouterOptions, Router, RouterStatus};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::dev::Demo;
use crate::{development, replay};

/// Stores, router and admin; the workers have their own threads.
const RUNTIME_THREADS: usize = 2;
const RETENTION_EVERY: Duration = Duration::from_secs(2);
/// The log is no client's history: it is kept as long as duplicates are looked for.
const LOG_KEEP: Keep = Keep { records: None, age_ms: Some(86_400_000) };
const SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    10.0,
];

/// Runs the node of each region until SIGTERM or SIGINT, then drains them. All regions share one log.
pub(crate) fn run(configs: Vec<Config>, demo: Option<Demo>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(serve(configs, demo))
}

async fn serve(configs: Vec<Config>, demo: Option<Demo>) -> Result<()> {
    let metrics = install_metrics()?;
    let Some(first) = configs.first() else { bail!("no region to run") };
    let (policies, dir) = (Arc::new(first.policies.clone()), first.storage.dir.clone());
    let mut options = embedded::Options::default();
    options.log.partitions = first.storage.partitions;
    options.backplane.policies = policies.clone();
    let count = NonZeroUsize::new(configs.len()).unwrap_or(NonZeroUsize::MIN);
    let stores = embedded::open_regions(&dir, count, options)
        .await
        .with_context(|| format!("cannot open the data folder {}", dir.display()))?;

    let stop_routers = CancellationToken::new();
    let mut parts = JoinSet::new();
    let mut regions = Vec::with_capacity(configs.len());
    for (config, stores) in configs.into_iter().zip(&stores) {
        let status = start_router(stores, &mut parts, stop_routers.clone());
        let stores = stores.clone();
        regions.push(Region { config, stores, status, policies: policies.clone() });
    }
    parts.spawn(retain(stores.clone(), policies, stop_routers.clone()));
    parts.spawn(upkeep(metrics.clone(), stop_routers.clone()));

    let result = run_edges(regions, &metrics, demo).await;
    stop_routers.cancel();
    while parts.join_next().await.is_some() {}
    for stores in &stores {
        stores.close().await;
    }
    result
}

/// One region of this process.
struct Region {
    config: Config,
    stores: Embedded,
    status: RouterStatus,
    policies: Arc<Policies>,
}

fn start_router(
    stores: &Embedded,
    parts: &mut JoinSet<()>,
    stop: CancellationToken,
) -> RouterStatus {
    let (log, history) = (stores.log.clone(), stores.history.clone());
    let router = Router::new(log, history, stores.backplane.clone(), RouterOptions::default());
    let status = router.status();
    parts.spawn(async move {
        let outcome = router.run(stop).await;
        tracing::info!(?outcome, "router ended");
    });
    status
}

async fn run_edges(
    regions: Vec<Region>,
    metrics: &PrometheusHandle,
    demo: Option<Demo>,
) -> Result<()> {
    // Before anything is announced: a signal must find its handler.
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let log = regions.first().map(|region| region.stores.log.clone());
    let several = regions.len() > 1;
    let (mut nodes, mut announced) = (Vec::new(), Vec::new());
    for region in regions {
        let name = region.config.node.region.clone();
        let (node, info) = start_edge(region, metrics.clone(), demo).await?;
        announced.push((name, info(node.client_address()), node.admin_address()));
        nodes.push(node);
    }
    announce(&announced, several)?;
    let Some(log) = log else { return Ok(()) };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        ended = replay::run(demo, log, now_ms()) => ended?,
    }
    tracing::info!("draining; a second signal stops at once");
    let drained = futures_util::future::join_all(nodes.into_iter().map(RunningNode::drain));
    tokio::select! {
        _ = drained => Ok(()),
        _ = terminate.recv() => bail!("stopped before every client had moved"),
        _ = interrupt.recv() => bail!("stopped before every client had moved"),
    }
}

type Info = Box<dyn Fn(SocketAddr) -> ConsoleInfo + Send + Sync>;

async fn start_edge(
    region: Region,
    metrics: PrometheusHandle,
    demo: Option<Demo>,
) -> Result<(RunningNode, Info)> {
    let Region { config, stores, status, policies } = region;
    let certificates = match &config.tls.certificate {
        Some(files) => Certificates::from_files(files.certificate.clone(), files.key.clone())?,
        None => Certificates::self_made(own_names(config.listen.client))?,
    };
    let token = development::token(&config, now_ms())?;
    let scheme = if config.tls.plain_tcp { "http" } else { "https" };
    let console = console(scheme, token, certificates.clone(), demo);
    let info = Box::new(console.clone());
    let node = RunningNode::start(NodeOptions {
        verifier: config.auth.verifier(),
        stores: Stores {
            logs: Logs::new([stores.log.clone() as Arc<dyn Log>]),
            backplane: stores.backplane.clone(),
            history: stores.history.clone(),
            policies: policies.clone(),
        },
        authoriser: Arc::new(PolicyAuthoriser::new(policies)),
        certificates,
        ops: OpsOptions {
            parts: Arc::new(move || parts(&status)),
            metrics: Arc::new(move || metrics.render()),
            console: Some(Arc::new(console)),
        },
        config,
    })
    .await?;
    Ok((node, info))
}

fn own_names(listen: SocketAddr) -> Vec<String> {
    vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned(), listen.ip().to_string()]
}

fn console(
    scheme: &'static str,
    token: String,
    certificates: Arc<Certificates>,
    demo: Option<Demo>,
) -> impl Fn(SocketAddr) -> ConsoleInfo + Clone + Send + Sync + 'static {
    move |client| ConsoleInfo {
        client_url: format!("{scheme}://{client}"),
        token: token.clone(),
        certificate_hash: certificates.hash().iter().map(|byte| format!("{byte:02x}")).collect(),
        demo: demo.map(|Demo::Flights| "flights".to_owned()),
    }
}

/// One fact a line, so that scripts can read them; of several regions, each under its name.
fn announce(regions: &[(String, ConsoleInfo, SocketAddr)], several: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for (name, info, admin) in regions {
        if several {
            writeln!(out, "region {name}")?;
        }
        writeln!(out, "client {}", info.client_url)?;
        writeln!(out, "admin http://{admin}")?;
        writeln!(out, "certificate-hash {}", info.certificate_hash)?;
    }
    let Some((_, info, admin)) = regions.first() else { return Ok(()) };
    writeln!(out, "token {}", info.token)?;
    writeln!(out)?;
    writeln!(out, "Open the console: http://{admin}/")?;
    if info.demo.is_none() {
        writeln!(out, "Nothing is published yet; try: meridian dev --demo flights")?;
    }
    out.flush()?;
    Ok(())
}

fn parts(status: &RouterStatus) -> Vec<PartState> {
    let partitions = status.partitions();
    let lag: u64 = partitions.iter().map(|partition| partition.lag_records).sum();
    let halted = status.halted().borrow().clone();
    let detail = match halted {
        Some((partition, reason)) => format!("halted in partition {}: {reason}", partition.0),
        None => format!("{} partitions, {lag} records behind", partitions.len()),
    };
    vec![PartState { part: "router".to_owned(), ready: status.is_ready(), detail }]
}

fn install_metrics() -> Result<PrometheusHandle> {
    let suffix = Matcher::Suffix("_seconds".to_owned());
    PrometheusBuilder::new()
        .set_buckets_for_metric(suffix, SECONDS)
        .and_then(PrometheusBuilder::install_recorder)
        .context("cannot install the metrics recorder")
}

/// The exporter's histograms are drained here; a scrape does it too, but nobody may scrape.
async fn upkeep(metrics: PrometheusHandle, stop: CancellationToken) {
    let mut ticks = interval(Duration::from_secs(5));
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        metrics.run_upkeep();
    }
}

async fn retain(stores: Vec<Embedded>, policies: Arc<Policies>, stop: CancellationToken) {
    let mut ticks = interval(RETENTION_EVERY);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = embedded::retain(&stores, &policies, LOG_KEEP).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "retention failed; tried again soon"
            );
        }
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
