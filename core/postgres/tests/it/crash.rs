//! A server that is killed while many commit: what was answered `Ok` is there, and nothing is there
//! by half.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use meridian_core::seams::conformance::{Samples, channel, stream};
use meridian_core::seams::{CommitError, History, HistoryRead, ReadBounds, ReadFrom};
use meridian_core::vocabulary::{ChannelKey, Partition, Position};
use meridian_postgres::PostgresHistory;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::server::Server;

pub(crate) const PARTITIONS: u32 = 6;
const KILLS: usize = 3;
/// Batches that are stored between two kills.
const BATCHES: usize = 150;

/// Stores until told to stop, repeating what was not answered; counts what was.
pub(crate) async fn write(
    history: Arc<PostgresHistory>,
    partition: u32,
    stop: watch::Receiver<bool>,
    stored: watch::Sender<usize>,
) -> (u32, Position) {
    let mut samples = Samples::new(stream(1, partition));
    let fence = history.claim(samples.stream(), 0).await.unwrap().fence;
    while !*stop.borrow() {
        let mut events = Vec::new();
        for i in 0..20 {
            events.push(samples.event(&key(partition, i % 5), &"x".repeat(200)));
        }
        let batch = samples.batch(fence, &events);
        loop {
            match history.commit(samples.stream(), batch.clone()).await {
                Ok(()) => break,
                Err(CommitError::Unavailable) => {}
                Err(CommitError::Fenced) => panic!("nobody else claims"),
            }
        }
        stored.send_modify(|count| *count += 1);
    }
    (partition, samples.position())
}

fn key(partition: u32, channel_number: u32) -> ChannelKey {
    channel(&format!("{partition}-{channel_number}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_kill_9() {
    let mut server = Server::own().await;
    server.options.patience = Duration::from_millis(1_500);
    let history = Arc::new(server.open().await);
    let ((stop, stopped), (stored, mut count)) = (watch::channel(false), watch::channel(0));
    let mut writers = JoinSet::new();
    for partition in 0..PARTITIONS {
        writers.spawn(write(history.clone(), partition, stopped.clone(), stored.clone()));
    }
    for kill in 1..=KILLS {
        count.wait_for(|count| *count >= kill * BATCHES).await.unwrap();
        server.stack.kill("pg1");
        server.stack.restart("pg1");
    }
    count.wait_for(|count| *count >= (KILLS + 1) * BATCHES).await.unwrap();
    stop.send(true).unwrap();
    let ends: HashMap<u32, Position> = writers.join_all().await.into_iter().collect();

    // As another process.
    let history = server.open().await;
    let streams: Vec<_> = (0..PARTITIONS).map(|partition| stream(1, partition)).collect();
    let checkpoints = history.checkpoints(&streams).await.unwrap();
    for (partition, end) in ends {
        assert_eq!(checkpoints[&Partition(partition)].position, end);
        check(&history, partition, end).await;
    }
}

/// Each event once, and each channel one chain.
pub(crate) async fn check(history: &PostgresHistory, partition: u32, end: Position) {
    let bounds = ReadBounds { max_events: 100, max_bytes: usize::MAX, oldest_time_ms: 0 };
    let mut offsets = Vec::new();
    for number in 0..5 {
        let mut after = Position::start_of(end.epoch);
        loop {
            let from = ReadFrom::After(after);
            let key = key(partition, number);
            let read = history.read(&key, &stream(1, partition), from, bounds).await.unwrap();
            let HistoryRead::Events { gone: None, events, position, more } = read else {
                panic!("{read:?}")
            };
            offsets.extend(events.iter().map(|event| event.offset.0));
            after = position;
            if !more {
                break;
            }
        }
        assert_eq!(after, end);
    }
    offsets.sort_unstable();
    assert!(offsets.iter().copied().eq(0..=end.passed as u64), "{} events", offsets.len());
}
