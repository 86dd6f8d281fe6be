//! A node of its own: edge and router in one process on the embedded stores. Owns how the parts start
//! and in which order they stop; each part's work is its own.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use meridian_core::auth::PolicyAuthoriser;
use meridian_core::config::Config;
use meridian_core::embedded::{self, Embedded, Keep};
use meridian_core::policy::Policies;
use meridian_edge::{
    Certificates, ConsoleInfo, NodeOptions, OpsOptions, PartState, ResetKey, RunningNode, Stores,
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

/// Runs the node until SIGTERM or SIGINT, then drains it.
pub(crate) fn run(config: Config, demo: Option<Demo>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(serve(config, demo))
}

async fn serve(config: Config, demo: Option<Demo>) -> Result<()> {
    let metrics = install_metrics()?;
    let policies = Arc::new(config.policies.clone());
    let mut options = embedded::Options::default();
    options.log.partitions = config.storage.partitions;
    options.backplane.policies = policies.clone();
    let stores = embedded::open(&config.storage.dir, options)
        .await
        .with_context(|| format!("cannot open the data folder {}", config.storage.dir.display()))?;

    let stop_router = CancellationToken::new();
    let mut parts = JoinSet::new();
    let router = Router::new(
        stores.log.clone(),
        stores.history.clone(),
        stores.backplane.clone(),
        RouterOptions::default(),
    );
    let status = router.status();
    let stop = stop_router.clone();
    parts.spawn(async move {
        let outcome = router.run(stop).await;
        tracing::info!(?outcome, "router ended");
    });
    parts.spawn(retain(stores.clone(), policies.clone(), stop_router.clone()));
    parts.spawn(upkeep(metrics.clone(), stop_router.clone()));

    let result = run_edge(config, &stores, policies, status, metrics, demo).await;
    stop_router.cancel();
    while parts.join_next().await.is_some() {}
    stores.close().await;
    result
}

async fn run_edge(
    config: Config,
    stores: &Embedded,
    policies: Arc<Policies>,
    status: RouterStatus,
    metrics: PrometheusHandle,
    demo: Option<Demo>,
) -> Result<()> {
    // Before anything is announced: a signal must find its handler.
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let certificates = match &config.tls.certificate {
        Some(files) => Certificates::from_files(files.certificate.clone(), files.key.clone())?,
        None => Certificates::self_made(own_names(config.listen.client))?,
    };
    let reset_key =
        ResetKey::kept_in(&config.storage.dir).context("cannot keep a key in the data folder")?;
    let token = development::token(&config, now_ms())?;
    let scheme = if config.tls.plain_tcp { "http" } else { "https" };
    let console = console(scheme, token.clone(), certificates.clone(), demo);
    let announced = console.clone();
    let node = RunningNode::start(NodeOptions {
        verifier: config.auth.verifier(),
        stores: Stores {
            log: stores.log.clone(),
            backplane: stores.backplane.clone(),
            history: stores.history.clone(),
            policies: policies.clone(),
        },
        authoriser: Arc::new(PolicyAuthoriser::new(policies)),
        certificates,
        reset_key,
        ops: OpsOptions {
            parts: Arc::new(move || parts(&status)),
            metrics: Arc::new(move || metrics.render()),
            console: Some(Arc::new(console)),
        },
        config,
    })
    .await?;
    announce(&announced(node.client_address()), node.admin_address())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        ended = replay::run(demo, stores.log.clone(), now_ms()) => ended?,
    }
    tracing::info!("draining; a second signal stops at once");
    tokio::select! {
        () = node.drain() => Ok(()),
        _ = terminate.recv() => bail!("stopped before every client had moved"),
        _ = interrupt.recv() => bail!("stopped before every client had moved"),
    }
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

/// One fact a line, so that scripts can read them.
fn announce(info: &ConsoleInfo, admin: SocketAddr) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "client {}", info.client_url)?;
    writeln!(out, "admin http://{admin}")?;
    writeln!(out, "certificate-hash {}", info.certificate_hash)?;
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

async fn retain(stores: Embedded, policies: Arc<Policies>, stop: CancellationToken) {
    let mut ticks = interval(RETENTION_EVERY);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = stores.retain(&policies, LOG_KEEP).await {
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
