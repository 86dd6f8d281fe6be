//! The region behind the link, in a process of its own at the link's far end: its Redis, its Postgres,
//! its edge as a further process, its router in here (on a log that notes when it hands over a
//! record), clients of the edge, and the bare consumer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use meridian_core::protocol::{Command, CommandFrame, Message, Subscribe};
use meridian_kafka::KafkaLog;
use meridian_postgres::PostgresHistory;
use meridian_region_router::{Options, Router};
use meridian_stack::{Counts, Stack};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use super::bare;
use super::tally::{Arrived, Tally};
use super::timed_log::TimedLog;
use crate::cli::RegionOptions;
use crate::clock::monotonic_ns;
use crate::control::Orders;
use crate::publisher::open_session;
use crate::region::{Region, Role, Servers, log_name};
use crate::target::{CODEC, Target};

const PATIENCE: Duration = Duration::from_secs(60);
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const TRIPS: usize = 5;

/// What it is told first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct FarPlan {
    pub(super) options: RegionOptions,
    /// As the broker names itself.
    pub(super) kafka: String,
    /// The same over the link, with nothing between.
    pub(super) over_link: SocketAddr,
    pub(super) channels: Vec<String>,
}

/// What it is told then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum FarOrder {
    Reset,
    Report,
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum FarAnswer {
    /// All is running; the link's round trip as a handshake saw it.
    Ready {
        round_trip_ns: u64,
    },
    Zeroed,
    Report(Box<Arrived>),
}

pub(crate) async fn run() -> Result<()> {
    let mut orders = Orders::new();
    let plan: FarPlan = orders.next().await?.context("a plan comes first")?;
    let stack = Stack::start(Counts { redis: 1, postgres: 1, ..Counts::default() });
    let servers = Servers::beside(&plan.kafka, &stack, 1);
    let region = Region::new("far", &plan.options, &servers, plan.options.partitions)?;
    region.migrate().await?;
    let tally = Arc::new(Tally::default());
    let mut tasks = JoinSet::new();
    tasks.spawn(route(servers, plan.options.partitions, tally.clone()));
    let edge = region.start(Role::Edge).await?;
    for channel in &plan.channels {
        subscribe(&mut tasks, &region.target()?, channel, &tally).await?;
    }
    let (kafka, partitions, bare) = (plan.kafka, plan.options.partitions, tally.clone());
    tasks.spawn_blocking(move || bare::consume(&kafka, partitions, &bare));
    orders
        .answer(&FarAnswer::Ready { round_trip_ns: round_trip_ns(plan.over_link).await? })
        .await?;
    let served = serve(&mut orders, &tally, &mut tasks).await;
    edge.stop().await?;
    served
}

/// Until there are no more orders.
async fn serve(orders: &mut Orders, tally: &Tally, tasks: &mut JoinSet<Result<()>>) -> Result<()> {
    loop {
        tokio::select! {
            order = orders.next() => match order? {
                Some(FarOrder::Reset) => {
                    tally.reset();
                    orders.answer(&FarAnswer::Zeroed).await?;
                }
                Some(FarOrder::Report) => {
                    orders.answer(&FarAnswer::Report(Box::new(tally.arrived()))).await?;
                }
                None => return Ok(()),
            },
            Some(ended) = tasks.join_next() => {
                ended??;
                bail!("something at the far side ended");
            }
        }
    }
}

/// The router, as `meridian router` runs it, of all partitions.
async fn route(servers: Servers, partitions: u32, tally: Arc<Tally>) -> Result<()> {
    let log = KafkaLog::open(servers.log_options("meridian", partitions), log_name()?).await?;
    let incarnation = meridian_core::seams::Log::incarnation(&log);
    let history = PostgresHistory::open(servers.postgres_options(), incarnation).await?;
    let backplane = servers.backplane()?;
    ensure!(backplane.wait_connected(PATIENCE).await, "Redis does not answer");
    let log = Arc::new(TimedLog { log, tally });
    let router = Router::new(log, Arc::new(history), Arc::new(backplane), Options::default());
    let outcome = router.run(CancellationToken::new()).await;
    bail!("the router ended: {outcome:?}")
}

/// Follows a channel from now on.
async fn subscribe(
    tasks: &mut JoinSet<Result<()>>,
    target: &Target,
    channel: &str,
    tally: &Arc<Tally>,
) -> Result<()> {
    let mut socket = open_session(target).await?;
    let wanted = Subscribe { channel: channel.to_owned(), ..Subscribe::default() };
    let frame = CommandFrame { id: Some(2), command: Command::Subscribe(wanted) };
    socket.send(CODEC, &frame).await?;
    let answer = timeout(PATIENCE, socket.next_messages(CODEC)).await??;
    let accepted = answer
        .iter()
        .any(|message| message.id() == Some(2) && !matches!(message, Message::Error(..)));
    ensure!(accepted, "the subscription was answered with {answer:?}");
    let tally = tally.clone();
    tasks.spawn(async move {
        let mut beat = interval(KEEP_ALIVE);
        loop {
            tokio::select! {
                messages = socket.next_messages(CODEC) => count(&messages?, &tally),
                _ = beat.tick() => {
                    let pong = CommandFrame { id: None, command: Command::Pong };
                    socket.send(CODEC, &pong).await?;
                }
            }
        }
    });
    Ok(())
}

fn count(messages: &[Message], tally: &Tally) {
    let now = monotonic_ns();
    for message in messages {
        if let Message::Events { events, .. } = message {
            events.iter().for_each(|event| tally.at_client(&event.body.data, now));
        }
    }
}

/// The shortest of some handshakes.
async fn round_trip_ns(address: SocketAddr) -> Result<u64> {
    let mut shortest = u64::MAX;
    for _ in 0..TRIPS {
        let began = Instant::now();
        TcpStream::connect(address).await?;
        shortest = shortest.min(began.elapsed().as_nanos() as u64);
    }
    Ok(shortest)
}
