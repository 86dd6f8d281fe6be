//! What the runs on real servers can be told.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::{Rounds, payload_bytes};

/// What every run on real servers can be told. It starts Kafka, Redis and Postgres of its own.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub(crate) struct RegionOptions {
    /// The server's command, split at spaces; `edge --config …` or `router --config …` is added
    #[arg(long, value_name = "COMMAND", default_value = "target/release/meridian")]
    pub(crate) server_cmd: String,
    /// TOML that is added to the configuration of each edge and router
    #[arg(long, value_name = "FILE")]
    pub(crate) server_config: Option<PathBuf>,
    /// Write the figures as JSON too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Bytes of each event's payload
    #[arg(long, value_name = "BYTES", default_value_t = 200, value_parser = payload_bytes)]
    pub(crate) bytes: usize,
    /// Partitions of the log
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) partitions: u32,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RouterArgs {
    #[command(flatten)]
    pub(crate) region: RegionOptions,
    /// Rounds; in each, the router and the bare loop have their turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Events in the log
    #[arg(long, default_value_t = 200_000)]
    pub(crate) events: usize,
    /// Channels, over which the events are spread
    #[arg(long, default_value_t = 1000)]
    pub(crate) channels: usize,
    /// Records of a full window at a takeover: W of that log
    #[arg(long, default_value_t = 1 << 17, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) window: u32,
    /// Takeovers; 0 for none
    #[arg(long, default_value_t = 5)]
    pub(crate) takeovers: u32,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CatchupArgs {
    #[command(flatten)]
    pub(crate) region: RegionOptions,
    /// Clients
    #[arg(long, default_value_t = 10_000)]
    pub(crate) clients: usize,
    /// Channels, over which the clients are spread
    #[arg(long, default_value_t = 1000)]
    pub(crate) channels: usize,
    /// Events that each client missed; above 8, which is what Redis keeps of every fourth channel
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(9..))]
    pub(crate) behind: u32,
    /// Repetitions, each with fresh servers
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: u32,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RegionsArgs {
    #[command(flatten)]
    pub(crate) region: RegionOptions,
    #[command(flatten)]
    pub(crate) rounds: Rounds,
    /// Events a second
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    /// Channels, over which the events are spread
    #[arg(long, default_value_t = 16)]
    pub(crate) channels: usize,
    /// The link's round trip, in milliseconds
    #[arg(long, default_value_t = 80)]
    pub(crate) round_trip: u32,
    /// Packets lost on the link, in percent; each is measured by itself
    #[arg(long, value_delimiter = ',', default_value = "0,1")]
    pub(crate) loss: Vec<f64>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ForwardArgs {
    pub(crate) listen: SocketAddr,
    pub(crate) to: SocketAddr,
}
