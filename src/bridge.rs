//! `meridian bridge`: other services' topics become events, as `[bridge]` says.

mod api;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use meridian_core::config::{BridgeRoute, Config, ConfigError, Fault, RegionStores};
use meridian_core::seams::Log;
use meridian_core::vocabulary::LogName;
use meridian_edge::{OpsOptions, PartState, serve_admin};
use meridian_kafka::{GroupOptions, KafkaLog, KafkaSource, SourceOptions};
use meridian_region_router::bridge::{
    Bridge, BridgeHandle, Bridged, Options as BridgeOptions, PartitionState, Start,
};
use tokio_util::sync::CancellationToken;

use crate::process::{self, Signals};
use crate::{halting, logging, region};

/// Turn records of other services' topics into events
///
/// Several of them share the topics' partitions; one that ends leaves its partitions to the others.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Options {
    #[command(flatten)]
    config: region::ConfigFile,
}

const HELP: &str = "\
Examples:
  meridian bridge --config meridian.toml

Health, readiness, metrics and control are on the admin address: /healthz, /readyz, /metrics,
/ops/v1/bridge.";

/// A bridge that gave no sign of life for so long loses its partitions to the others.
const SESSION: Duration = Duration::from_secs(10);

/// Bridges until it is told to stop.
pub(crate) fn run(options: &Options) -> Result<()> {
    let (config, stores) = region::configured(&options.config)?;
    if config.bridge.routes.is_empty() {
        let message = "missing: this command needs a `[bridge.routes.NAME]`".to_owned();
        return Err(
            ConfigError { faults: vec![Fault { key: "bridge.routes".into(), message }] }.into()
        );
    }
    logging::start(&config.log)?;
    process::runtime()?.block_on(serve(&config, &stores))
}

async fn serve(config: &Config, stores: &RegionStores) -> Result<()> {
    let metrics = process::install_metrics()?;
    let mut signals = Signals::listen()?;
    let logs = open_logs(config, stores).await?;
    let (sources, routes) = open(config, stores, &logs).await?;
    let policies = Arc::new(config.policies.clone());
    let options = BridgeOptions { policies, ..BridgeOptions::default() };
    let bridge = Bridge::new(routes, options);
    let handle = bridge.handle();
    let stop = CancellationToken::new();
    let render = metrics.clone();
    let verifier = config.auth.verifier();
    let mut keys = tokio::task::JoinSet::new();
    meridian_edge::keep_keys(&verifier, &mut keys).context("cannot ask an issuer for its keys")?;
    let ops = OpsOptions {
        parts: Arc::new({
            let handle = handle.clone();
            move || parts(&handle)
        }),
        metrics: Arc::new(move || render.render()),
        console: None,
        api: Some(Arc::new(api::BridgeApi::new(handle, verifier))),
        fail: None,
    };
    let (admin, serving) = serve_admin(config.listen.admin, ops, stop.clone())
        .await
        .with_context(|| format!("cannot listen on {}", config.listen.admin))?;
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(serving);
    tasks.spawn(process::drain_histograms(metrics, stop.clone()));
    tasks.spawn(bridge.run(stop.clone()));
    for here in region::resume(stores, logs.values())? {
        tasks.spawn(halting::obey(here.log, here.history, stop.clone()));
    }
    announce(admin)?;
    let mut replaced = false;
    tokio::select! {
        () = signals.next() => {}
        () = any_replaced(&sources) => replaced = true,
        // The next epoch has other records: a bridge that starts anew finds them.
        () = any_superseded(&logs) => {
            tracing::warn!("a log went on to another epoch: this bridge ends, to be started anew");
        }
    }
    tracing::info!("stopping");
    stop.cancel();
    while tasks.join_next().await.is_some() {}
    for source in sources {
        source.close().await;
    }
    for log in logs.values() {
        log.close().await;
    }
    if replaced {
        let name = &config.node.name;
        bail!("another bridge joined a group as `{name}`: each needs a `node.name` of its own");
    }
    Ok(())
}

