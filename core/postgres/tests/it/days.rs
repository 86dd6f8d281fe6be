//! Days' tables that come and go, while others read and write.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use meridian_core::policy::{Policies, Policy, Retention};
use meridian_core::seams::conformance::{Samples, channel, stream};
use meridian_core::seams::{
    Gone, GoneReason, History, HistoryRead, Incarnation, ReadBounds, ReadFrom,
};
use meridian_core::vocabulary::{Namespace, Position};
use meridian_postgres::{PostgresHistory, Upkept};
use sqlx::Connection;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::server::{Server, incarnation};

const DAY_MS: u64 = 86_400_000;
const ALL: ReadBounds = ReadBounds { max_events: 10_000, max_bytes: usize::MAX, oldest_time_ms: 0 };

fn policies(days: u64) -> Policies {
    let retention = Retention { age_ms: days * DAY_MS, ..Policy::default().retention };
    let policy = Policy { retention, ..Policy::default() };
    Policies::new([(Namespace::parse("rooms").unwrap(), policy)].into())
}

async fn upkeep(history: &PostgresHistory, days: u64, today: u64) -> Upkept {
    loop {
        if let Some(upkept) = history.upkeep(&policies(days), today * DAY_MS).await.unwrap() {
            return upkept;
        }
    }
}

/// What is past the longest policy goes with its table; heads stay, and readers are told.
#[tokio::test]
async fn days_come_and_go() {
    let server = Server::shared().await;
    let history = server.open().await;
    let (mut samples, a, b) = (Samples::new(stream(1, 0)), channel("a"), channel("b"));
    let start = samples.position();
    let fence = history.claim(samples.stream(), 0).await.unwrap().fence;
    let mut of_a = Vec::new();
    for day in 0..40 {
        samples.time_ms = day * DAY_MS + 5;
        let mut batch = samples.events(&a, 2);
        of_a.extend(batch.clone());
        if day % 7 == 0 {
            batch.extend(samples.events(&b, 1));
        }
        history.commit(samples.stream(), samples.batch(fence, &batch)).await.unwrap();
    }
    let head_of_b =
        history.heads(&samples.stream().log, std::slice::from_ref(&b)).await.unwrap()[&b];
    let made = upkeep(&history, 100, 39).await;
    assert_eq!(made, Upkept { created: 2, pruned: 38, ..Upkept::default() });

    // All pages, over many tables; and the newest, over some.
    let mut after = start;
    let mut held = Vec::new();
    loop {
        let bounds = ReadBounds { max_events: 9, ..ALL };
        let read = history.read(&a, samples.stream(), ReadFrom::After(after), bounds).await;
        let HistoryRead::Events { gone: None, events, position, more } = read.unwrap() else {
            panic!()
        };
        (after, held) = (position, [held, events].concat());
        if !more {
            break;
        }
    }
    assert!(held.iter().eq(of_a.iter().map(|made| &made.event)));
    for count in [1, 2, 3, 11, 80, 81] {
        let read = history.read(&a, samples.stream(), ReadFrom::Last(count), ALL).await.unwrap();
        let HistoryRead::Events { events, .. } = read else { panic!() };
        assert!(events.iter().eq(of_a.iter().skip(80 - count.min(80)).map(|made| &made.event)));
    }

    let gone = upkeep(&history, 10, 39).await;
    assert_eq!(gone, Upkept { dropped: 29, ..Upkept::default() });
    assert_eq!(upkeep(&history, 10, 39).await, Upkept::default(), "nothing is left to do");
    let left = &of_a[58..];
    let read = history.read(&a, samples.stream(), ReadFrom::After(start), ALL).await.unwrap();
    let HistoryRead::Events { gone, events, position, more } = read else { panic!() };
    let through = of_a[57].event.position();
    assert_eq!(gone, Some(Gone { reason: GoneReason::Retention, through }));
    assert!(events.iter().eq(left.iter().map(|made| &made.event)));
    assert_eq!((position, more), (samples.position(), false));
    upkeep(&history, 1, 60).await;
    let read = history.read(&b, samples.stream(), ReadFrom::After(start), ALL).await.unwrap();
    let HistoryRead::Events { gone, events, .. } = read else { panic!() };
    assert_eq!(gone, Some(Gone { reason: GoneReason::Retention, through: head_of_b }));
    assert!(events.is_empty());
    let head = history.heads(&samples.stream().log, std::slice::from_ref(&b)).await.unwrap()[&b];
    assert_eq!(head, head_of_b);
    assert_eq!(server.number("SELECT count(*) FROM spans").await, 0);

    // An old record may come again, in a view that is built from the log.
    samples.time_ms = 5;
    let old = samples.events(&a, 1);
    history.commit(samples.stream(), samples.batch(fence, &old)).await.unwrap();
    history.close().await;
}

