//! `meridian router`: a region's router, which shares the log's partitions with the region's others.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use meridian_core::config::{Config, RegionStores};
use meridian_core::policy::Policies;
use meridian_edge::{OpsOptions, serve_admin};
use meridian_kafka::{GroupOptions, KafkaGroup};
use meridian_postgres::PostgresHistory;
use meridian_region_router::{Options as RouterOptions, Router, RouterStatus};
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::process::{self, Signals, now_ms};
use crate::region::{self, Region};
use crate::{acks, halting, health, logging, waiting};

/// Run a region's router, on the region's Kafka, Redis and Postgres
///
/// Several of them share the log's partitions; one that ends leaves its partitions to the others.
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
    let router = Router::new(
        region.log.clone(),
        region.history.clone(),
        region.backplane.clone(),
        RouterOptions::default(),
    );
    let stop = CancellationToken::new();
    let parts = parts(&region, router.status());
    let render = metrics.clone();
    let ops = OpsOptions {
        parts: Arc::new(parts),
        metrics: Arc::new(move || render.render()),
        console: None,
        api: None,
        fail: None,
    };
    let (admin, serving) = serve_admin(config.listen.admin, ops, stop.clone())
        .await
        .with_context(|| format!("cannot listen on {}", config.listen.admin))?;
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(serving);
    tasks.spawn(process::drain_histograms(metrics, stop.clone()));
    let (log, history, status) = (region.log.clone(), region.history.clone(), router.status());
    tasks.spawn(halting::Herald { log, history, status }.run(stop.clone()));
    let (acks, name) = (acks::Acks::new(stores)?, config.node.region.clone());
    tasks.spawn(acks::merge(acks, name, region.history.clone(), stop.clone()));
    tasks.spawn(upkeep(region.history.clone(), policies, stop.clone()));

    let group = group(&config, stores, &region)?;
    let routing = tokio::spawn(router.run_owned(group.owned(), stop.clone()));
    announce(admin)?;
    let mut replaced = false;
    tokio::select! {
        () = signals.next() => {}
        () = group.replaced() => replaced = true,
        // The next epoch has other partitions: a router that starts anew finds them.
        () = region.log.superseded() => {
            tracing::warn!("the log went on to another epoch: this router ends, to be started anew");
        }
    }
    tracing::info!("stopping");
    stop.cancel();
    let outcome = routing.await.context("the router failed")?;
    tracing::info!(?outcome, "router ended");
    group.leave().await;
    while tasks.join_next().await.is_some() {}
    region.log.close().await;
    region.history.close().await;
    if replaced {
        let name = &config.node.name;
        bail!("another router joined the group as `{name}`: each needs a `node.name` of its own");
    }
    Ok(())
}

fn group(config: &Config, stores: &RegionStores, region: &Region) -> Result<KafkaGroup> {
    let prefix = &stores.kafka.topic_prefix;
    let id = format!("{prefix}.{}.{}", region::LOG, config.node.region);
    let member = Some(config.node.name.clone());
    let options = GroupOptions { id, member, session: SESSION };
    KafkaGroup::join(&region.log, &options).context("cannot join the routers' group")
}

/// The servers, which a router waits for, and how the router is doing.
fn parts(
    region: &Region,
    status: RouterStatus,
) -> impl Fn() -> Vec<meridian_edge::PartState> + Send + Sync + 'static {
    let servers = health::watch(region);
    move || {
        let mut parts = servers.borrow().clone();
        parts.push(process::router_part(&status));
        parts
    }
}

async fn upkeep(history: Arc<PostgresHistory>, policies: Arc<Policies>, stop: CancellationToken) {
    let mut ticks = interval(UPKEEP_EVERY);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        match history.upkeep(&policies, now_ms()).await {
            Ok(Some(done)) => tracing::info!(?done, "history's upkeep"),
            Ok(None) => {}
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the history's upkeep failed; tried again later");
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