/// Returns once another bridge has taken this one's name.
async fn any_replaced(sources: &[Arc<KafkaSource>]) {
    let ended = sources.iter().map(|source| Box::pin(source.replaced()));
    futures_util::future::select_all(ended).await;
}

/// Returns once a log went on to another epoch.
async fn any_superseded(logs: &BTreeMap<LogName, Arc<KafkaLog>>) {
    let ended = logs.values().map(|log| Box::pin(log.superseded()));
    futures_util::future::select_all(ended).await;
}

/// The logs that the routes append to.
async fn open_logs(
    config: &Config,
    stores: &RegionStores,
) -> Result<BTreeMap<LogName, Arc<KafkaLog>>> {
    let mut logs = BTreeMap::new();
    for route in &config.bridge.routes {
        if logs.contains_key(&route.zone) {
            continue;
        }
        let place = region::place(config, stores, route.zone.as_str())
            .with_context(|| format!("route {}", route.route.name))?;
        let log = KafkaLog::open(region::kafka(&place.kafka), place.name.clone())
            .await
            .with_context(|| format!("cannot open the log `{}` on Kafka", place.name))?;
        logs.insert(place.name, Arc::new(log));
    }
    Ok(logs)
}

async fn open(
    config: &Config,
    stores: &RegionStores,
    logs: &BTreeMap<LogName, Arc<KafkaLog>>,
) -> Result<(Vec<Arc<KafkaSource>>, Vec<Bridged>)> {
    let (mut sources, mut routes) = (Vec::new(), Vec::new());
    for route in &config.bridge.routes {
        let options = source_options(config, stores, route);
        let source = KafkaSource::open(options)
            .await
            .with_context(|| format!("cannot read the topic of route {}", route.route.name))?;
        let source = Arc::new(source);
        let start = if route.from_earliest { Start::Earliest } else { Start::Latest };
        sources.push(source.clone());
        let log: Arc<dyn Log> = logs.get(&route.zone).context("invariant: opened before")?.clone();
        routes.push(Bridged { route: Arc::new(route.route.clone()), source, log, start });
    }
    Ok((sources, routes))
}

fn source_options(config: &Config, stores: &RegionStores, route: &BridgeRoute) -> SourceOptions {
    let mut kafka = stores.kafka.clone();
    let bridge = &config.bridge;
    if let Some(bootstrap) = &bridge.bootstrap {
        kafka.bootstrap.clone_from(bootstrap);
        kafka.properties.clone_from(&bridge.properties);
    }
    SourceOptions {
        kafka: region::kafka(&kafka),
        topic: route.topic.clone(),
        dead_letter_topic: route.dead_letter_topic.clone(),
        group: GroupOptions {
            id: format!("{}.bridge.{}", kafka.topic_prefix, route.route.name),
            member: Some(config.node.name.clone()),
            session: SESSION,
        },
    }
}

/// A route is a part. One that is halted is missed, and the others go on.
fn parts(handle: &BridgeHandle) -> Vec<PartState> {
    let routes = handle.status().into_iter().map(|route| {
        let trouble = route.partitions.iter().find(|partition| {
            matches!(
                partition.state,
                PartitionState::Halted { .. } | PartitionState::Retrying { .. }
            )
        });
        let lag: u64 = route.partitions.iter().filter_map(|partition| partition.lag_records).sum();
        let detail = match trouble {
            Some(partition) => format!("partition {}: {}", partition.partition, partition.state),
            None => format!("{} partitions, {lag} records behind", route.partitions.len()),
        };
        let part = format!("bridge {}", route.route);
        PartState { part, ready: trouble.is_none(), vital: false, rebuilding: false, detail }
    });
    routes.collect()
}

fn announce(admin: std::net::SocketAddr) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "admin http://{admin}")?;
    out.flush()?;
    Ok(())
}
