//! The command line: what each run can be told.

mod regional;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use regional::{CatchupArgs, ForwardArgs, RegionOptions, RegionsArgs, RouterArgs};

/// Measures a Meridian server from outside
///
/// Each run starts its own server on loopback with a fresh data directory, and its subscribers and
/// publishers as further processes; `router`, `catchup` and `regions` start Kafka, Redis and Postgres as
/// well. Build with `cargo build --release` first: a debug build says
/// nothing about speed.
#[derive(Debug, Parser)]
#[command(name = "meridian-bench", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  meridian-bench fanout                         all shapes, plain, five rounds each
  meridian-bench fanout --shape 1k --tls        one shape, TLS beside plain
  meridian-bench resume --json resume.json      figures for a program as well
  meridian-bench router --rounds 3              on Kafka, Redis and Postgres that it starts
  meridian-bench publish --server-cmd 'taskset -c 0 target/release/meridian'";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Fan-out: CPU per delivery, latency and memory, beside the floor in the same run
    Fanout(FanoutArgs),
    /// Fan-out over WebTransport lanes, beside the same floor of TCP writes
    Wt(WtArgs),
    /// Memory of an idle WebSocket connection and of an idle WebTransport session
    Idle(IdleArgs),
    /// Acknowledged publishes a second, by how many are in flight
    Publish(PublishArgs),
    /// Many clients coming back at once, half of them past what the hub keeps in memory
    Resume(ResumeArgs),
    /// Latency of a second channel while the first fans out
    Neighbour(NeighbourArgs),
    /// Events that a region's router applies a second, beside a bare loop in the same run
    Router(RouterArgs),
    /// Many clients that go on in the other region at once, from its ring, its Redis and its Postgres
    Catchup(CatchupArgs),
    /// Latency from one region to the other over a slow link, beside a bare Kafka consumer
    ///
    /// Needs root, `ip` and Python: the link is between network namespaces.
    Regions(RegionsArgs),
    /// The floor alone: writes each frame that its control connection brings to every socket
    Floor(FloorArgs),
    /// Subscribers; started by the other commands, told what to do on stdin
    #[command(hide = true)]
    Load,
    /// A publisher; started by the other commands, told what to do on stdin
    #[command(hide = true)]
    Publisher,
    /// The bare loop; started by `router`, told what to do on stdin
    #[command(hide = true)]
    RouterFloor,
    /// The other region behind the link; started by `regions`, told what to do on stdin
    #[command(hide = true)]
    FarSide,
    /// Takes connections and hands their bytes on; started by `regions`
    #[command(hide = true)]
    Forward(ForwardArgs),
}

/// What every run can be told.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// The server's command, split at spaces; `dev --listen …` is added
    #[arg(long, value_name = "COMMAND", default_value = "target/release/meridian")]
    pub(crate) server_cmd: String,
    /// TOML that is added to the server's configuration
    #[arg(long, value_name = "FILE")]
    pub(crate) server_config: Option<PathBuf>,
    /// Write the figures as JSON too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Bytes of each event's payload
    #[arg(long, value_name = "BYTES", default_value_t = 128, value_parser = payload_bytes)]
    pub(crate) bytes: usize,
}

/// How rounds alternate.
#[derive(Debug, Clone, Args)]
pub(crate) struct Rounds {
    /// Rounds; in each, every target has its turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Seconds of each turn
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) seconds: u32,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct FanoutArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) rounds: Rounds,
    /// Which shapes; all if none is named
    #[arg(long = "shape", value_enum)]
    pub(crate) shapes: Vec<Shape>,
    /// Measure TLS as well: a second server and a second floor take turns with the plain ones
    #[arg(long)]
    pub(crate) tls: bool,
}

