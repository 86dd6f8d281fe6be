//! Regions that append at random moments to one log, which keeps the last of a key.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;
use meridian_core::embedded::faulty::Chance;
use meridian_core::embedded::{HistoryOptions, SqliteHistory};
use meridian_core::seams::conformance::{
    Printed, acknowledged, acknowledged_key as key, seeds, stream,
};
use meridian_core::seams::{AckLogError, Acknowledged, AcknowledgedKey, Incarnation};
use meridian_core::vocabulary::{Epoch, LogName};
use tokio::sync::watch;

use super::*;

/// A log in memory, with each region's commit. Forgets what was overtaken when it is told to.
struct TestLog {
    name: LogName,
    held: Mutex<Vec<(usize, KeyedAck)>>,
    end: watch::Sender<usize>,
    commits: Mutex<HashMap<usize, usize>>,
}

struct TestReader {
    log: Arc<TestLog>,
    region: usize,
    at: usize,
}

impl TestLog {
    fn new() -> Arc<Self> {
        let (name, end) = (LogName::parse("global").unwrap(), watch::Sender::new(0));
        Arc::new(Self { name, held: Mutex::default(), end, commits: Mutex::default() })
    }

    fn compact(&self) {
        let mut held = self.held.lock().unwrap();
        let last: HashMap<AcknowledgedKey, usize> =
            held.iter().map(|(place, (key, _))| (key.clone(), *place)).collect();
        held.retain(|(place, (key, _))| last[key] == *place);
    }

    /// The last of each key, and how many were ever appended.
    fn kept(&self) -> (HashMap<AcknowledgedKey, Acknowledged>, usize) {
        let held = self.held.lock().unwrap();
        (held.iter().map(|(_, ack)| ack.clone()).collect(), *self.end.borrow())
    }

    fn reader(self: &Arc<Self>, region: usize) -> TestReader {
        let at = self.commits.lock().unwrap().get(&region).copied().unwrap_or(0);
        TestReader { log: self.clone(), region, at }
    }
}

#[async_trait]
impl AckLog for TestLog {
    fn log(&self) -> &LogName {
        &self.name
    }

    async fn append(&self, acks: Vec<KeyedAck>) -> Result<(), AckLogError> {
        let mut held = self.held.lock().unwrap();
        let first = *self.end.borrow();
        let end = first + acks.len();
        held.extend((first..).zip(acks));
        self.end.send_replace(end);
        Ok(())
    }
}

#[async_trait]
impl AckReader for TestReader {
    async fn next(&mut self) -> Result<AckBatch, AckLogError> {
        let at = self.at;
        let mut end = self.log.end.subscribe();
        self.at = *end.wait_for(|end| *end > at).await.unwrap();
        let held = self.log.held.lock().unwrap();
        let new = held.iter().filter(|(place, _)| (at..self.at).contains(place));
        Ok(AckBatch { acks: new.map(|(_, ack)| ack.clone()).collect(), unreadable: 0 })
    }

    async fn commit(&mut self) -> Result<(), AckLogError> {
        self.log.commits.lock().unwrap().insert(self.region, self.at);
        Ok(())
    }

    fn lag(&self) -> u64 {
        (*self.log.end.borrow() - self.at) as u64
    }
}

/// A region's history, and its merger while that runs.
struct Region {
    history: Arc<SqliteHistory>,
    merger: Option<(CancellationToken, tokio::task::JoinHandle<()>)>,
}

async fn history(folder: &tempfile::TempDir, region: usize) -> Arc<SqliteHistory> {
    let log = Incarnation {
        log: stream(1, 0).log,
        epoch: Epoch(1),
        identity: "a log".into(),
        partitions: 1,
        window_records: 1,
        window_ms: 1,
    };
    let file = folder.path().join(format!("{region}.sqlite"));
    Arc::new(SqliteHistory::open(&file, HistoryOptions::default(), &log).await.unwrap())
}

impl Region {
    fn start(&mut self, log: &Arc<TestLog>, region: usize) {
        let pace = Pace { mend: Duration::from_millis(50), commit: Duration::from_millis(5) };
        let reader = log.reader(region);
        let merger = AckMerger::paced(log.clone(), reader, self.history.clone(), pace);
        let stop = CancellationToken::new();
        self.merger = Some((stop.clone(), tokio::spawn(merger.run(stop))));
    }
}

/// Whatever the order in which regions append, and whichever merger dies when: all regions end with the
/// highest position of each key, and that is what the log keeps; then nothing more is appended.
#[tokio::test]
async fn all_regions_end_with_the_highest_and_so_does_the_log() {
    for seed in seeds(8) {
        let _printed = Printed(seed);
        random_schedule(&mut Chance::new(seed)).await;
    }
}

async fn random_schedule(chance: &mut Chance) {
    let (folder, log) = (tempfile::tempdir().unwrap(), TestLog::new());
    let mut regions = Vec::new();
    for number in 0..3 {
        let mut region = Region { history: history(&folder, number).await, merger: None };
        region.start(&log, number);
        regions.push(region);
    }
    let mut highest: HashMap<AcknowledgedKey, Acknowledged> = HashMap::new();
    for _ in 0..60 {
        let number = chance.below(3) as usize;
        let region = &mut regions[number];
        match chance.below(10) {
            0 => log.compact(),
            1 => {
                // Killed, and started again.
                if let Some((_, running)) = region.merger.take() {
                    running.abort();
                    let _ = running.await;
                }
                region.start(&log, number);
            }
            _ => {
                let key = key(["a", "b"][chance.below(2) as usize]);
                let ack = acknowledged(chance.below(20) / 19, 1, chance.below(1_000) as i64);
                let known = highest.entry(key.clone()).or_insert_with(|| ack.clone());
                if known.rank() < ack.rank() {
                    known.clone_from(&ack);
                }
                // An edge that was away: what it sends may be lower by now than what others have sent.
                region.history.acknowledge(vec![(key.clone(), ack.clone())]).await.unwrap();
                log.append(vec![(key, ack)]).await.unwrap();
            }
        }
        tokio::task::yield_now().await;
    }
    settle(&log, &regions, &highest).await;
    log.compact();
    assert_eq!(log.kept().0, highest);
    for region in regions {
        let (stop, running) = region.merger.unwrap();
        stop.cancel();
        running.await.unwrap();
        for (key, ack) in &highest {
            assert_eq!(region.history.acknowledged(key).await, Ok(Some(ack.clone())));
        }
        region.history.close().await;
    }
    assert_eq!(log.kept().0, highest, "a stop appends nothing lower");
}

/// Waits until every region has committed all that there is and the log keeps the highest.
async fn settle(
    log: &Arc<TestLog>,
    regions: &[Region],
    highest: &HashMap<AcknowledgedKey, Acknowledged>,
) {
    let started = std::time::Instant::now();
    loop {
        let (kept, end) = log.kept();
        let committed =
            (0..regions.len()).all(|region| log.commits.lock().unwrap().get(&region) == Some(&end));
        if kept == *highest && committed {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{kept:?} {highest:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
