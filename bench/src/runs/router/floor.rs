//! The bare loop: a process that reads the topic, looks up heads, runs the router's script at Redis and
//! its batch in Postgres, three stages a partition, each as fast as the one behind it takes. It knows
//! no duplicates, no repairs, no fencing beyond its first claim, and gives up at the first failure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use meridian_core::seams::{
    Applied, ApplyOutcome, Backplane as _, Batch, Checkpoint, History as _, LogRecord, Marks,
    Stale, WindowRow,
};
use meridian_core::vocabulary::{
    Body, ChannelKey, Event, LogName, Offset, Position, Prev, Record, Stream,
};
use meridian_postgres::PostgresHistory;
use meridian_redis::RedisBackplane;
use meridian_region_router::Options;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::queue::{Queue, Topic};
use crate::control::Orders;
use crate::region::{LogPlan, Servers, streams};

/// Batches between two stages: about what a router holds that Postgres does not have yet.
const BETWEEN: usize = 32;
const PATIENCE: Duration = Duration::from_secs(30);

/// What it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FloorPlan {
    pub(super) servers: Servers,
    pub(super) log: LogPlan,
}

struct Stores {
    backplane: RedisBackplane,
    history: PostgresHistory,
    /// The router's: batches have the same bounds.
    options: Options,
}

/// Records read at once, as events.
struct Group {
    events: Vec<Applied>,
    rows: Vec<WindowRow>,
    bytes: usize,
}

/// Works until its stdin ends.
pub(crate) async fn run() -> Result<()> {
    let mut orders = Orders::new();
    let FloorPlan { servers, log } = orders.next().await?.context("a plan comes first")?;
    let incarnation = log.incarnation()?;
    let backplane = servers.backplane()?;
    ensure!(backplane.wait_connected(PATIENCE).await, "Redis does not answer");
    let history = PostgresHistory::open(servers.postgres_options(), &incarnation).await?;
    let stores = Arc::new(Stores { backplane, history, options: Options::default() });
    let topic = Topic::open(&servers.kafka, &log.topic, incarnation.partitions)?;
    let mut tasks = JoinSet::new();
    for stream in streams(&incarnation) {
        let queue = topic.queue(stream.partition.0)?;
        start(&mut tasks, &stores, stream, queue).await?;
    }
    topic.assign()?;
    tasks.spawn_blocking(move || topic.serve());
    tokio::select! {
        order = orders.next::<()>() => order.map(|_| ()),
        Some(ended) = tasks.join_next() => ended?.and_then(|()| bail!("a stage ended")),
    }
}

/// Claims a partition of an empty region and starts its stages.
async fn start(
    tasks: &mut JoinSet<Result<()>>,
    stores: &Arc<Stores>,
    stream: Stream,
    queue: Queue,
) -> Result<()> {
    let claim = stores.history.claim(&stream, 0).await?;
    let begin = Position::start_of(stream.epoch);
    let restored = stores.backplane.repair(&stream, None, Stale::All, begin).await?;
    ensure!(claim.checkpoint.is_none() && restored, "the region is not empty");
    let (read, to_apply) = mpsc::channel(BETWEEN);
    let (applied, to_store) = mpsc::channel(BETWEEN);
    tasks.spawn(read_all(stores.clone(), stream.clone(), queue, read));
    tasks.spawn(apply_all(stores.clone(), stream.clone(), to_apply, applied));
    tasks.spawn(store_all(stores.clone(), stream, claim.fence, to_store));
    Ok(())
}

async fn read_all(
    stores: Arc<Stores>,
    stream: Stream,
    mut queue: Queue,
    read: mpsc::Sender<Group>,
) -> Result<()> {
    let mut heads = HashMap::new();
    let mut last = Position::start_of(stream.epoch);
    loop {
        let records = queue.take(stores.options.read_records, stores.options.read_bytes).await?;
        let records = records.into_iter().map(|record| {
            let envelope = Record::decode(&record.stored)?;
            anyhow::Ok((record, envelope))
        });
        let records: Vec<_> = records.collect::<Result<_>>()?;
        look_up(&stores, &stream.log, &records, &mut heads).await?;
        let group = Group::of(&stream, records, &mut heads, &mut last)?;
        read.send(group).await?;
    }
}

