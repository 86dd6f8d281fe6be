//! `meridian router`: a region's router, which shares the logs' partitions with the region's others.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use meridian_core::config::{Config, Node, RegionStores};
use meridian_core::policy::Policies;
use meridian_core::seams::Log as _;
use meridian_edge::{OpsOptions, PartState, serve_admin};
use meridian_kafka::{GroupOptions, KafkaGroup};
use meridian_region_router::{Options as RouterOptions, Outcome, Router, RouterStatus};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::process::{self, Signals, now_ms};
use crate::region::{self, LogHere, LogPlace, Region};
use crate::{acks, halting, health, logging, waiting};

/// Run a region's router, on the region's Kafka, Redis and Postgres
///
/// Several of them share the logs' partitions; one that ends leaves its partitions to the others.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Options {
    #[command(flatten)]
    config: region::ConfigFile,
}

const HELP: &str = "\
Examples:
  meridian router --config meridian.toml

Health, readiness and metrics are on the admin address: /healthz, /readyz, /metrics.";

/// A router that gave no sign of life for so long loses its partitions to the others.
const SESSION: Duration = Duration::from_secs(10);
/// Days' tables are made two days ahead.
const UPKEEP_EVERY: Duration = Duration::from_secs(600);

/// Routes until it is told to stop.
pub(crate) fn run(options: &Options) -> Result<()> {
    let (config, stores) = region::configured(&options.config)?;
    logging::start(&config.log)?;
    process::runtime()?.block_on(serve(config, &stores))
}

async fn serve(mut config: Config, stores: &RegionStores) -> Result<()> {
    let metrics = process::install_metrics()?;
    let mut signals = Signals::listen()?;
    let policies = Arc::new(config.policies.clone());
    let opened = waiting::open(&mut config, stores, (&metrics, &mut signals)).await?;
    let Some(region) = opened else { return Ok(()) };
    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    let places = region::places(&config, stores)?;
    let here = region.logs.iter().zip(&places);
    let routers: Vec<LogRouter> =
        here.map(|(here, place)| LogRouter::new(here.clone(), place.clone(), &region)).collect();
    let ops = OpsOptions {
        parts: Arc::new(parts(&region, &routers)),
        metrics: Arc::new({
            let metrics = metrics.clone();
            move || metrics.render()
        }),
        console: None,
        api: None,
        fail: None,
    };
    let (admin, serving) = serve_admin(config.listen.admin, ops, stop.clone())
        .await
        .with_context(|| format!("cannot listen on {}", config.listen.admin))?;
    tasks.spawn(serving);
    tasks.spawn(process::drain_histograms(metrics, stop.clone()));
    tasks.spawn(upkeep(region.logs.clone(), policies, stop.clone()));
    let mut running = Vec::new();
    for router in routers {
        running.push(router.start(&config.node, &mut tasks, &stop)?);
    }
    announce(admin)?;
    let mut replaced = false;
    tokio::select! {
        () = signals.next() => {}
        () = any_replaced(&running) => replaced = true,
        // The next epoch has other partitions: a router that starts anew finds them.
        () = Region::superseded(&region.logs) => {
            tracing::warn!("a log went on to another epoch: this router ends, to be started anew");
        }
    }
    tracing::info!("stopping");
    stop.cancel();
    for routed in running {
        routed.ended().await?;
    }
    while tasks.join_next().await.is_some() {}
    region::close(&region.logs).await;
    if replaced {
        let name = &config.node.name;
        bail!("another router joined the group as `{name}`: each needs a `node.name` of its own");
    }
    Ok(())
}

/// The router of one log.
struct LogRouter {
    here: LogHere,
    place: LogPlace,
    router: Router,
}

/// It at work, and the group that gives it its partitions.
struct Routed {
    group: KafkaGroup,
    routing: JoinHandle<Outcome>,
}

impl LogRouter {
    fn new(here: LogHere, place: LogPlace, region: &Region) -> Self {
        let (log, history) = (here.log.clone(), here.history.clone());
        let options = RouterOptions::default();
        let router = Router::new(log, history, region.backplane.clone(), options);
        Self { here, place, router }
    }

    fn start(
        self,
        node: &Node,
        tasks: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) -> Result<Routed> {
        let LogHere { log, history } = self.here;
        let status = self.router.status();
        let herald = halting::Herald { log: log.clone(), history: history.clone(), status };
        tasks.spawn(herald.run(stop.clone()));
        let (acks, region) = (acks::Acks::new(&self.place), node.region.clone());
        tasks.spawn(acks::merge(acks, region, history, stop.clone()));
        let (prefix, name) = (&self.place.kafka.topic_prefix, &self.place.name);
        let id = format!("{prefix}.{name}.{}", node.region);
        let options = GroupOptions { id, member: Some(node.name.clone()), session: SESSION };
        let group = KafkaGroup::join(&log, &options).context("cannot join the routers' group")?;
        let routing = tokio::spawn(self.router.run_owned(group.owned(), stop.clone()));
        Ok(Routed { group, routing })
    }
}

impl Routed {
    async fn ended(self) -> Result<()> {
        let outcome = self.routing.await.context("the router failed")?;
        tracing::info!(?outcome, "router ended");
        self.group.leave().await;
        Ok(())
    }
}

/// Returns once another router has taken this one's name.
async fn any_replaced(running: &[Routed]) {
    let ended = running.iter().map(|routed| Box::pin(routed.group.replaced()));
    futures_util::future::select_all(ended).await;
}

/// The servers, which a router waits for, and how the logs' routers are doing.
fn parts(
    region: &Region,
    routers: &[LogRouter],
) -> impl Fn() -> Vec<PartState> + Send + Sync + 'static {
    let servers = health::watch(region);
    let named = routers.iter().map(|router| (router.here.part("router"), router.router.status()));
    let routers: Vec<(String, RouterStatus)> = named.collect();
    move || {
        let mut parts = servers.borrow().clone();
        parts.extend(routers.iter().map(|(part, status)| process::router_part(part, status)));
        parts
    }
}

async fn upkeep(logs: Vec<LogHere>, policies: Arc<Policies>, stop: CancellationToken) {
    let mut ticks = interval(UPKEEP_EVERY);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        // One after another: they are in one schema, where only one upkeep runs at a time.
        for LogHere { log, history } in &logs {
            let log = &log.incarnation().log;
            match history.upkeep(&policies, now_ms()).await {
                Ok(Some(done)) => tracing::info!(%log, ?done, "history's upkeep"),
                Ok(None) => {}
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(%log, error, "the history's upkeep failed; tried again later");
                }
            }
        }
    }
}

fn announce(admin: std::net::SocketAddr) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "admin http://{admin}")?;
    out.flush()?;
    Ok(())
}
