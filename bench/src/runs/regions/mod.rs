//! From one region to the other over a slow link: published at the edge here, delivered by the edge
//! there; beside it the Kafka client alone, in turns over the same link.

mod bare;
mod far;
mod forward;
mod link;
mod summary;
mod tally;
mod timed_log;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use meridian_stack::{Counts, Shape, Stack};

use self::far::{FarAnswer, FarOrder, FarPlan};
use self::link::Link;
use self::summary::{Figures, Turn};
use self::tally::Arrived;
use super::subject::start_publisher;
use crate::cli::RegionsArgs;
use crate::control::{PublishAnswer, PublishOrder, Worker};
use crate::region::{Region, Role, Servers};
use crate::report::progress;
use crate::server::until;
use crate::target::{PublishPlan, channels};

pub(crate) use far::run as far_side;
pub(crate) use forward::run as forward;

const START: Duration = Duration::from_secs(180);
const ANSWER: Duration = Duration::from_secs(60);
/// For what is still under way when the publisher is done. A lost packet costs a second or more.
const STRAGGLERS: Duration = Duration::from_secs(20);
const WARM_UP_SECONDS: u32 = 2;

pub(crate) async fn regions(args: RegionsArgs) -> Result<()> {
    let mut all = Vec::new();
    for loss_percent in &args.loss {
        all.push(measure(&args, *loss_percent).await?);
    }
    summary::publish(&all, args.region.json.as_deref())
}

async fn measure(args: &RegionsArgs, loss_percent: f64) -> Result<Figures> {
    let shape = Shape { round_trip_ms: args.round_trip, loss_percent };
    progress(format_args!("two regions, {loss_percent} % of the packets lost between them"));
    let mut link = Link::open(shape)?;
    let stack = Stack::start(Counts { redis: 1, postgres: 1, kafka: 1, ..Counts::default() });
    let servers = Servers::of(&stack, 1);
    let near = Region::new("near", &args.region, &servers, args.region.partitions)?;
    near.migrate().await?;
    let router = near.start(Role::Router).await?;
    let edge = near.start(Role::Edge).await?;
    bare::create(&servers.kafka, args.region.partitions).await?;
    let names = channels("regions", args.channels);
    let (far, round_trip_ns) = start_far(args, &mut link, &servers, names.clone()).await?;
    let (target, bytes, rate) = (near.target()?, args.region.bytes, args.rate);
    let plan = PublishPlan { target, channels: names, bytes, rate };
    let publisher = start_publisher(&plan).await?;
    let bare = bare::Publisher::new(&servers.kafka, args.region.partitions, bytes, rate)?;
    let mut run = Run { far, publisher, bare };
    let figures = run.alternate(args, loss_percent, round_trip_ns as f64 / 1e6).await?;
    run.far.finish(ANSWER).await?;
    edge.stop().await?;
    router.stop().await?;
    link.close()?;
    Ok(figures)
}

/// The region behind the link; and the link's round trip in nanoseconds.
async fn start_far(
    args: &RegionsArgs,
    link: &mut Link,
    servers: &Servers,
    channels: Vec<String>,
) -> Result<(Worker, u64)> {
    let broker: SocketAddr = servers.kafka.parse().context("one broker")?;
    link.reach(broker).await?;
    let over_link = link.over(broker.port());
    let (options, kafka) = (args.region.clone(), servers.kafka.clone());
    let mut far = link.start_far("far-side", &[])?;
    far.tell(&FarPlan { options, kafka, over_link, channels }).await?;
    match far.hear(START).await.context("starting the far side")? {
        FarAnswer::Ready { round_trip_ns } => Ok((far, round_trip_ns)),
        other => bail!("the far side said {other:?}"),
    }
}

/// The far side and both publishers.
struct Run {
    far: Worker,
    publisher: Worker,
    bare: bare::Publisher,
}

impl Run {
    async fn alternate(
        &mut self,
        args: &RegionsArgs,
        loss_percent: f64,
        round_trip_ms: f64,
    ) -> Result<Figures> {
        let (mut meridian, mut bare) = (Vec::new(), Vec::new());
        self.meridian(WARM_UP_SECONDS).await?;
        self.bare(WARM_UP_SECONDS).await?;
        for round in 1..=args.rounds.rounds {
            meridian.push(self.meridian(args.rounds.seconds).await?);
            bare.push(self.bare(args.rounds.seconds).await?);
            progress(format_args!("round {round} is over"));
        }
        Ok(Figures { loss_percent, round_trip_ms, meridian, bare })
    }

    async fn meridian(&mut self, seconds: u32) -> Result<Turn> {
        self.reset().await?;
        self.publisher.tell(&PublishOrder::Go { seconds }).await?;
        let patience = ANSWER + Duration::from_secs(u64::from(seconds));
        let (sent, failed) = match self.publisher.hear(patience).await? {
            PublishAnswer::Done { sent, failed } => (sent, failed),
            other => bail!("the publisher said {other:?}"),
        };
        let arrived = self.arrived(|arrived| arrived.delivered >= sent - failed).await?;
        ensure!(arrived.unpaired == 0, "{} deliveries were no pair", arrived.unpaired);
        let missing = (sent - failed).saturating_sub(arrived.delivered);
        let from_router = arrived.from_router;
        Ok(Turn { latencies: arrived.end_to_end, from_router, missing, failed })
    }

    async fn bare(&mut self, seconds: u32) -> Result<Turn> {
        self.reset().await?;
        let sent = self.bare.publish(seconds).await?;
        let arrived = self.arrived(|arrived| arrived.consumed >= sent).await?;
        let missing = sent.saturating_sub(arrived.consumed);
        Ok(Turn { latencies: arrived.bare, missing, ..Turn::default() })
    }

    async fn reset(&mut self) -> Result<()> {
        self.far.tell(&FarOrder::Reset).await?;
        match self.far.hear(ANSWER).await? {
            FarAnswer::Zeroed => Ok(()),
            other => bail!("the far side said {other:?}"),
        }
    }

    /// What arrived, once it is all or will not be more.
    async fn arrived(&mut self, all: impl Fn(&Arrived) -> bool) -> Result<Arrived> {
        let (far, mut last) = (&mut self.far, Arrived::default());
        let waited = until(STRAGGLERS, "arrival", async || {
            far.tell(&FarOrder::Report).await?;
            match far.hear(ANSWER).await? {
                FarAnswer::Report(arrived) => last = *arrived,
                other => bail!("the far side said {other:?}"),
            }
            Ok(all(&last))
        });
        if waited.await.is_err() {
            progress(format_args!("{} delivered, {} consumed", last.delivered, last.consumed));
        }
        Ok(last)
    }
}
