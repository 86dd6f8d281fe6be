//! `meridian console`: the console's page for regions that run elsewhere, on a listener of this machine
//! only. Owns what the page is told: addresses, a short-lived token, and how the regions are doing.
//! Never serves clients.

mod nodes;
mod summary;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use meridian_core::auth::{Claims, SigningKey, mint};
use meridian_core::config::{Config, ConfigError, Fault, Origin};
use meridian_core::policy::Policies;
use meridian_core::vocabulary::{LogName, Tenant, UserId};
use meridian_edge::{Certificates, ConsoleInfo, OpsOptions, OtherRegion, serve_admin};
use meridian_kafka::KafkaLog;
use tokio_util::sync::CancellationToken;

use self::nodes::{Watched, Watcher};
use self::summary::Kind;
use crate::dev::Demo;
use crate::process::{self, Signals, now_ms};
use crate::region::{self, LogPlace};
use crate::{configuration, development, logging, replay};

/// Serve the console for running regions, to browsers on this machine
///
/// The page is a client with a token of its own, good for an hour: it follows channels in the region of the
/// configuration, goes on in another one when that fails, and shows how the nodes named here are doing.
/// Whoever reaches the listener gets such a token, so it is on a loopback address or not at all. The
/// edges must let the page in: `origins.allow` and `cors.origins` with its address.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Options {
    /// An edge's configuration: regions, keys, and for a demo the servers
    #[arg(long, value_name = "FILE")]
    config: std::path::PathBuf,
    /// Where the page is; a loopback address
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8450")]
    listen: SocketAddr,
    /// Replay something onto its channels, on a loop; the configuration must have the namespace
    #[arg(long, value_enum)]
    demo: Option<Demo>,
    /// Whose channels the page sees; a demo's are those of `demo`
    #[arg(long, default_value = development::TENANT)]
    tenant: String,
    /// An address of clients beside those under `[regions]`, where the page may go; may be repeated
    #[arg(long, value_name = "URL")]
    address: Vec<Origin>,
    /// The admin address of an edge whose state is shown; may be repeated
    #[arg(long, value_name = "REGION/NAME=HOST:PORT")]
    edge: Vec<Watched>,
    /// The admin address of a router whose state is shown; may be repeated
    #[arg(long, value_name = "REGION/NAME=HOST:PORT")]
    router: Vec<Watched>,
    /// Have the page take the configuration's certificate by its hash: a self-made one, good for two weeks at most
    #[arg(long)]
    trust_certificate: bool,
}

const HELP: &str = "\
Examples:
  meridian console --config edge.toml
  meridian console --config edge.toml --edge eu/edge-1=10.0.0.5:8441 --router eu/router-1=10.0.0.6:8441
  meridian console --config edge.toml --demo flights --trust-certificate";

const TOKEN_MS: u64 = 3_600_000;

/// Serves until it is told to stop.
pub(crate) fn run(options: Options) -> Result<()> {
    let config = configuration::load(Some(&options.config))?;
    logging::start(&config.log)?;
    if !options.listen.ip().is_loopback() {
        bail!("--listen must be a loopback address: whoever reaches the page gets a token");
    }
    process::runtime()?.block_on(serve(config, options))
}

async fn serve(config: Config, options: Options) -> Result<()> {
    let metrics = process::install_metrics()?;
    let mut signals = Signals::listen()?;
    let stop = CancellationToken::new();
    let info = info(&config, &options)?;
    let log = match options.demo {
        Some(demo) => Some(open_log(&config, demo).await?),
        None => None,
    };
    let edges = options.edge.into_iter().map(|watched| (Kind::Edge, watched));
    let routers = options.router.into_iter().map(|watched| (Kind::Router, watched));
    let watcher = Watcher::start(edges.chain(routers).collect(), stop.clone());
    let ops = OpsOptions {
        parts: Arc::new(Vec::new),
        metrics: Arc::new(move || metrics.render()),
        console: Some(Arc::new(info)),
        api: Some(Arc::new(watcher.api())),
        fail: None,
    };
    let (address, serving) = serve_admin(options.listen, ops, stop.clone())
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    let serving = tokio::spawn(serving);
    println!("Open the console: http://{address}/");
    let result = tokio::select! {
        () = signals.next() => Ok(()),
        ended = publish(options.demo, log.clone()) => ended,
    };
    stop.cancel();
    serving.await.context("the listener failed")?;
    watcher.ended().await;
    if let Some(log) = log {
        log.close().await;
    }
    result
}

