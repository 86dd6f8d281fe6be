//! `meridian dev`: a whole node in one process, for development and for looking at.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use meridian_core::config::{Config, ConfigError, Fault, OriginError, Origins};

use crate::{configuration, development, embedded, logging};

/// Run a whole node on this machine, with no other server
///
/// Prints the client URL, the admin URL, a development token and how to open the console.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Options {
    /// Replay something onto its channels, on a loop
    #[arg(long, value_enum)]
    pub(crate) demo: Option<Demo>,
    /// How many regions: each with its own node and stores, all of one log
    ///
    /// The further ones listen on the ports two, four and so on above the first one's.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=4))]
    pub(crate) regions: u16,
    /// Make TCP TLS too, with the self-made certificate (UDP is always encrypted)
    #[arg(long)]
    pub(crate) tls: bool,
    /// Where clients connect, TCP and UDP [default: 127.0.0.1:8440]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// Where the console, metrics and health are [default: 127.0.0.1:8441]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) admin: Option<SocketAddr>,
    /// Where events are stored [default: data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// A configuration; the options above override it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// What can be replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Demo {
    /// Departures of real US flights, on channels such as flights:SFO
    Flights,
}

const HELP: &str = "\
Examples:
  meridian dev
  meridian dev --demo flights
  meridian dev --demo flights --regions 2
  meridian dev --tls --listen 0.0.0.0:8440 --data /var/lib/meridian
  meridian dev --config meridian.toml";

/// Runs the node until it is told to stop.
pub(crate) fn run(options: Options) -> Result<()> {
    let (demo, regions) = (options.demo, options.regions);
    let config = effective(options)?;
    let (log, regions) = (config.log.clone(), of_each_region(config, regions)?);
    regions.iter().try_for_each(one_log)?;
    logging::start(&log)?;
    embedded::run(regions, demo)
}

/// A region on one process has the log `global` only.
fn one_log(config: &Config) -> Result<()> {
    let here = config.zones.iter().filter(|(_, zone)| zone.is_of(&config.node.region));
    let message =
        "`meridian dev` has the log `global` only: name in `regions` where this zone's records are";
    let fault = |name| Fault { key: format!("zones.{name}"), message: message.to_owned() };
    let faults: Vec<Fault> = here.map(|(name, _)| fault(name)).collect();
    if faults.is_empty() { Ok(()) } else { Err(ConfigError { faults }.into()) }
}

/// The configuration of each region's node: names and ports of their own, and each other's addresses.
fn of_each_region(config: Config, regions: u16) -> Result<Vec<Config>> {
    if regions == 1 {
        return Ok(vec![config]);
    }
    let scheme = if config.tls.plain_tcp { "http" } else { "https" };
    let mut configs = Vec::new();
    for number in 1..=regions {
        let mut config = config.clone();
        config.node.region = format!("region-{number}");
        config.node.name = format!("{}-{number}", config.node.name);
        for address in [&mut config.listen.client, &mut config.listen.admin] {
            let port = match address.port() {
                // The regions tell each other's addresses before they listen.
                0 => free_port(*address)?,
                port => port.checked_add(2 * (number - 1)).context("there is no such port")?,
            };
            address.set_port(port);
        }
        configs.push(config);
    }
    let address = |config: &Config| {
        let url = format!("{scheme}://{}", config.listen.client).parse()?;
        Ok::<_, OriginError>((config.node.region.clone(), url))
    };
    let addresses: BTreeMap<_, _> = configs.iter().map(address).collect::<Result<_, _>>()?;
    configs.iter_mut().for_each(|config| config.regions = addresses.clone());
    Ok(configs)
}

/// A port that nothing listens on now, for TCP and UDP.
fn free_port(address: SocketAddr) -> Result<u16> {
    let listener = std::net::TcpListener::bind(address)?;
    let bound = listener.local_addr()?;
    std::net::UdpSocket::bind(bound)?;
    Ok(bound.port())
}

/// The configuration, with the command's options over it and what only a development node assumes.
fn effective(options: Options) -> Result<Config> {
    let demo = options.demo;
    let mut config = configuration::load(options.config.as_deref())?;
    config.tls.plain_tcp = !options.tls;
    config.listen.client = options.listen.unwrap_or(config.listen.client);
    config.listen.admin = options.admin.unwrap_or(config.listen.admin);
    config.storage.dir = options.data.unwrap_or(config.storage.dir);
    if !config.auth.has_keys() {
        config.auth.keys.push(development::key(&config.storage.dir)?);
    }
    config.policies = development::policies(&config.policies, demo);
    if options.config.is_none() {
        // There is no other node to move to.
        config.drain.spread_ms = 500;
        config.drain.deadline_ms = 2_000;
        if options.regions > 1 {
            // A region that fails is to be noticed while one looks.
            config.limits.heartbeat_ms = 5_000;
        }
    }
    if config.listen.client.ip() == Ipv4Addr::LOCALHOST {
        // Pages of local servers on other ports are what one develops; they still need a token.
        config.origins = Origins::Any;
        config.cors = Origins::Any;
    }
    Ok(config)
}
