//! A process that is killed while it appends and commits: what it was told is stored, is.
//!
//! The child is this binary again, running only `child`. It appends from several tasks and prints
//! each acknowledged place; beside that it commits what it appended into the history.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use meridian_core::embedded::{Embedded, Options, open};
use meridian_core::seams::conformance::{Samples, channel, stream};
use meridian_core::seams::{History, HistoryRead, Log, ReadBounds, ReadFrom};
use meridian_core::vocabulary::{Offset, Partition, Position, Record};
use tempfile::TempDir;

use crate::records;

const FOLDER: &str = "MERIDIAN_KILLED_CHILD_FOLDER";
const ROUND: &str = "MERIDIAN_KILLED_CHILD_ROUND";
const ROUNDS: usize = 5;
const PUBLISHERS: usize = 16;
/// The epoch of what the child commits: these are not the log's records, so not the log's epoch.
const COMMITTED: u32 = 2;

/// What the parent knows for sure.
#[derive(Default)]
struct Acknowledged {
    records: HashMap<(u32, u64), String>,
    committed: u64,
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() {
    let folder = TempDir::new().unwrap();
    let mut known = Acknowledged::default();
    for round in 0..ROUNDS {
        kill_a_child(folder.path(), round, 300 + round * 217, &mut known);
        let stores = open(folder.path(), Options::default()).await.unwrap();
        check_log(&stores, &known).await;
        check_history(&stores, known.committed).await;
        stores.close().await;
    }
    assert!(known.records.len() > 300 * ROUNDS && known.committed > 0);
}

/// Runs in the killed process only; elsewhere it has nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let (Ok(folder), Ok(round)) = (std::env::var(FOLDER), std::env::var(ROUND)) else { return };
    let round: usize = round.parse().unwrap();
    let stores = Arc::new(open(Path::new(&folder), Options::default()).await.unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for publisher in 0..PUBLISHERS {
        tasks.spawn(publish(stores.clone(), publisher, round));
    }
    tasks.spawn(commit(stores.clone()));
    tasks.join_all().await;
}

async fn publish(stores: Arc<Embedded>, publisher: usize, round: usize) {
    for call in 0.. {
        let name = format!("c{publisher}");
        let sent = records::of(&name, 1 + call % 3, round * 1_000_000 + call, &*stores.log);
        let ids: Vec<String> = sent.iter().map(|record| record.id.to_string()).collect();
        let answers = stores.log.append(sent).await;
        let mut out = std::io::stdout().lock();
        for (answer, id) in answers.into_iter().zip(ids) {
            let cursor = answer.unwrap().cursor;
            let (partition, offset) = (cursor.partition.0, cursor.position.passed);
            writeln!(out, "\nrecord {partition} {offset} {name}/{id}").unwrap();
        }
    }
}

async fn commit(stores: Arc<Embedded>) {
    let mut samples = Samples::new(stream(COMMITTED, 0));
    let claim = stores.history.claim(samples.stream(), 0).await.unwrap();
    // The parent checks the whole chain, so the child has to go on where the last one was.
    let key = channel("committed");
    let stored = claim.checkpoint.map_or(0, |checkpoint| checkpoint.position.passed as usize + 1);
    samples.events(&key, stored);
    loop {
        let events = samples.events(&key, 3);
        let batch = samples.batch(claim.fence, &events);
        stores.history.commit(samples.stream(), batch).await.unwrap();
        let committed = samples.position().passed + 1;
        writeln!(std::io::stdout().lock(), "\ncommitted {committed}").unwrap();
    }
}

/// Starts a child, kills it after `lines` acknowledgements, and learns everything that it printed.
fn kill_a_child(folder: &Path, round: usize, lines: usize, known: &mut Acknowledged) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["kill::child", "--exact", "--nocapture"])
        .env(FOLDER, folder)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reading = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut count = 0;
    for line in reading.by_ref() {
        count += known.learn(&line.unwrap());
        if count == lines {
            // SIGKILL.
            child.kill().unwrap();
        }
    }
    assert!(count >= lines, "the child ended by itself after {count} lines");
    child.wait().unwrap();
}

impl Acknowledged {
    /// Takes one printed line; the last one may be cut.
    fn learn(&mut self, line: &str) -> usize {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["record", partition, offset, id] => {
                let place = (partition.parse().unwrap(), offset.parse().unwrap());
                let before = self.records.insert(place, id.to_owned());
                assert_eq!(before, None, "{place:?} was used twice");
                1
            }
            ["committed", committed] => {
                let committed = committed.parse().unwrap();
                assert!(committed > self.committed);
                self.committed = committed;
                1
            }
            _ => 0,
        }
    }
}

async fn check_log(stores: &Embedded, known: &Acknowledged) {
    let mut held = HashMap::new();
    for partition in 0..stores.log.incarnation().partitions {
        let (partition, mut from) = (Partition(partition), Offset(0));
        while from < stores.log.end(partition).await.unwrap() {
            for record in stores.log.read(partition, from, 1_000, usize::MAX).await.unwrap() {
                assert_eq!(record.offset, from, "a hole");
                from = Offset(from.0 + 1);
                let decoded = Record::decode(&record.stored).unwrap();
                let name = format!("{}/{}", decoded.key.channel.name(), decoded.id);
                held.insert((partition.0, record.offset.0), name);
            }
        }
    }
    for (place, id) in &known.records {
        assert_eq!(held.get(place), Some(id), "{place:?}");
    }
}

async fn check_history(stores: &Embedded, committed: u64) {
    let stream = stream(COMMITTED, 0);
    let from = ReadFrom::After(Position::start_of(stream.epoch));
    let bounds = ReadBounds { max_events: 1 << 20, max_bytes: usize::MAX, oldest_time_ms: 0 };
    let read = stores.history.read(&channel("committed"), &stream, from, bounds).await.unwrap();
    let HistoryRead::Events { gone: None, events, .. } = read else { panic!("{read:?}") };
    let offsets: Vec<u64> = events.iter().map(|event| event.offset.0).collect();
    assert!(offsets.len() as u64 >= committed, "{} of {committed}", offsets.len());
    assert!(offsets.iter().copied().eq(0..offsets.len() as u64));
}
