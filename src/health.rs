//! How a region's servers are doing, as seen from this process: each is asked something cheap now and
//! then. Owns the asking; decides nothing.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use meridian_core::seams::{Backplane, History as _, Log as _};
use meridian_core::vocabulary::{Partition, Stream};
use meridian_edge::PartState;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::region::{LogHere, Region};

const EVERY: Duration = Duration::from_secs(1);
/// A server that takes longer counts as away.
const PATIENCE: Duration = Duration::from_secs(3);

/// The parts' states, kept up to date by a task that ends with the last receiver.
pub(crate) fn watch(region: &Region) -> watch::Receiver<Vec<PartState>> {
    let (logs, backplane) = (region.logs.clone(), region.backplane.clone());
    let (sender, receiver) = watch::channel(Vec::new());
    tokio::spawn(async move {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !sender.is_closed() {
            ticks.tick().await;
            let asked = logs.iter().map(|here| ask(here, &backplane));
            let answers: Vec<Answers> = join_all(asked).await;
            sender.send_replace(told(logs.iter().zip(answers)));
        }
    });
    receiver
}

/// Whether each server answered, asked for one log.
struct Answers {
    log: bool,
    backplane: bool,
    history: bool,
}

async fn ask(here: &LogHere, backplane: &Arc<impl Backplane>) -> Answers {
    let LogHere { log, history } = here;
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
    Answers { log, backplane, history }
}

fn told<'a>(logs: impl Iterator<Item = (&'a LogHere, Answers)>) -> Vec<PartState> {
    let mut parts = Vec::new();
    let (mut backplane, mut history, mut refused) = (true, true, None);
    for (here, answers) in logs {
        let away = "Kafka does not answer: publishes are refused";
        parts.push(part(
            &here.part("log"),
            answers.log,
            away,
            here.log.halted().map(|why| format!("halted: {why}")),
        ));
        backplane &= answers.backplane;
        history &= answers.history;
        refused = refused.or_else(|| here.history.refused());
    }
    let away = "Redis does not answer: events come from the history, late";
    parts.push(part("backplane", backplane, away, None));
    let away = "Postgres does not answer: older events can't be read";
    parts.push(part("history", history, away, refused));
    parts
}

/// A part as it answered; what it is known to lack counts more.
fn part(part: &str, answers: bool, away: &str, fault: Option<String>) -> PartState {
    let ready = answers && fault.is_none();
    let detail = fault.unwrap_or_else(|| if answers { "answers" } else { away }.to_owned());
    PartState { part: part.to_owned(), ready, vital: false, rebuilding: false, detail }
}
