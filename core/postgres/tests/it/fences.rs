//! Writers that race: whoever was followed by another stores nothing, and what was answered `Ok` is
//! one chain.

use std::sync::Arc;

use meridian_core::seams::conformance::{Samples, channel, stream};
use meridian_core::seams::{CommitError, History, HistoryRead, ReadBounds, ReadFrom};
use meridian_core::vocabulary::Position;
use meridian_postgres::PostgresHistory;
use tokio::task::JoinSet;

use crate::server::Server;

const WRITERS: usize = 4;
const CLAIMS: usize = 12;
/// Batches that a writer stores before the others may follow it.
const BATCHES: usize = 5;

/// Each writer claims, goes on from the checkpoint as a router does, and stores until it is fenced.
/// Answers the positions that it was told are stored.
async fn write(history: Arc<PostgresHistory>, writer: usize) -> Vec<(u64, Position)> {
    let (key, mut told) = (channel("raced"), Vec::new());
    for claim in 0..CLAIMS {
        let claimed = history.claim(&stream(1, 0), 1_000).await.unwrap();
        let mut samples = Samples::new(stream(1, 0));
        // The events of a log are the same for every writer.
        if let Some(checkpoint) = &claimed.checkpoint {
            samples.events(&key, checkpoint.position.passed as usize + 1);
            let newest = claimed.window.last().unwrap().offset;
            assert_eq!(Position::at(checkpoint.position.epoch, newest), checkpoint.position);
        }
        for batch in 0.. {
            let events = samples.events(&key, 1 + (writer + claim + batch) % 4);
            let stored = history.commit(samples.stream(), samples.batch(claimed.fence, &events));
            match stored.await {
                Ok(()) => told.push((claimed.fence, samples.position())),
                Err(CommitError::Fenced) => break,
                Err(CommitError::Unavailable) => panic!("unavailable"),
            }
            if batch == BATCHES * (1 + writer) {
                break;
            }
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_writers_store_one_chain() {
    let server = Server::shared().await;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        // Each as a process of its own.
        writers.spawn(write(Arc::new(server.open().await), writer));
    }
    let mut told: Vec<(u64, Position)> = writers.join_all().await.concat();
    told.sort();
    assert!(told.is_sorted_by_key(|(_, position)| *position), "a zombie stored: {told:?}");

    let history = server.open().await;
    let bounds = ReadBounds { max_events: 1 << 20, max_bytes: usize::MAX, oldest_time_ms: 0 };
    let from = ReadFrom::After(Position::start_of(stream(1, 0).epoch));
    let read = history.read(&channel("raced"), &stream(1, 0), from, bounds).await.unwrap();
    let HistoryRead::Events { gone: None, events, .. } = read else { panic!("{read:?}") };
    let mut samples = Samples::new(stream(1, 0));
    let expected = samples.events(&channel("raced"), events.len());
    assert!(events.iter().zip(&expected).all(|(event, made)| {
        (event.position(), event.prev) == (made.event.position(), made.event.prev)
    }));
    assert!(told.iter().all(|(_, position)| *position <= samples.position()));
    let window = history.claim(&stream(1, 0), usize::MAX).await.unwrap().window;
    assert!(window.iter().map(|row| row.offset.0).eq(0..events.len() as u64), "each record once");
    history.close().await;
}

/// A commit whose caller gave up goes on in the server: the successor waits for it, and then the
/// zombie's next one is refused.
#[tokio::test]
async fn a_claim_waits_for_the_commit_under_way() {
    let server = Server::shared().await;
    let history = server.open().await;
    let (mut samples, key) = (Samples::new(stream(1, 0)), channel("a"));
    let fence = history.claim(samples.stream(), 0).await.unwrap().fence;
    let first = samples.events(&key, 2);
    history.commit(samples.stream(), samples.batch(fence, &first)).await.unwrap();

    // Holds the channel's row, so that the commit stops in its middle.
    let mut blocker = server.connect().await;
    sqlx::raw_sql("BEGIN; SELECT FROM channels FOR UPDATE").execute(&mut blocker).await.unwrap();
    let second = samples.events(&key, 2);
    let history = Arc::new(history);
    let (committing, claiming) = (history.clone(), history.clone());
    let (stream, batch) = (samples.stream().clone(), samples.batch(fence, &second));
    let commit = tokio::spawn(async move { committing.commit(&stream, batch).await });
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE ";
    let waits = async |what: &str, schema: &str| {
        let sql = format!(
            "{waiting} '%{what}%' AND pid IN (SELECT pid FROM pg_locks WHERE relation = '{schema}.streams'::regclass)"
        );
        while server.number(&sql).await == 0 {
            tokio::task::yield_now().await;
        }
    };
    waits("commit_batch", &server.options.schema).await;
    let stream = samples.stream().clone();
    let claim = tokio::spawn(async move { claiming.claim(&stream, 100).await });
    waits("fence + 1", &server.options.schema).await;
    sqlx::raw_sql("COMMIT").execute(&mut blocker).await.unwrap();

    assert_eq!(commit.await.unwrap(), Ok(()));
    let claimed = claim.await.unwrap().unwrap();
    assert_eq!(claimed.checkpoint, Some(samples.checkpoint()), "it saw the commit");
    assert_eq!(claimed.window.len(), 4);
    let third = samples.events(&key, 1);
    let zombie = history.commit(samples.stream(), samples.batch(fence, &third)).await;
    assert_eq!(zombie, Err(CommitError::Fenced));
}
