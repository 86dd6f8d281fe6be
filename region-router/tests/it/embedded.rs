//! The router on the embedded stores, with a log and a backplane around them that fail by seed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use meridian_core::embedded::faulty::{
    Announce, BackplaneFaults, Chance, FaultyBackplane, FaultyLog, LogFaults,
};
use meridian_core::embedded::{
    BackplaneOptions, HistoryOptions, InProcessBackplane, LogOptions, SqliteHistory, SqliteLog,
    system_clock,
};
use meridian_core::seams::{Backplane, History, HistoryRead, Log, ReadBounds, ReadFrom};
use meridian_core::vocabulary::{Epoch, Event, Partition, Position, Stream, Verdict, judge};
use meridian_region_router::{Options, Outcome, Router, RouterStatus};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::world::{key, record};

const PARTITIONS: u32 = 3;
const CHANNELS: u64 = 7;

struct Region {
    log: Arc<FaultyLog<SqliteLog>>,
    history: Arc<SqliteHistory>,
    backplane: Arc<FaultyBackplane<InProcessBackplane>>,
    router: Option<(JoinHandle<Outcome>, CancellationToken, RouterStatus)>,
}

impl Region {
    async fn open(folder: &Path, seed: u64) -> Self {
        let options =
            LogOptions { partitions: PARTITIONS, window_records: 256, ..Default::default() };
        let log =
            SqliteLog::open(&folder.join("log.sqlite"), options, system_clock()).await.unwrap();
        let file = folder.join("history.sqlite");
        let history =
            SqliteHistory::open(&file, HistoryOptions::default(), log.incarnation()).await.unwrap();
        let empty = || InProcessBackplane::new(BackplaneOptions::default());
        let faults =
            BackplaneFaults { lost_acknowledgement: 200, lost_request: 100, ..Default::default() };
        Self {
            log: Arc::new(FaultyLog::new(log, seed, LogFaults::default())),
            history: Arc::new(history),
            backplane: Arc::new(FaultyBackplane::new(empty, seed, faults)),
            router: None,
        }
    }

    fn start(&mut self) {
        let options = Options {
            retry_first: Duration::from_millis(1),
            marker_interval: Duration::from_millis(20),
            commit_linger: Duration::from_millis(2),
            ..Options::default()
        };
        let (log, history) = (self.log.clone(), self.history.clone());
        let router = Router::new(log, history, self.backplane.clone(), options);
        let (status, shutdown) = (router.status(), CancellationToken::new());
        self.router = Some((tokio::spawn(router.run(shutdown.clone())), shutdown, status));
    }

    async fn kill(&mut self) {
        if let Some((task, _, _)) = self.router.take() {
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        }
    }

    async fn stop(&mut self) {
        if let Some((task, shutdown, _)) = self.router.take() {
            shutdown.cancel();
            assert_eq!(task.await.unwrap(), Outcome::Stopped);
        }
    }

    /// Appends until it is acknowledged, as a publisher does.
    async fn publish(&self, channel: &str, id: &str) {
        while self.log.append(vec![record(channel, id)]).await.remove(0).is_err() {}
    }

    async fn until_stored(&self) {
        let (_, _, status) = self.router.as_ref().unwrap();
        for partition in (0..PARTITIONS).map(Partition) {
            let end = self.log.end(partition).await.unwrap();
            let mut followed = status.follow(partition).unwrap();
            let stored = followed.wait_for(|status| {
                end.0 == 0 || status.checkpoint.is_some_and(|p| p.next_offset() == end)
            });
            let waited = tokio::time::timeout(Duration::from_secs(60), stored).await;
            waited
                .unwrap_or_else(|_| panic!("not stored: {:?}", status.partition(partition)))
                .unwrap();
        }
    }

    async fn stored(&self, channel: &str) -> Vec<Arc<Event>> {
        let (key, mut all) = (key(channel), Vec::new());
        let stream = self.stream(channel);
        let mut at = Position::start_of(stream.epoch);
        loop {
            let from = ReadFrom::After(at);
            let bounds = ReadBounds { max_events: 50, max_bytes: 1 << 20, oldest_time_ms: 0 };
            let read = self.history.read(&key, &stream, from, bounds).await.unwrap();
            let HistoryRead::Events { gone: None, events, position, more } = read else {
                panic!("{read:?}")
            };
            all.extend(events);
            at = position;
            if !more {
                return all;
            }
        }
    }

    fn stream(&self, channel: &str) -> Stream {
        let partition = self.log.partition(&key(channel));
        Stream { log: self.log.incarnation().log.clone(), epoch: Epoch(1), partition }
    }

    /// Each published id once, in order, chained; hot history is a suffix of it.
    async fn check(&self, published: &BTreeMap<String, Vec<String>>) {
        for (channel, ids) in published {
            let events = self.stored(channel).await;
            let stored: Vec<_> = events.iter().map(|e| e.id.as_str().to_owned()).collect();
            assert_eq!(&stored, ids, "{channel}");
            let mut at = Position::start_of(Epoch(1));
            for event in &events {
                assert_eq!(judge(at, event.prev, event.position()), Verdict::Accept);
                at = event.position();
            }
            let stream = self.stream(channel);
            let start = Position::start_of(Epoch(1));
            let hot = self.backplane.read(&key(channel), &stream, start, 10_000).await.unwrap();
            assert!(hot.events.is_empty() || events.ends_with(&hot.events), "{channel}: {hot:?}");
        }
    }
}

async fn step(
    region: &mut Region,
    chance: &mut Chance,
    published: &mut BTreeMap<String, Vec<String>>,
) {
    match chance.below(20) {
        0..14 => {
            let channel = format!("{}", chance.below(CHANNELS));
            let ids = published.entry(channel.clone()).or_default();
            ids.push(format!("{}", ids.len()));
            region.publish(&channel, ids.last().unwrap()).await;
        }
        14 => {
            let partition = Partition(chance.below(u64::from(PARTITIONS)) as u32);
            let stream = Stream { partition, ..region.stream("0") };
            let writes = chance.below(6) as usize;
            region.backplane.lose_writes(&stream, writes, Announce::Silent).await.unwrap();
        }
        15 if chance.happens(200) => {
            region.backplane.forget_everything(Announce::Silent).await.unwrap();
        }
        16 => {
            region.kill().await;
            region.start();
        }
        17 => {
            region.stop().await;
            region.start();
        }
        _ => {
            let faults =
                LogFaults { lost_acknowledgement: 300, doubled: 200, ..LogFaults::default() };
            region.log.set_faults(faults);
        }
    }
}

#[tokio::test]
async fn every_acknowledged_event_is_stored_once_and_in_order_whatever_fails() {
    for seed in 0..4 {
        println!("seed {seed}");
        let folder = tempfile::tempdir().unwrap();
        let mut region = Region::open(folder.path(), seed).await;
        let (mut chance, mut published) = (Chance::new(seed), BTreeMap::new());
        region.start();
        for _ in 0..300 {
            step(&mut region, &mut chance, &mut published).await;
        }
        region.until_stored().await;
        region.check(&published).await;
        region.stop().await;
        region.history.close().await;
    }
}
