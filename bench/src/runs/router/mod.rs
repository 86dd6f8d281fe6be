//! The region's router beside a bare loop: both work off the same topic, in turns, into a region that
//! is emptied before each turn, and are watched through the stores alone.

mod floor;
mod progress;
mod queue;
mod summary;
mod takeover;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use meridian_core::seams::{Incarnation, Log as _};
use meridian_kafka::KafkaLog;
use meridian_stack::{Counts, Stack};
use tokio::time::{Instant, interval};

use self::floor::FloorPlan;
use self::progress::Progress;
use self::summary::{Figures, Turn};
use crate::cli::RouterArgs;
use crate::clock::monotonic_ns;
use crate::control::Worker;
use crate::procfs::cpu_us;
use crate::region::{LogPlan, Node, Region, Role, Servers, Views, fill, log_name};
use crate::report::progress;
use crate::stats::per;

pub(crate) use floor::run as router_floor;

/// Between two looks at Redis; Postgres is looked at at every fifth.
const SAMPLE: Duration = Duration::from_millis(10);
const STORED_EVERY: u64 = 5;
const PATIENCE: Duration = Duration::from_secs(600);
const PREFIX: &str = "meridian";

/// What both work on.
struct Field<'a> {
    args: &'a RouterArgs,
    servers: &'a Servers,
    log: LogPlan,
    incarnation: Incarnation,
    ends: Vec<u64>,
}

/// Whoever has the turn.
enum Subject {
    Router { node: Node, _region: Region },
    Floor(Worker),
}

pub(crate) async fn router(args: RouterArgs) -> Result<()> {
    progress("starting Kafka, Redis and Postgres");
    let stack = Stack::start(Counts { redis: 1, postgres: 1, kafka: 1, ..Counts::default() });
    let servers = Servers::of(&stack, 1);
    let field = Field::filled(&args, &servers).await?;
    let (mut routed, mut bare) = (Vec::new(), Vec::new());
    // The first round warms up and does not count.
    for round in 0..=args.rounds {
        let router = field.turn(&format!("router-{round}")).await?;
        let floor = field.turn("floor").await?;
        progress(format_args!(
            "round {round}: router {:.0}, bare loop {:.0} events/s",
            router.paces.stored_per_s, floor.paces.stored_per_s
        ));
        if round > 0 {
            routed.push(router);
            bare.push(floor);
        }
    }
    let takeovers = match args.takeovers {
        0 => None,
        _ => Some(takeover::measure(&args, &servers).await?),
    };
    Figures { router: routed, floor: bare, takeovers }.publish(args.region.json.as_deref())
}

impl<'a> Field<'a> {
    async fn filled(args: &'a RouterArgs, servers: &'a Servers) -> Result<Self> {
        let options = servers.log_options(PREFIX, args.region.partitions);
        let log = KafkaLog::open(options, log_name()?).await?;
        progress(format_args!("filling the log with {} events", args.events));
        let ends = fill(&log, args.events, args.channels, args.region.bytes).await?;
        let (plan, incarnation) = (LogPlan::of(&log), log.incarnation().clone());
        log.close().await;
        Ok(Self { args, servers, log: plan, incarnation, ends })
    }

    /// Empties the region and has one of the two fill it again.
    async fn turn(&self, name: &str) -> Result<Turn> {
        let views = Views::emptied(self.servers, &self.incarnation).await?;
        let mut progress = Progress::new(self.ends.clone());
        progress.applied(monotonic_ns(), &views.applied().await?);
        let subject = self.start(name).await?;
        let pid = subject.pid()?;
        let watched = self.watch(&views, &mut progress, pid).await;
        let cpu_us = watched.with_context(|| format!("{name}: {}", subject.said()))?;
        subject.stop().await?;
        let (events, due) = (views.events().await?, self.ends.iter().sum::<u64>());
        ensure!(events == due, "{name}: Postgres holds {events} events of {due}");
        views.close().await;
        let paces = progress.paces().context("it had begun before it was watched")?;
        Ok(Turn { paces, cpu_us_per_event: per(cpu_us as f64, events) })
    }

    async fn start(&self, name: &str) -> Result<Subject> {
        if name == "floor" {
            let mut worker = Worker::start("router-floor", &[])?;
            let plan = FloorPlan { servers: self.servers.clone(), log: self.log.clone() };
            worker.tell(&plan).await?;
            return Ok(Subject::Floor(worker));
        }
        // A region of its own has a group of its own: no turn waits for the member of the one before.
        let options = &self.args.region;
        let region = Region::new(name, options, self.servers, options.partitions)?;
        // What it does before the first event is not measured: nobody waits for it to be ready.
        Ok(Subject::Router { node: region.spawn(Role::Router)?, _region: region })
    }

    /// Looks at the stores until they hold everything; the CPU time that the process took meanwhile.
    async fn watch(&self, views: &Views, progress: &mut Progress, pid: u32) -> Result<u64> {
        let deadline = Instant::now() + PATIENCE;
        let mut ticks = interval(SAMPLE);
        let mut begun_us = cpu_us(pid)?;
        let mut looks = 0;
        while !(progress.all_applied() && progress.all_stored()) {
            ensure!(Instant::now() < deadline, "not everything was stored within {PATIENCE:?}");
            ticks.tick().await;
            if !progress.all_applied() {
                let counts = views.applied().await?;
                progress.applied(monotonic_ns(), &counts);
                if counts.iter().all(|count| *count == 0) {
                    begun_us = cpu_us(pid)?;
                }
            }
            looks += 1;
            if looks % STORED_EVERY == 0 {
                progress.stored(monotonic_ns(), &views.stored().await?);
            }
        }
        Ok(cpu_us(pid)? - begun_us)
    }
}

impl Subject {
    fn pid(&self) -> Result<u32> {
        match self {
            Self::Router { node, .. } => Ok(node.pid),
            Self::Floor(worker) => worker.pid(),
        }
    }

    fn said(&self) -> String {
        match self {
            Self::Router { node, .. } => node.said(),
            // It says it on this process' stderr.
            Self::Floor(_) => String::new(),
        }
    }

    async fn stop(self) -> Result<()> {
        match self {
            Self::Router { node, .. } => node.stop().await,
            // It ends with its handle.
            Self::Floor(_) => Ok(()),
        }
    }
}
