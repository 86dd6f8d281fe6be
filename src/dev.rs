//! `meridian dev`: a whole node in one process, for development and for looking at.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use meridian_core::config::{Config, Origins};

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
  meridian dev --tls --listen 0.0.0.0:8440 --data /var/lib/meridian
  meridian dev --config meridian.toml";

/// Runs the node until it is told to stop.
pub(crate) fn run(options: Options) -> Result<()> {
    let demo = options.demo;
    let config = effective(options)?;
    logging::start(&config.log)?;
    embedded::run(config, demo)
}

/// The configuration, with the command's options over it and what only a development node assumes.
fn effective(options: Options) -> Result<Config> {
    let demo = options.demo;
    let mut config = configuration::load(options.config.as_deref())?;
    config.tls.plain_tcp = !options.tls;
    config.listen.client = options.listen.unwrap_or(config.listen.client);
    config.listen.admin = options.admin.unwrap_or(config.listen.admin);
    config.storage.dir = options.data.unwrap_or(config.storage.dir);
    if config.auth.keys.is_empty() {
        config.auth.keys.push(development::key(&config.storage.dir)?);
    }
    config.policies = development::policies(&config.policies, demo);
    if options.config.is_none() {
        // There is no other node to move to.
        config.drain.spread_ms = 500;
        config.drain.deadline_ms = 2_000;
    }
    if config.listen.client.ip() == Ipv4Addr::LOCALHOST {
        // Pages of local servers on other ports are what one develops; they still need a token.
        config.origins = Origins::Any;
        config.cors = Origins::Any;
    }
    Ok(config)
}
