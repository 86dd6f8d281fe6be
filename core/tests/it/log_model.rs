//! Random schedules of appends, lost acknowledgements, retention and restarts, held against a plain
//! list of what each partition was given.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use meridian_core::embedded::faulty::{Chance, FaultyLog, LogFaults};
use meridian_core::embedded::{Clock, Keep, LogOptions, SqliteLog};
use meridian_core::seams::{AppendError, Log, LogError};
use meridian_core::vocabulary::{Offset, Partition, Record};
use tempfile::TempDir;

use crate::records;
use crate::seeds::{Printed, seeds};

const STEPS: usize = 300;
const PARTITIONS: u32 = 3;
const FAULTS: LogFaults =
    LogFaults { lost_acknowledgement: 100, lost_request: 50, doubled: 100, overloaded: 50 };

/// What a partition was found to hold: by offset the record's id, once read.
#[derive(Default)]
struct Model {
    begin: u64,
    end: u64,
    ids: HashMap<u64, String>,
}

struct Run {
    folder: TempDir,
    chance: Chance,
    log: FaultyLog<SqliteLog>,
    now_ms: Arc<AtomicU64>,
    models: Vec<Model>,
    round: usize,
}

#[tokio::test]
async fn the_log_is_a_list() {
    for seed in seeds(25) {
        let _printed = Printed(seed);
        let mut run = Run::new(seed).await;
        for _ in 0..STEPS {
            run.step().await;
        }
        run.log.into_inner().close().await;
    }
}

impl Run {
    async fn new(seed: u64) -> Self {
        let (folder, now_ms) = (TempDir::new().unwrap(), Arc::new(AtomicU64::new(1_000)));
        let log = FaultyLog::new(open(&folder, &now_ms).await, seed, FAULTS);
        let models = (0..PARTITIONS).map(|_| Model::default()).collect();
        Self { folder, chance: Chance::new(seed), log, now_ms, models, round: 0 }
    }

    async fn step(&mut self) {
        self.now_ms.fetch_add(self.chance.below(20), Ordering::Relaxed);
        match self.chance.below(100) {
            0..45 => self.append().await,
            45..55 => self.retain().await,
            55..58 => self.restart().await,
            _ => self.read().await,
        }
    }

    async fn append(&mut self) {
        self.round += 1;
        let name = format!("c{}", self.chance.below(10));
        let count = 1 + self.chance.below(5) as usize;
        let sent = records::of(&name, count, self.round, &self.log);
        let partition = self.log.partition(&sent[0].key);
        let ids: Vec<String> = sent.iter().map(|record| record.id.to_string()).collect();
        let answers = self.log.append(sent).await;
        let end = self.log.end(partition).await.unwrap().0;
        let model = &mut self.models[partition.0 as usize];
        let stored = (end - model.end) as usize;
        assert!(stored.is_multiple_of(count) && stored <= 2 * count, "{stored} of {count}");
        for (index, offset) in (model.end..end).enumerate() {
            model.ids.insert(offset, ids[index % count].clone());
        }
        for (index, answer) in answers.into_iter().enumerate() {
            match answer {
                Ok(placed) => {
                    let offset = placed.cursor.position.passed as u64;
                    assert!(offset >= model.end && model.ids[&offset] == ids[index]);
                }
                Err(AppendError::OutcomeUnknown) => {}
                Err(error) => assert_eq!((error.to_string().is_empty(), stored), (false, 0)),
            }
        }
        model.end = end;
    }

    async fn retain(&mut self) {
        let partition = Partition(self.chance.below(u64::from(PARTITIONS)) as u32);
        let model = &mut self.models[partition.0 as usize];
        let floor = self.chance.below(model.end + 5);
        let keep =
            Keep { records: Some(self.chance.below(30)), age_ms: Some(self.chance.below(2_000)) };
        let floors = vec![(partition, Offset(floor))];
        let trimmed = self.log.inner().retain(keep, floors).await.unwrap();
        let begin = self.log.inner().begin(partition).unwrap().0;
        assert_eq!(begin, model.begin + trimmed.records);
        assert!(begin <= floor.max(model.begin) && begin <= model.end);
        model.begin = begin;
    }

    async fn restart(&mut self) {
        self.log.inner().close().await;
        let seed = self.chance.number();
        self.log = FaultyLog::new(open(&self.folder, &self.now_ms).await, seed, FAULTS);
        for (partition, model) in self.models.iter().enumerate() {
            let partition = Partition(partition as u32);
            assert_eq!(self.log.end(partition).await, Ok(Offset(model.end)));
            assert_eq!(self.log.inner().begin(partition), Ok(Offset(model.begin)));
        }
    }

    async fn read(&mut self) {
        let partition = Partition(self.chance.below(u64::from(PARTITIONS)) as u32);
        let model = &self.models[partition.0 as usize];
        let from = self.chance.below(model.end + 3);
        let max = 1 + self.chance.below(10) as usize;
        let read = self.log.read(partition, Offset(from), max, usize::MAX).await;
        if from > model.end {
            assert_eq!(read, Err(LogError::BeyondEnd { end: Offset(model.end) }));
        } else if from < model.begin {
            assert_eq!(read, Err(LogError::Truncated { earliest: Offset(model.begin) }));
        } else {
            let read = read.unwrap();
            // At least one where there is one: what ends a read early is the store's affair.
            assert_eq!(read.is_empty(), from == model.end);
            assert!(read.len() <= max);
            for (record, offset) in read.iter().zip(from..) {
                let id = Record::decode(&record.stored).unwrap().id.to_string();
                assert_eq!((record.offset.0, &id), (offset, &model.ids[&offset]));
            }
            assert!(read.is_sorted_by(|a, b| a.time_ms <= b.time_ms));
        }
    }
}

async fn open(folder: &TempDir, now_ms: &Arc<AtomicU64>) -> SqliteLog {
    let now_ms = now_ms.clone();
    let clock: Clock = Arc::new(move || now_ms.load(Ordering::Relaxed));
    let options = LogOptions { partitions: PARTITIONS, window_ms: 300, ..LogOptions::default() };
    SqliteLog::open(&folder.path().join("log.sqlite"), options, clock).await.unwrap()
}