/// Asks Postgres for the channels that were not seen yet, as the router does.
async fn look_up(
    stores: &Stores,
    log: &LogName,
    records: &[(LogRecord, Record)],
    heads: &mut HashMap<ChannelKey, Prev>,
) -> Result<()> {
    let new = records.iter().map(|(_, record)| &record.key).filter(|key| !heads.contains_key(key));
    let new: Vec<ChannelKey> = new.collect::<HashSet<_>>().into_iter().cloned().collect();
    if new.is_empty() {
        return Ok(());
    }
    let found = stores.history.heads(log, &new).await?;
    for key in new {
        let prev = found.get(&key).map_or(Prev::None, |head| Prev::At(*head));
        heads.insert(key, prev);
    }
    Ok(())
}

impl Group {
    fn of(
        stream: &Stream,
        records: Vec<(LogRecord, Record)>,
        heads: &mut HashMap<ChannelKey, Prev>,
        last: &mut Position,
    ) -> Result<Self> {
        let mut group = Self { events: Vec::new(), rows: Vec::new(), bytes: 0 };
        for (LogRecord { offset, time_ms, .. }, record) in records {
            let position = Position::at(stream.epoch, offset);
            let prev = heads.insert(record.key.clone(), Prev::At(position));
            let body = Body::decode(&record.body)?;
            let event = Event {
                key: record.key,
                stream: stream.clone(),
                offset,
                prev: prev.unwrap_or(Prev::None),
                time_ms,
                id: record.id,
                body,
            };
            group.bytes += event.weight() + size_of::<WindowRow>();
            group.rows.push(row(offset, time_ms));
            group.events.push(Applied { event: Arc::new(event), last_kept_before: *last });
            *last = position;
        }
        Ok(group)
    }
}

/// As large as a router's; what it says is not looked at.
fn row(offset: Offset, time_ms: u64) -> WindowRow {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&offset.0.to_be_bytes());
    WindowRow { offset, time_ms, key }
}

async fn apply_all(
    stores: Arc<Stores>,
    stream: Stream,
    mut groups: mpsc::Receiver<Group>,
    applied: mpsc::Sender<Group>,
) -> Result<()> {
    while let Some(group) = groups.recv().await {
        let outcomes = stores.backplane.apply(&stream, &group.events).await?;
        let all = outcomes.len() == group.events.len()
            && outcomes.iter().all(|outcome| *outcome == ApplyOutcome::Applied);
        ensure!(all, "Redis did not apply everything");
        applied.send(group).await?;
    }
    Ok(())
}

async fn store_all(
    stores: Arc<Stores>,
    stream: Stream,
    fence: u64,
    mut groups: mpsc::Receiver<Group>,
) -> Result<()> {
    let mut waiting = None;
    while let Some(group) = gather(&stores.options, &mut groups, &mut waiting).await {
        let position = group.events.last().context("a group has events")?.event.position();
        let begins = Offset(0);
        let checkpoint = Checkpoint { position, last_kept: position, fingerprint: [0; 16], begins };
        let events = group.events.into_iter().map(|applied| applied.event).collect();
        let batch = Batch { fence, checkpoint, events, window: group.rows, marks: Marks::new() };
        stores.history.commit(&stream, batch).await?;
        stores.backplane.trim_below(&stream, position).await?;
    }
    Ok(())
}

/// The next groups as one: as many as come within the router's linger and fit its transaction. One that
/// does not fit waits for the next.
async fn gather(
    options: &Options,
    groups: &mut mpsc::Receiver<Group>,
    waiting: &mut Option<Group>,
) -> Option<Group> {
    let mut gathered = match waiting.take() {
        Some(group) => group,
        None => groups.recv().await?,
    };
    let until = Instant::now() + options.commit_linger;
    while let Ok(Some(next)) = timeout_at(until, groups.recv()).await {
        if gathered.bytes + next.bytes > options.commit_bytes {
            *waiting = Some(next);
            break;
        }
        gathered.bytes += next.bytes;
        gathered.events.extend(next.events);
        gathered.rows.extend(next.rows);
    }
    Some(gathered)
}
