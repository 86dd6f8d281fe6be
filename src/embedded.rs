//! A node of its own: edge and router in one process on the embedded stores. Owns how the parts start
//! and in which order they stop; each part's work is its own.

use std::io::Write as _;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use meridian_core::config::Config;
use meridian_core::embedded::{self, Embedded, Keep};
use meridian_core::policy::Policies;
use meridian_core::seams::{AckLog, Log};
use meridian_edge::{
    Certificates, ConsoleInfo, Logs, NodeOptions, OpsOptions, OtherRegion, ResetKey, RunningNode,
    Stores, authoriser,
};
use meridian_region_router::{AckMerger, Options as RouterOptions, Router, RouterStatus};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::dev::Demo;
use crate::process::{self, Signals, now_ms, own_names};
use crate::{development, replay};

/// How long a region stays away that was made to fail.
const AWAY: Duration = Duration::from_secs(20);
const RETENTION_EVERY: Duration = Duration::from_secs(2);
/// The log is no client's history: it is kept as long as duplicates are looked for.
const LOG_KEEP: Keep = Keep { records: None, age_ms: Some(86_400_000) };

/// Runs the node of each region until SIGTERM or SIGINT, then drains them. All regions share one log.
pub(crate) fn run(configs: Vec<Config>, demo: Option<Demo>) -> Result<()> {
    process::runtime()?.block_on(serve(configs, demo))
}

async fn serve(configs: Vec<Config>, demo: Option<Demo>) -> Result<()> {
    let metrics = process::install_metrics()?;
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
        let (acks, history) = (stores.acks.clone(), stores.history.clone());
        let merger = AckMerger::new(acks.clone(), acks.reader(), history);
        parts.spawn(merger.run(stop_routers.clone()));
        let stores = stores.clone();
        regions.push(Region { config, stores, status, policies: policies.clone() });
    }
    parts.spawn(retain(stores.clone(), policies, stop_routers.clone()));
    parts.spawn(process::drain_histograms(metrics.clone(), stop_routers.clone()));

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
    let mut signals = Signals::listen()?;
    let log = regions.first().map(|region| region.stores.log.clone());
    let certificates = regions.iter().map(|region| certificates(&region.config));
    let certificates = certificates.collect::<Result<Vec<_>>>()?;
    let others = others(&regions, &certificates);
    let (mut edges, mut announced) = (Vec::new(), Vec::new());
    for (number, (region, certificates)) in regions.into_iter().zip(certificates).enumerate() {
        let mut regions = others.clone();
        // The page's own region is none of the others.
        regions.retain(|(of, _)| *of != number);
        let others = regions.into_iter().map(|(_, other)| other).collect();
        let name = region.config.node.region.clone();
        let edge = Edge::new(region, certificates, others, metrics.clone(), demo)?;
        let node = edge.start().await?;
        let info = (edge.info)(Some(node.client_address()));
        announced.push((name, info, node.admin_address()));
        edges.push((edge, node));
    }
    announce(&announced)?;
    let Some(log) = log else { return Ok(()) };
    let stop = CancellationToken::new();
    let running = edges.into_iter().map(|(edge, node)| edge.run(node, stop.clone()));
    let mut running = pin!(futures_util::future::join_all(running));
    tokio::select! {
        () = signals.next() => {}
        ended = replay::run(demo, log, now_ms()) => ended?,
        _ = &mut running => bail!("no region runs any more"),
    }
    tracing::info!("draining; a second signal stops at once");
    stop.cancel();
    tokio::select! {
        _ = running => Ok(()),
        () = signals.next() => bail!("stopped before every client had moved"),
    }
}

fn certificates(config: &Config) -> Result<Arc<Certificates>> {
    Ok(match &config.tls.certificate {
        Some(files) => Certificates::from_files(files.certificate.clone(), files.key.clone())?,
        None => Certificates::self_made(own_names(config.listen.client))?,
    })
}

/// Each region as the others' consoles are told of it, with its number.
fn others(regions: &[Region], certificates: &[Arc<Certificates>]) -> Vec<(usize, OtherRegion)> {
    let other = |(region, certificates): (&Region, &Arc<Certificates>)| {
        let url = region.config.regions.get(&region.config.node.region)?;
        let certificate_hash = Some(development::hex(&certificates.hash()));
        Some(OtherRegion { client_url: url.as_str().to_owned(), certificate_hash })
    };
    let all = regions.iter().zip(certificates).map(other).enumerate();
    all.filter_map(|(number, other)| Some((number, other?))).collect()
}

