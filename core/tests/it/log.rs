//! The log's suite on SQLite, and what the SQLite log promises beyond it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use async_trait::async_trait;
use meridian_core::embedded::{Clock, Keep, LogOptions, SqliteLog};
use meridian_core::seams::conformance::channel;
use meridian_core::seams::conformance::log::{self as suite, LogFixture};
use meridian_core::seams::{AppendError, Log};
use meridian_core::vocabulary::{Offset, Partition, Record};
use tempfile::TempDir;

use crate::records;

const DAY_MS: u64 = 86_400_000;

/// A log in a folder of its own, with a clock that the test sets.
struct Fixture {
    folder: TempDir,
    now_ms: Arc<AtomicU64>,
}

impl Fixture {
    fn new() -> Self {
        let now_ms = Arc::new(AtomicU64::new(1_700_000_000_000));
        Self { folder: TempDir::new().unwrap(), now_ms }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("log.sqlite")
    }

    fn clock(&self) -> Clock {
        let now_ms = self.now_ms.clone();
        Arc::new(move || now_ms.load(Ordering::Relaxed))
    }
}

#[async_trait]
impl LogFixture for Fixture {
    type Log = SqliteLog;

    async fn open(&self) -> SqliteLog {
        SqliteLog::open(&self.file(), LogOptions::default(), self.clock()).await.unwrap()
    }

    async fn shut(&self, log: SqliteLog) {
        log.close().await;
    }

    async fn empty(&self, log: &SqliteLog, partition: Partition) {
        self.now_ms.fetch_add(2 * DAY_MS, Ordering::Relaxed);
        let end = log.end(partition).await.unwrap();
        let keep = Keep { records: Some(0), age_ms: None };
        while log.retain(keep, vec![(partition, end)]).await.unwrap().more {}
        assert_eq!(log.begin(partition), Ok(Offset(end.0)));
    }
}

#[tokio::test]
async fn conformance() {
    suite::all(Fixture::new).await;
}

/// Whatever the bounds of retention are.
#[tokio::test]
async fn records_younger_than_d_stay() {
    let fixture = Fixture::new();
    let log = fixture.open().await;
    let partition = log.partition(&channel("a"));
    let keep = Keep { records: Some(0), age_ms: Some(0) };
    for round in 0..4 {
        log.append(records::of("a", 2, round, &log)).await.into_iter().for_each(|a| {
            a.unwrap();
        });
        fixture.now_ms.fetch_add(DAY_MS / 3 + 1, Ordering::Relaxed);
    }
    let floor = vec![(partition, Offset(99))];
    let trimmed = log.retain(keep, floor.clone()).await.unwrap();
    assert_eq!((trimmed.records, log.begin(partition)), (4, Ok(Offset(4))));
    let read = log.read(partition, Offset(4), 9, usize::MAX).await.unwrap();
    assert_eq!(read.len(), 4);
    let now_ms = fixture.now_ms.load(Ordering::Relaxed);
    assert!(read.iter().all(|record| now_ms - record.time_ms <= DAY_MS));
    assert_eq!(log.retain(Keep::default(), floor).await.unwrap().records, 0);
    log.close().await;
}

/// By age and by count, each for itself.
#[tokio::test]
async fn retention_has_two_bounds() {
    let fixture = Fixture::new();
    let log = fixture.open().await;
    let partition = log.partition(&channel("a"));
    for round in 0..10 {
        log.append(records::of("a", 1, round, &log)).await;
        fixture.now_ms.fetch_add(DAY_MS, Ordering::Relaxed);
    }
    let floor = || vec![(partition, Offset(99))];
    let by_age = Keep { records: None, age_ms: Some(8 * DAY_MS) };
    assert_eq!(log.retain(by_age, floor()).await.unwrap().records, 2);
    let by_count = Keep { records: Some(3), age_ms: None };
    assert_eq!(log.retain(by_count, floor()).await.unwrap().records, 5);
    let floored = vec![(partition, Offset(8))];
    let all = Keep { records: Some(0), age_ms: None };
    assert_eq!(log.retain(all, floored).await.unwrap().records, 1);
    assert_eq!(log.begin(partition), Ok(Offset(8)));
    log.close().await;
}