/// Upkeep removes of the window what no record can be compared with any more, and nothing else.
#[tokio::test]
async fn windows_are_pruned_beyond_w_and_d() {
    let server = Server::shared().await;
    let log = Incarnation { window_records: 10, window_ms: 1_000, ..incarnation() };
    let history = PostgresHistory::open(server.options.clone(), &log).await.unwrap();
    let mut samples = Samples::new(stream(1, 0));
    let fence = history.claim(samples.stream(), 0).await.unwrap().fence;
    let offsets = async || -> Vec<u64> {
        upkeep(&history, 100, 0).await;
        let window = history.claim(&stream(1, 0), 1 << 17).await.unwrap().window;
        window.iter().map(|row| row.offset.0).collect()
    };
    for _ in 0..8 {
        let events = samples.events(&channel("a"), 4);
        history.commit(samples.stream(), samples.batch(fence, &events)).await.unwrap();
    }
    assert_eq!(offsets().await, (20..32).collect::<Vec<u64>>(), "whole batches, ten at least");

    // What was pruned still counts after the claim.
    samples.time_ms += 1_001;
    let fence = history.claim(samples.stream(), 0).await.unwrap().fence;
    let events = samples.events(&channel("a"), 4);
    history.commit(samples.stream(), samples.batch(fence, &events)).await.unwrap();
    assert_eq!(offsets().await, (32..36).collect::<Vec<u64>>());
    history.close().await;
}

/// Of several at once, each day is dropped once, and nobody fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routers_keep_up_side_by_side() {
    let server = Server::shared().await;
    let mut routers = JoinSet::new();
    for _ in 0..4 {
        let history = server.open().await;
        routers.spawn(async move {
            let mut sum = Upkept::default();
            for today in 1..12 {
                if let Some(upkept) = history.upkeep(&policies(2), today * DAY_MS).await.unwrap() {
                    sum.created += upkept.created;
                    sum.dropped += upkept.dropped;
                }
            }
            sum
        });
    }
    let sums = routers.join_all().await;
    let history = server.open().await;
    let last = upkeep(&history, 2, 11).await;
    let created: usize = sums.iter().map(|sum| sum.created).sum::<usize>() + last.created;
    let dropped: usize = sums.iter().map(|sum| sum.dropped).sum::<usize>() + last.dropped;
    let left = server.number("SELECT count(*) FROM days").await as usize;
    assert_eq!(created, dropped + left);
    assert_eq!(server.number("SELECT count(*) FROM days WHERE NOT attached").await, 0);
    assert!(server.number("SELECT min(day)::int8 FROM days").await >= 9);
    history.close().await;
}

