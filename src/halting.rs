//! A halted log is halted in the whole region: what one router found is noted in the history, where edges,
//! bridges and the other routers learn of it. Never decides that a log is halted.

use std::sync::Arc;
use std::time::Duration;

use meridian_core::seams::Log as _;
use meridian_core::vocabulary::Partition;
use meridian_kafka::KafkaLog;
use meridian_postgres::{NotedHalt, PostgresHistory};
use meridian_region_router::{Halt, PartitionState, RouterStatus};
use metrics::gauge;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(1);

/// Has an edge refuse publishes, and a bridge wait, while a halt is noted.
pub(crate) async fn obey(
    log: Arc<KafkaLog>,
    history: Arc<PostgresHistory>,
    stop: CancellationToken,
) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told_already = false;
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        // A history that does not answer changes nothing.
        if let Ok(halts) = history.halts().await {
            log.hold(halts.first().map(told));
        }
        let halted = log.halted();
        show(&log, halted.is_some());
        match (&halted, told_already) {
            (Some(why), false) => tracing::error!(why, "the log is halted: publishes are refused"),
            (None, true) => tracing::info!("the log goes on: publishes are taken"),
            _ => {}
        }
        told_already = halted.is_some();
    }
}

fn told(halt: &NotedHalt) -> String {
    format!("a router found in partition {}: {}", halt.partition.0, halt.why)
}

fn show(log: &KafkaLog, halted: bool) {
    let halted = if halted { 1.0 } else { 0.0 };
    gauge!("meridian_log_halted", "log" => log.incarnation().log.to_string()).set(halted);
}

/// A router's part: what it tells the region, and what the others told it.
pub(crate) struct Herald {
    pub(crate) log: Arc<KafkaLog>,
    pub(crate) history: Arc<PostgresHistory>,
    pub(crate) status: RouterStatus,
}

impl Herald {
    /// Tells and listens until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut before, mut noted) = (None, false);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            if let Some(why) = self.log.halted()
                && self.status.halted().borrow().is_none()
            {
                tracing::error!(why, "the log is halted");
                self.status.halt(Partition(0), Halt::LogEnded { why });
            }
            let found = self.status.halted().borrow().clone();
            show(&self.log, found.is_some());
            match found {
                Some((partition, halt)) => noted = noted || self.note(partition, &halt).await,
                None => self.listen(&mut before).await,
            }
        }
    }

    /// Whether the region knows.
    async fn note(&self, partition: Partition, halt: &Halt) -> bool {
        let by_another = matches!(halt, Halt::ByAnother { .. });
        by_another || self.history.halt(partition, &halt.to_string()).await.is_ok()
    }

    /// Halts for what another one notes from now on. What was noted `before` this start is looked at
    /// anew: it is over once this router goes on with that partition.
    async fn listen(&self, before: &mut Option<Vec<i64>>) {
        let Ok(halts) = self.history.halts().await else { return };
        let before = before.get_or_insert_with(|| halts.iter().map(|halt| halt.found).collect());
        for halt in halts {
            let NotedHalt { partition, why, found } = halt;
            if !before.contains(&found) {
                self.status.halt(partition, Halt::ByAnother { why });
            } else if self.goes_on(partition) && self.history.go_on(partition).await.is_ok() {
                tracing::info!(partition = partition.0, why, "halted before, gone on with now");
            }
        }
    }

    fn goes_on(&self, partition: Partition) -> bool {
        let state = self.status.partition(partition).map(|status| status.state);
        matches!(state, Some(PartitionState::Live | PartitionState::HistoryOnly))
    }
}
