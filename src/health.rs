//! How a region's servers are doing, as seen from this process: each is asked something cheap now and
//! then. Owns the asking; decides nothing.

use std::sync::Arc;
use std::time::Duration;

use meridian_core::seams::{Backplane, History, Log};
use meridian_core::vocabulary::{Partition, Stream};
use meridian_edge::PartState;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::region::Region;

const EVERY: Duration = Duration::from_secs(1);
/// A server that takes longer counts as away.
const PATIENCE: Duration = Duration::from_secs(3);

/// The parts' states, kept up to date by a task that ends with the last receiver.
pub(crate) fn watch(region: &Region) -> watch::Receiver<Vec<PartState>> {
    let log = region.log.clone();
    let (backplane, history) = (region.backplane.clone(), region.history.clone());
    let (sender, receiver) = watch::channel(Vec::new());
    tokio::spawn(async move {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !sender.is_closed() {
            ticks.tick().await;
            let asked = ask(&log, &backplane, &history).await;
            sender.send_replace(told(asked, log.halted(), history.refused()));
        }
    });
    receiver
}

/// Log, backplane, history: whether each answered.
async fn ask(
    log: &Arc<impl Log>,
    backplane: &Arc<impl Backplane>,
    history: &Arc<impl History>,
) -> [bool; 3] {
    let incarnation = log.incarnation();
    let partition = Partition(0);
    let stream = Stream { log: incarnation.log.clone(), epoch: incarnation.epoch, partition };
    let streams = std::slice::from_ref(&stream);
    let log = async { matches!(timeout(PATIENCE, log.end(partition)).await, Ok(Ok(_))) };
    let backplane =
        async { matches!(timeout(PATIENCE, backplane.marker(&stream)).await, Ok(Ok(_))) };
    let history =
        async { matches!(timeout(PATIENCE, history.checkpoints(streams)).await, Ok(Ok(_))) };
    let (log, backplane, history) = tokio::join!(log, backplane, history);
    [log, backplane, history]
}

fn told(
    [log, backplane, history]: [bool; 3],
    halted: Option<String>,
    refused: Option<String>,
) -> Vec<PartState> {
    let part = |part: &str, ready: bool, away: &str| {
        let detail = if ready { "answers" } else { away };
        let (part, detail) = (part.to_owned(), detail.to_owned());
        PartState { part, ready, vital: false, rebuilding: false, detail }
    };
    let mut parts = vec![
        part("log", log, "Kafka does not answer: publishes are refused"),
        part("backplane", backplane, "Redis does not answer: events come from the history, late"),
        part("history", history, "Postgres does not answer: older events can't be read"),
    ];
    if let Some(why) = halted {
        (parts[0].ready, parts[0].detail) = (false, format!("halted: {why}"));
    }
    if let Some(why) = refused {
        (parts[2].ready, parts[2].detail) = (false, why);
    }
    parts
}
