//! Many clients whose region is gone, going on in the other one at once from the cursors that they have.
//! Half of the channels are followed there while events are published, so that its hub's ring holds
//! what they missed; of the others half are in its Redis, half in its Postgres only.

mod place;
mod reads;
mod summary;

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use meridian_core::seams::Log as _;
use meridian_core::vocabulary::{Cursor, Partition};
use meridian_kafka::KafkaLog;
use meridian_stack::{Counts, Stack};

use self::place::{Missed, Place, missed};
use self::reads::{Cpu, Reads};
use self::summary::{Figure, Round};
use super::resume::{batches, publish_all};
use super::subject::start_load;
use crate::cli::CatchupArgs;
use crate::control::{LoadAnswer, LoadOrder, Worker};
use crate::publisher::open_session;
use crate::region::{Node, Region, Role, Servers, Views, log_name};
use crate::report::progress;
use crate::server::until;
use crate::target::{LoadPlan, Subscribe, Target, Transport, from_now};

const PATIENCE: Duration = Duration::from_secs(300);
/// Of each followed channel: each of the edge's workers has its own ring, and should have one of them.
const FOLLOWERS: usize = 6;

/// A region's processes.
struct Running {
    region: Region,
    edge: Node,
    router: Node,
}

pub(crate) async fn catchup(args: CatchupArgs) -> Result<()> {
    let mut figures = Vec::new();
    for round in 1..=args.rounds {
        let figure = measure(&args).await?;
        progress(format_args!("round {round}: {:.0} events/s", figure.events_per_s));
        figures.push(figure);
    }
    summary::publish(&figures, args.region.json.as_deref())
}

async fn measure(args: &CatchupArgs) -> Result<Figure> {
    progress("starting two regions");
    let stack = Stack::start(Counts { redis: 2, postgres: 2, kafka: 1, ..Counts::default() });
    let servers = Servers::of(&stack, 2);
    reads::count_calls(&servers).await?;
    let left = Running::start("left", args, &Servers::of(&stack, 1)).await?;
    let other = Running::start("other", args, &servers).await?;
    let (followers, subscribes) = prepare(args, &left, &other, &servers).await?;
    let plan = plan(&other.region.target()?, args.clients, subscribes, true);
    progress(format_args!("opening {} connections", args.clients));
    let (mut clients, opening_ns) = start_load(&plan).await?;
    let reads = Reads::of(&other.edge, &servers).await?;
    let cpu = Cpu::of(&other.edge, &stack)?;
    let (events, elapsed_ns) = catch_up(args, &mut clients).await?;
    let cpu = Cpu::of(&other.edge, &stack)?.since(cpu);
    let reads = Reads::of(&other.edge, &servers).await?.since(reads);
    drop((followers, clients));
    other.stop().await?;
    left.stop().await?;
    let (opening_s, wall_s) = (opening_ns as f64 / 1e9, elapsed_ns as f64 / 1e9);
    let channels = args.channels;
    Ok(Figure::of(Round { channels, events, opening_s, wall_s, cpu, reads }))
}

/// Lets all clients go; how many events came, and how long it took.
async fn catch_up(args: &CatchupArgs, clients: &mut Worker) -> Result<(u64, u64)> {
    let expect = args.clients as u64 * u64::from(args.behind);
    clients.tell(&LoadOrder::Go { expect }).await?;
    match clients.hear(PATIENCE).await.context("catching up")? {
        LoadAnswer::Done { deliveries, elapsed_ns } => Ok((deliveries, elapsed_ns)),
        answer => bail!("the clients said {answer:?}"),
    }
}

/// Publishes in the one region what will be missed, and waits until the other one has all of it where
/// it should be. The clients begin behind each channel's first event.
async fn prepare(
    args: &CatchupArgs,
    left: &Running,
    other: &Running,
    servers: &Servers,
) -> Result<(Worker, Vec<Subscribe>)> {
    let missed = missed(args.channels);
    let names: Vec<String> = missed.iter().map(|missed| missed.channel.clone()).collect();
    let in_ring = missed.iter().filter(|missed| missed.place == Place::Ring);
    let in_ring: Vec<String> = in_ring.map(|missed| missed.channel.clone()).collect();
    let connections = in_ring.len() * FOLLOWERS;
    let follow = plan(&other.region.target()?, connections, from_now(&in_ring), false);
    let (followers, _) = start_load(&follow).await?;
    progress("publishing what will be missed");
    let mut publisher = open_session(&left.region.target()?).await?;
    let cursors = publish_all(&mut publisher, &names, 1, args.region.bytes).await?;
    for events in batches(args.behind as usize) {
        publish_all(&mut publisher, &names, events, args.region.bytes).await?;
    }
    settled(args, servers, &missed, &cursors).await?;
    let subscribe = |(channel, cursor)| Subscribe { channel, cursor: Some(cursor) };
    Ok((followers, names.into_iter().zip(cursors).map(subscribe).collect()))
}

/// Waits until the other region's stores hold the whole log, and each channel is where it should be.
async fn settled(
    args: &CatchupArgs,
    servers: &Servers,
    missed: &[Missed],
    cursors: &[String],
) -> Result<()> {
    let log = KafkaLog::open(servers.log_options("meridian", args.region.partitions), log_name()?);
    let log = log.await?;
    let mut ends = Vec::new();
    for partition in 0..log.incarnation().partitions {
        ends.push(log.end(Partition(partition)).await?.0);
    }
    let views = Views::open(servers, log.incarnation()).await?;
    log.close().await;
    until(PATIENCE, "storing all events", async || Ok(views.stored().await? == ends)).await?;
    for (missed, cursor) in missed.iter().zip(cursors) {
        let cursor = Cursor::parse(cursor)?;
        let channel = &missed.channel;
        match missed.place {
            Place::Ring => {}
            Place::Redis => ensure!(views.is_hot(channel, &cursor).await?, "{channel} is not hot"),
            Place::Postgres => {
                let gone = async || Ok(!views.is_hot(channel, &cursor).await?);
                until(PATIENCE, "trimming Redis", gone).await?;
            }
        }
    }
    views.close().await;
    Ok(())
}

fn plan(target: &Target, connections: usize, channels: Vec<Subscribe>, hold: bool) -> LoadPlan {
    let target = target.clone();
    LoadPlan { target, transport: Transport::WebSocket, connections, channels, hold }
}

impl Running {
    async fn start(name: &str, args: &CatchupArgs, servers: &Servers) -> Result<Self> {
        let region = Region::new(name, &args.region, servers, args.region.partitions)?;
        region.migrate().await?;
        let router = region.start(Role::Router).await?;
        let edge = region.start(Role::Edge).await?;
        Ok(Self { region, edge, router })
    }

    async fn stop(self) -> Result<()> {
        self.edge.stop().await?;
        self.router.stop().await
    }
}