/// Subscribers, channels and rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// 1,000 subscribers of one channel, 100 events/s
    #[value(name = "1k")]
    OneThousand,
    /// 10,000 subscribers of one channel, 10 events/s
    #[value(name = "10k")]
    TenThousand,
    /// 100 channels with 100 subscribers each, 100 events/s in all
    #[value(name = "100x100")]
    ManyChannels,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct WtArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) rounds: Rounds,
    /// Sessions, all on one channel
    #[arg(long, default_value_t = 1000)]
    pub(crate) sessions: usize,
    /// Events a second
    #[arg(long, default_value_t = 50)]
    pub(crate) rate: u32,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct IdleArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// WebSocket connections
    #[arg(long, default_value_t = 10_000)]
    pub(crate) websockets: usize,
    /// WebTransport sessions
    #[arg(long, default_value_t = 1000)]
    pub(crate) sessions: usize,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct PublishArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// How many publishes are in flight
    #[arg(long = "in-flight", value_delimiter = ',', default_value = "1,64,512")]
    pub(crate) in_flight: Vec<usize>,
    /// Seconds for each
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u32,
    /// Channels that the publishes go to in turn
    #[arg(long, default_value_t = 16)]
    pub(crate) channels: usize,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Clients
    #[arg(long, default_value_t = 10_000)]
    pub(crate) clients: usize,
    /// Channels, over which the clients are spread
    #[arg(long, default_value_t = 1000)]
    pub(crate) channels: usize,
    /// Events that each client missed
    #[arg(long, default_value_t = 100)]
    pub(crate) behind: usize,
    /// Repetitions, each with a fresh server
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: u32,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct NeighbourArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) rounds: Rounds,
    /// Subscribers of the busy channel
    #[arg(long, default_value_t = 10_000)]
    pub(crate) subscribers: usize,
    /// Its events a second
    #[arg(long, default_value_t = 10)]
    pub(crate) rate: u32,
    /// Subscribers of the second channel; enough that every worker has some
    #[arg(long, default_value_t = 50)]
    pub(crate) neighbours: usize,
    /// The second channel's events a second
    #[arg(long, default_value_t = 20)]
    pub(crate) neighbour_rate: u32,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct FloorArgs {
    /// Where to listen; the address is printed
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// TLS 1.3 with a self-made certificate, whose hash is printed
    #[arg(long)]
    pub(crate) tls: bool,
}

impl Shape {
    pub(crate) const ALL: [Shape; 3] = [Self::OneThousand, Self::TenThousand, Self::ManyChannels];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OneThousand => "1,000 × 100/s",
            Self::TenThousand => "10,000 × 10/s",
            Self::ManyChannels => "100 × 100, 100/s",
        }
    }

    /// Channels, subscribers in all, events a second in all.
    pub(crate) fn numbers(self) -> (usize, usize, u32) {
        match self {
            Self::OneThousand => (1, 1_000, 100),
            Self::TenThousand => (1, 10_000, 10),
            Self::ManyChannels => (100, 10_000, 100),
        }
    }
}

fn payload_bytes(text: &str) -> Result<usize, String> {
    let least = crate::payload::MIN_BYTES;
    match text.parse() {
        Ok(bytes) if (least..=65_536).contains(&bytes) => Ok(bytes),
        _ => Err(format!("must be {least} to 65536")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn shapes_and_numbers_are_read() {
        let cli = Cli::parse_from([
            "meridian-bench",
            "fanout",
            "--shape",
            "1k",
            "--shape",
            "100x100",
            "--rounds",
            "3",
        ]);
        let Command::Fanout(args) = cli.command else { panic!("fanout") };
        assert_eq!(args.shapes, [Shape::OneThousand, Shape::ManyChannels]);
        assert_eq!((args.rounds.rounds, args.rounds.seconds, args.common.bytes), (3, 10, 128));
        let cli = Cli::parse_from(["meridian-bench", "publish", "--in-flight", "1,8"]);
        let Command::Publish(args) = cli.command else { panic!("publish") };
        assert_eq!(args.in_flight, [1, 8]);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            &["fanout", "--rounds", "0"][..],
            &["fanout", "--bytes", "10"],
            &["fanout", "--shape", "2k"],
        ] {
            let words = ["meridian-bench"].iter().chain(bad);
            assert!(Cli::try_parse_from(words).is_err(), "{bad:?}");
        }
    }
}