/// Publishes the demo until the log goes on to another epoch; without one it just waits.
async fn publish(demo: Option<Demo>, log: Option<Arc<KafkaLog>>) -> Result<()> {
    let Some(log) = log else { return std::future::pending().await };
    let watched = log.clone();
    tokio::select! {
        ended = replay::run(demo, log, now_ms()) => ended,
        () = watched.superseded() => {
            tracing::warn!("the log went on to another epoch: this process ends, to be started anew");
            Ok(())
        }
    }
}

async fn open_log(config: &Config, demo: Demo) -> Result<Arc<KafkaLog>> {
    let Demo::Flights = demo;
    let fault = |key: &str, message: &str| ConfigError {
        faults: vec![Fault { key: key.into(), message: message.into() }],
    };
    let stores =
        config.stores.as_ref().ok_or_else(|| fault("kafka", "missing: a demo needs a log"))?;
    let zone = zone_of(&config.policies, "flights");
    let zone =
        zone.ok_or_else(|| fault("namespaces.flights", "missing: the demo's channels are there"))?;
    let LogPlace { name, kafka } = region::place(config, stores, zone.as_str())?;
    let log = KafkaLog::open(region::kafka(&kafka), name);
    Ok(Arc::new(log.await.context("cannot open the log on Kafka")?))
}

fn zone_of<'a>(policies: &'a Policies, name: &str) -> Option<&'a LogName> {
    let mut policies = policies.iter();
    policies.find(|(namespace, _)| namespace.as_str() == name).map(|(_, policy)| &policy.zone)
}

/// What the page is told, with a new token each time.
fn info(
    config: &Config,
    options: &Options,
) -> Result<impl Fn(Option<SocketAddr>) -> ConsoleInfo + Send + Sync + 'static> {
    let own = config.regions.get(&config.node.region).with_context(|| {
        let region = &config.node.region;
        format!("the configuration has no `regions.{region}.url`: where its clients connect")
    })?;
    let certificate_hash = match (options.trust_certificate, &config.tls.certificate) {
        (false, _) => None,
        (true, None) => bail!("--trust-certificate needs `tls.certificate` and `tls.key`"),
        (true, Some(files)) => {
            let (certificate, key) = (files.certificate.clone(), files.key.clone());
            Some(development::hex(&Certificates::from_files(certificate, key)?.hash()))
        }
    };
    let others = config.regions.values().chain(&options.address).filter(|url| *url != own);
    let other = |url: &Origin| OtherRegion {
        client_url: url.as_str().to_owned(),
        certificate_hash: certificate_hash.clone(),
    };
    let (regions, client_url) = (others.map(other).collect::<Vec<_>>(), own.as_str().to_owned());
    let (key, claims) = token(config, &options.tenant)?;
    let mint = move || mint(&key, &claims, now_ms() / 1000 * 1000);
    mint()?;
    let demo = options.demo.map(|Demo::Flights| "flights".to_owned());
    let nodes = !options.edge.is_empty() || !options.router.is_empty();
    Ok(move |_| ConsoleInfo {
        client_url: client_url.clone(),
        // The start made one, so this is good.
        token: mint().unwrap_or_default(),
        certificate_hash: certificate_hash.clone(),
        demo: demo.clone(),
        regions: regions.clone(),
        nodes,
        can_fail: false,
    })
}

fn token(config: &Config, tenant: &str) -> Result<(SigningKey, Claims)> {
    let key =
        config.auth.keys.iter().find_map(|key| {
            Some((key.signing.clone()?, key.verification.issuer().map(str::to_owned)))
        });
    let (key, issuer) = key.context("no key of the configuration can sign the page's token")?;
    let (tenant, user) = (Tenant::parse(tenant).context("--tenant")?, UserId::parse("console")?);
    let audience = config.auth.options.audience.first().cloned();
    let claims = Claims { issuer, audience, ttl_ms: Some(TOKEN_MS), ..Claims::new(tenant, user) };
    Ok((key, claims))
}
