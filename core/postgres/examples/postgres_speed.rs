//! Measures the history on a local PostgreSQL: `cargo run --release -p meridian-postgres --example
//! postgres_speed -- [postgres://…]` (a schema `meridian_speed` is left there; without an address a
//! server is started, whose fsync is off). Prints wall time.
#![allow(clippy::unwrap_used, reason = "a measurement fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use meridian_core::seams::conformance::{Samples, channel, stream};
use meridian_core::seams::{
    Acknowledged, AcknowledgedKey, History, HistoryRead, Incarnation, ReadBounds, ReadFrom,
};
use meridian_core::vocabulary::{
    ChannelKey, Cursor, Epoch, LogName, Position, SubscriberName, UserId,
};
use meridian_postgres::{Options, PostgresHistory, Tls, migrate};
use meridian_stack::{Counts, Stack};

const BATCHES: usize = 100;
const ROWS: usize = 1_000;
const CHANNELS: usize = 200;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let given = std::env::args().nth(1);
    let stack = given.is_none().then(|| Stack::start(Counts { postgres: 1, ..Counts::default() }));
    let url =
        stack.as_ref().map_or_else(|| given.clone().unwrap(), |stack| stack.postgres(1).into());
    let mut options = Options::new(url);
    options.schema = "meridian_speed".into();
    options.tls = Tls::Off;
    migrate(&options).await.unwrap();
    let log = Incarnation {
        log: LogName::parse("global").unwrap(),
        epoch: Epoch(1),
        identity: "speed".into(),
        partitions: 64,
        window_records: 1 << 17,
        window_ms: 86_400_000,
    };
    let history = Arc::new(PostgresHistory::open(options, &log).await.unwrap());
    for writers in [1, 4] {
        commits(&history, writers).await;
    }
    claims(&history).await;
    reads(&history, "100 after a position", ReadFrom::After).await;
    reads(&history, "the newest 100", |_| ReadFrom::Last(100)).await;
    idle_reads(&history).await;
    acknowledges(&history).await;
    history.close().await;
}

fn key(partition: usize, number: usize) -> ChannelKey {
    channel(&format!("{partition}-{number}"))
}

/// Batches of 1,000 events of 200 bytes on 200 channels, each partition by its own writer.
async fn commits(history: &Arc<PostgresHistory>, writers: usize) {
    let mut tasks = tokio::task::JoinSet::new();
    let begun = Instant::now();
    for writer in 0..writers {
        let history = history.clone();
        tasks.spawn(async move {
            let partition = writers * 10 + writer;
            let mut samples = Samples::new(stream(1, partition as u32));
            let claim = history.claim(samples.stream(), 0).await.unwrap();
            let mut took = Vec::new();
            for _ in 0..BATCHES {
                let data = "x".repeat(200);
                let events: Vec<_> = (0..ROWS)
                    .map(|i| samples.event(&key(partition, i % CHANNELS), &data))
                    .collect();
                let batch = samples.batch(claim.fence, &events);
                let begun = Instant::now();
                history.commit(samples.stream(), batch).await.unwrap();
                took.push(begun.elapsed());
            }
            took
        });
    }
    let took = tasks.join_all().await.concat();
    let rows = (took.len() * ROWS) as f64 / begun.elapsed().as_secs_f64();
    println!("commit, {writers} at once: {rows:.0} rows/s; a batch of {ROWS}: {}", spread(took));
}

async fn claims(history: &PostgresHistory) {
    let begun = Instant::now();
    let claim = history.claim(&stream(1, 10), 1 << 17).await.unwrap();
    println!("claim with {} window rows: {:?}", claim.window.len(), begun.elapsed());
}

async fn reads(history: &PostgresHistory, what: &str, from: fn(Position) -> ReadFrom) {
    let (start, mut took) = (Position::start_of(Epoch(1)), Vec::new());
    let bounds = ReadBounds { max_events: 100, max_bytes: 1 << 20, oldest_time_ms: 0 };
    for i in 0..1_000 {
        let after = Position { passed: (i as i64 * 37) % 60_000, ..start };
        let begun = Instant::now();
        let key = key(10, i % CHANNELS);
        let read = history.read(&key, &stream(1, 10), from(after), bounds).await.unwrap();
        took.push(begun.elapsed());
        assert!(matches!(read, HistoryRead::Events { events, .. } if events.len() == 100));
    }
    println!("read {what}: {}", spread(took));
}

async fn idle_reads(history: &PostgresHistory) {
    let bounds = ReadBounds { max_events: 100, max_bytes: 1 << 20, oldest_time_ms: 0 };
    let mut took = Vec::new();
    for i in 0..1_000 {
        let after = Position { epoch: Epoch(1), passed: (BATCHES * ROWS) as i64 - 1 };
        let begun = Instant::now();
        let key = key(10, i % CHANNELS);
        history.read(&key, &stream(1, 10), ReadFrom::After(after), bounds).await.unwrap();
        took.push(begun.elapsed());
    }
    println!("read nothing new: {}", spread(took));
}

async fn acknowledges(history: &PostgresHistory) {
    let mut took = Vec::new();
    for round in 0..20 {
        let acks = (0..ROWS).map(|i| {
            let key = key(10, i % CHANNELS);
            let key = AcknowledgedKey {
                tenant: key.tenant,
                user: UserId::parse(&format!("user {i}")).unwrap(),
                subscriber: SubscriberName::parse("phone").unwrap(),
                channel: key.channel,
            };
            let position = Position { epoch: Epoch(1), passed: round };
            let of = stream(1, 10);
            let cursor = Cursor { log: of.log, partition: of.partition, position };
            (key, Acknowledged { generation: 0, cursor })
        });
        let acks = acks.collect();
        let begun = Instant::now();
        history.acknowledge(acks).await.unwrap();
        took.push(begun.elapsed());
    }
    println!("acknowledge {ROWS} positions: {}", spread(took));
}

fn spread(mut took: Vec<Duration>) -> String {
    took.sort();
    let at = |per_mille: usize| took[(took.len() - 1) * per_mille / 1_000];
    format!("p50 {:?}, p99 {:?}", at(500), at(990))
}