/// A reader that takes its time keeps a day's table, and nothing else: upkeep gives up, and whoever
/// reads and writes meanwhile does not notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_postpones_and_blocks_nobody() {
    let mut server = Server::shared().await;
    server.options.lock_timeout = Duration::from_millis(300);
    let history = server.open().await;
    let (mut samples, a) = (Samples::new(stream(1, 0)), channel("a"));
    let start = samples.position();
    let fence = history.claim(samples.stream(), 0).await.unwrap().fence;
    for day in 0..4 {
        samples.time_ms = day * DAY_MS;
        let events = samples.events(&a, 3);
        history.commit(samples.stream(), samples.batch(fence, &events)).await.unwrap();
    }
    let mut slow = server.connect().await;
    let mut slow = slow.begin().await.unwrap();
    sqlx::raw_sql("SELECT count(*) FROM events").execute(&mut *slow).await.unwrap();
    let postponed = upkeep(&history, 1, 3).await;
    assert_eq!((postponed.dropped, postponed.postponed), (0, 1));
    let detaching = "SELECT count(*) FROM days WHERE detaching";
    assert_eq!(server.number(detaching).await, 1);

    // Into the very day, and past it.
    for day in [3, 9] {
        samples.time_ms = day * DAY_MS;
        let events = samples.events(&a, 3);
        history.commit(samples.stream(), samples.batch(fence, &events)).await.unwrap();
    }
    let read = history.read(&a, samples.stream(), ReadFrom::After(start), ALL).await.unwrap();
    assert!(matches!(read, HistoryRead::Events { gone: Some(_), .. }), "{read:?}");
    slow.rollback().await.unwrap();
    // A day that was to go makes room for an old record.
    samples.time_ms = 1;
    let old = samples.events(&a, 1);
    history.commit(samples.stream(), samples.batch(fence, &old)).await.unwrap();
    assert_eq!(server.number(detaching).await, 0);
    assert_eq!(server.number("SELECT count(*) FROM events WHERE time_ms < 86400000").await, 1);
    assert_eq!(upkeep(&history, 1, 3).await.dropped, 2);
    history.close().await;
}

/// What two writers and two readers share with the one who turns the days.
#[derive(Default)]
struct Shared {
    day: AtomicU64,
    slowest_ms: AtomicU64,
    calls: AtomicU64,
}

impl Shared {
    fn note(&self, began: Instant) {
        self.slowest_ms.fetch_max(began.elapsed().as_millis() as u64, Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
    }
}

async fn write(
    history: PostgresHistory,
    partition: u32,
    shared: Arc<Shared>,
    stopped: watch::Receiver<bool>,
) {
    let (mut samples, key) = (Samples::new(stream(1, partition)), channel(&partition.to_string()));
    let fence = history.claim(samples.stream(), 0).await.unwrap().fence;
    while !*stopped.borrow() {
        samples.time_ms = shared.day.load(Ordering::Relaxed) * DAY_MS;
        let events = samples.events(&key, 5);
        let began = Instant::now();
        history.commit(samples.stream(), samples.batch(fence, &events)).await.unwrap();
        shared.note(began);
    }
}

async fn read(
    history: PostgresHistory,
    partition: u32,
    shared: Arc<Shared>,
    stopped: watch::Receiver<bool>,
) {
    let (stream, key) = (stream(1, partition), channel(&partition.to_string()));
    let from = ReadFrom::After(Position::start_of(stream.epoch));
    let bounds = ReadBounds { max_events: 200, ..ALL };
    while !*stopped.borrow() {
        let began = Instant::now();
        history.read(&key, &stream, from, bounds).await.unwrap();
        shared.note(began);
    }
}

/// While days are made and dropped as fast as they can be, no read and no commit takes as long as a
/// lock's timeout, and none fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_upkeep() {
    const DAYS: u64 = 25;
    let server = Server::shared().await;
    let ((stop, stopped), shared) = (watch::channel(false), Arc::new(Shared::default()));
    let mut others = JoinSet::new();
    for partition in 0..2 {
        others.spawn(write(server.open().await, partition, shared.clone(), stopped.clone()));
        others.spawn(read(server.open().await, partition, shared.clone(), stopped.clone()));
    }
    let (history, mut dropped) = (server.open().await, 0);
    for day in 0..DAYS {
        shared.day.store(day, Ordering::Relaxed);
        dropped += upkeep(&history, 2, day).await.dropped;
        let calls = shared.calls.load(Ordering::Relaxed);
        while shared.calls.load(Ordering::Relaxed) < calls + 20 {
            assert!(others.try_join_next().is_none(), "one of them ended");
            tokio::task::yield_now().await;
        }
    }
    stop.send(true).unwrap();
    others.join_all().await;
    assert!(dropped > 15, "{dropped}");
    let slowest = Duration::from_millis(shared.slowest_ms.load(Ordering::Relaxed));
    assert!(slowest < server.options.lock_timeout, "{slowest:?}");
}