/// A clock that goes back, in a run and over a restart.
#[tokio::test]
async fn a_clock_that_goes_back_does_not_move_time() {
    let fixture = Fixture::new();
    let mut times = Vec::new();
    for round in 0..3 {
        let log = fixture.open().await;
        for i in 0..3 {
            log.append(records::of("a", 1, round * 10 + i, &log)).await;
            fixture.now_ms.fetch_sub(1_000, Ordering::Relaxed);
        }
        let partition = log.partition(&channel("a"));
        times = log.read(partition, Offset(0), 99, usize::MAX).await.unwrap();
        log.close().await;
    }
    assert_eq!(times.len(), 9);
    assert!(times.iter().all(|record| record.time_ms == times[0].time_ms));
}

/// A full queue is an answer, and what was refused is surely not stored.
#[tokio::test]
async fn a_full_queue_refuses() {
    let fixture = Fixture::new();
    let options = LogOptions { queue_records: 3, ..LogOptions::default() };
    let log = SqliteLog::open(&fixture.file(), options, fixture.clock()).await.unwrap();
    // On this runtime's one thread the writer can't run before all calls are queued.
    let calls = (0..10).map(|round| log.append(records::of("a", 1, round, &log)));
    let answers: Vec<_> = join_all(calls).await.into_iter().flatten().collect();
    let stored = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(stored, 3);
    let refused = |answer: &Result<_, AppendError>| {
        matches!(answer, Ok(_) | Err(AppendError::Overloaded { retry_after_ms: 20.. }))
    };
    assert!(answers.iter().all(refused), "{answers:?}");
    let end = log.end(log.partition(&channel("a"))).await;
    assert_eq!(end, Ok(Offset(stored as u64)));
    log.close().await;
    let closed = log.append(records::of("a", 1, 99, &log)).await;
    assert_eq!(closed, [Err(AppendError::Unavailable)]);
}

/// Larger than what one batch row takes, in one call and with one byte more than fits.
#[tokio::test]
async fn large_batches_are_cut_and_read_back() {
    let fixture = Fixture::new();
    let log = fixture.open().await;
    let partition = log.partition(&channel("a"));
    let mut sent = records::of("a", 40, 0, &log);
    for record in &mut sent {
        record.body = vec![1; 60_000].into();
    }
    assert!(log.append(sent.clone()).await.iter().all(Result::is_ok));
    log.close().await;
    let log = fixture.open().await;
    let mut held = Vec::new();
    while held.len() < 40 {
        held.extend(log.read(partition, Offset(held.len() as u64), 7, usize::MAX).await.unwrap());
    }
    let held: Vec<Record> = held.iter().map(|r| Record::decode(&r.stored).unwrap()).collect();
    assert_eq!(held, sent);
    log.close().await;
}

/// Polls all calls in turn, as callers that know nothing of one another.
async fn join_all<T: Send + 'static>(
    calls: impl Iterator<Item = impl Future<Output = T>>,
) -> Vec<T> {
    let mut calls: Vec<_> = calls.map(Box::pin).collect();
    let mut answers: Vec<Option<T>> = calls.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (call, answer) in calls.iter_mut().zip(&mut answers) {
            if answer.is_none()
                && let Poll::Ready(ready) = call.as_mut().poll(context)
            {
                *answer = Some(ready);
            }
        }
        if answers.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    answers.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_beside_the_writer_never_goes_beyond_the_end() {
    let fixture = Fixture::new();
    // After a restart old records are in the file only: a read from there sees what is committed.
    for life in 0..20 {
        let log = Arc::new(fixture.open().await);
        let partition = log.partition(&channel("a:b"));
        let from = Offset(log.known_end(partition).0.saturating_sub(1));
        let writer = tokio::spawn({
            let log = log.clone();
            async move {
                for round in 0..30 {
                    log.append(records::of("a:b", 1, 100 * life + round, &*log)).await;
                }
            }
        });
        while !writer.is_finished() {
            let read = log.read(partition, from, 1_000, usize::MAX).await.unwrap();
            let next = read.last().map_or(from, |last| Offset(last.offset.0 + 1));
            assert!(next <= log.known_end(partition), "{next:?} is not announced");
        }
        writer.await.unwrap();
        log.close().await;
    }
}