type Info = Arc<dyn Fn(Option<SocketAddr>) -> ConsoleInfo + Send + Sync>;

/// A region's edge, which can be started again after it was made to fail.
struct Edge {
    region: Region,
    certificates: Arc<Certificates>,
    metrics: PrometheusHandle,
    info: Info,
    /// Tells to fail; `None`: there is no other region.
    fail: Option<Arc<Notify>>,
}

impl Edge {
    fn new(
        region: Region,
        certificates: Arc<Certificates>,
        others: Vec<OtherRegion>,
        metrics: PrometheusHandle,
        demo: Option<Demo>,
    ) -> Result<Self> {
        let token = development::token(&region.config, now_ms())?;
        let scheme = if region.config.tls.plain_tcp { "http" } else { "https" };
        let fail = (!others.is_empty()).then(Arc::default);
        let client = region.config.listen.client;
        let info = console(scheme, client, token, certificates.clone(), demo, others);
        Ok(Self { region, certificates, metrics, info: Arc::new(info), fail })
    }

    /// Serves until `stop`, then drains. Made to fail, it is away for a while.
    async fn run(mut self, mut node: RunningNode, stop: CancellationToken) -> Result<()> {
        let config = &mut self.region.config.listen;
        (config.client, config.admin) = (node.client_address(), node.admin_address());
        loop {
            let failing = async {
                match &self.fail {
                    Some(fail) => fail.notified().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = failing => {}
            }
            let region = &self.region.config.node.region;
            tracing::warn!(region, "fails for {} s, as it was asked to", AWAY.as_secs());
            drop(node);
            if stop.run_until_cancelled(sleep(AWAY)).await.is_none() {
                return Ok(());
            }
            node = self.start().await?;
        }
        node.drain().await;
        Ok(())
    }

    async fn start(&self) -> Result<RunningNode> {
        let Region { config, stores, status, policies } = &self.region;
        let reset_key = ResetKey::kept_in(&config.storage.dir, &config.node.name)
            .context("cannot keep a key in the data folder")?;
        let (status, metrics, info) = (status.clone(), self.metrics.clone(), self.info.clone());
        let fail = self
            .fail
            .clone()
            .map(|fail| -> Arc<dyn Fn() + Send + Sync> { Arc::new(move || fail.notify_one()) });
        let node = RunningNode::start(NodeOptions {
            verifier: config.auth.verifier(),
            ledger: stores.ledger.clone(),
            stores: Stores {
                logs: Logs::new([stores.log.clone() as Arc<dyn Log>]),
                backplane: stores.backplane.clone(),
                history: stores.history.clone(),
                policies: policies.clone(),
            },
            acks: vec![stores.acks.clone() as Arc<dyn AckLog>],
            authoriser: authoriser(config.authoriser.as_ref(), policies.clone())?,
            certificates: self.certificates.clone(),
            reset_key,
            ops: OpsOptions {
                parts: Arc::new(move || vec![process::router_part("router", &status)]),
                metrics: Arc::new(move || metrics.render()),
                console: Some(info),
                api: None,
                fail,
            },
            config: config.clone(),
        });
        Ok(node.await?)
    }
}

fn console(
    scheme: &'static str,
    configured: SocketAddr,
    token: String,
    certificates: Arc<Certificates>,
    demo: Option<Demo>,
    regions: Vec<OtherRegion>,
) -> impl Fn(Option<SocketAddr>) -> ConsoleInfo + Send + Sync + 'static {
    move |client| ConsoleInfo {
        client_url: format!("{scheme}://{}", client.unwrap_or(configured)),
        token: token.clone(),
        certificate_hash: Some(development::hex(&certificates.hash())),
        demo: demo.map(|Demo::Flights| "flights".to_owned()),
        regions: regions.clone(),
        nodes: false,
        can_fail: !regions.is_empty(),
    }
}

/// One fact a line, so that scripts can read them; of several regions, each under its name.
fn announce(regions: &[(String, ConsoleInfo, SocketAddr)]) -> Result<()> {
    let several = regions.len() > 1;
    let mut out = std::io::stdout().lock();
    for (name, info, admin) in regions {
        if several {
            writeln!(out, "region {name}")?;
        }
        writeln!(out, "client {}", info.client_url)?;
        writeln!(out, "admin http://{admin}")?;
        if let Some(hash) = &info.certificate_hash {
            writeln!(out, "certificate-hash {hash}")?;
        }
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
