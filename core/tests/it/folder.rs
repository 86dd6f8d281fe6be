//! A data folder: opened once, by one process, with stores that belong together.

use std::num::NonZeroUsize;
use std::path::Path;

use meridian_core::embedded::{
    Embedded, Keep, LogOptions, OpenError, Options, open, open_regions, retain,
};
use meridian_core::policy::Retention;
use meridian_core::seams::conformance::{Samples, channel, stream};
use meridian_core::seams::{History, Log};
use meridian_core::vocabulary::{Offset, Partition};
use tempfile::TempDir;

use crate::history::policies;
use crate::records;

async fn open_default(folder: &Path) -> Result<Embedded, OpenError> {
    open(folder, Options::default()).await
}

#[tokio::test]
async fn a_second_opener_is_told_so() {
    let folder = TempDir::new().unwrap();
    let inside = folder.path().join("made/on/demand");
    let first = open_default(&inside).await.unwrap();
    let second = open_default(&inside).await.err().unwrap();
    assert!(matches!(second, OpenError::InUse { .. }), "{second}");
    first.close().await;
    let third = open_default(&inside).await.unwrap();
    drop(first);
    third.close().await;
}

/// Handles that are dropped without a word give the folder free, too.
#[tokio::test]
async fn a_dropped_folder_opens_again() {
    let folder = TempDir::new().unwrap();
    for round in 0..5 {
        let stores = records::eventually(async || open_default(folder.path()).await.ok()).await;
        let sent = records::of("a", 3, round, &*stores.log);
        assert!(stores.log.append(sent).await.iter().all(Result::is_ok));
        let partition = stores.log.partition(&channel("a"));
        assert_eq!(stores.log.end(partition).await, Ok(Offset(3 * (round as u64 + 1))));
    }
}

/// SQLite removes the write-ahead log with a file's last connection.
#[tokio::test]
async fn a_closed_folder_is_whole_and_nobodys() {
    let folder = TempDir::new().unwrap();
    for round in 0..20 {
        let stores = open_default(folder.path()).await.unwrap();
        let sent = records::of("a", 1, round, &*stores.log);
        assert!(stores.log.append(sent).await.iter().all(Result::is_ok));
        stores.close().await;
        let files = std::fs::read_dir(folder.path()).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let left: Vec<_> = names.filter(|name| name.ends_with("-wal")).collect();
        assert!(left.is_empty(), "round {round}: {left:?}");
    }
}

#[tokio::test]
async fn a_history_of_another_log_is_refused() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    open_default(one.path()).await.unwrap().close().await;
    open_default(two.path()).await.unwrap().close().await;
    copy(one.path(), two.path(), "log.sqlite");
    let refused = open_default(two.path()).await.err().unwrap();
    assert!(matches!(refused, OpenError::OtherLog), "{refused:?}");
}

#[tokio::test]
async fn a_history_beyond_the_logs_end_is_refused() {
    let (folder, backup) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let stores = open_default(folder.path()).await.unwrap();
    stores.close().await;
    copy(folder.path(), backup.path(), "log.sqlite");

    let stores = open_default(folder.path()).await.unwrap();
    let partition = stores.log.partition(&channel("a"));
    stores.log.append(records::of("a", 3, 0, &*stores.log)).await;
    let mut samples = Samples::new(stream(1, partition.0));
    let fence = stores.history.claim(samples.stream(), 0).await.unwrap().fence;
    let events = samples.events(&channel("a"), 3);
    stores.history.commit(samples.stream(), samples.batch(fence, &events)).await.unwrap();
    stores.close().await;
    open_default(folder.path()).await.unwrap().close().await;

    copy(backup.path(), folder.path(), "log.sqlite");
    let refused = open_default(folder.path()).await.err().unwrap();
    let expected = |error: &OpenError| {
        matches!(error, OpenError::LogLostRecords { checkpoint: 2, end: 0, .. })
    };
    assert!(expected(&refused), "{refused}");
}

#[tokio::test]
async fn what_an_epoch_fixes_can_not_change() {
    let folder = TempDir::new().unwrap();
    open_default(folder.path()).await.unwrap().close().await;
    let log = LogOptions { partitions: 16, ..LogOptions::default() };
    let refused = open(folder.path(), Options { log, ..Options::default() }).await.err().unwrap();
    assert_eq!(refused.to_string(), "the log's number of partitions is 8 and can't become 16");
    let log = LogOptions { partitions: 0, ..LogOptions::default() };
    let refused = open(folder.path(), Options { log, ..Options::default() }).await.err().unwrap();
    assert!(matches!(refused, OpenError::Partitions { .. }), "{refused}");
}

/// The log keeps what the history has not worked off, and the last record that it has.
#[tokio::test]
async fn the_log_is_kept_as_long_as_the_history_needs_it() {
    let folder = TempDir::new().unwrap();
    let log = LogOptions { window_ms: 0, ..LogOptions::default() };
    let mut time = 1_000_000;
    let now = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(time));
    let clock = now.clone();
    let clock: meridian_core::embedded::Clock =
        std::sync::Arc::new(move || clock.load(std::sync::atomic::Ordering::Relaxed));
    let stores = open(folder.path(), Options { log, clock, ..Options::default() }).await.unwrap();
    let partition = stores.log.partition(&channel("a"));
    for round in 0..10 {
        stores.log.append(records::of("a", 1, round, &*stores.log)).await;
    }
    time += 1;
    now.store(time, std::sync::atomic::Ordering::Relaxed);
    let (keep, retention) = (
        Keep { records: Some(0), age_ms: None },
        Retention { events: 10, bytes: u64::MAX, age_ms: u64::MAX },
    );
    let policies = policies("rooms", retention);
    stores.retain(&policies, keep).await.unwrap();
    assert_eq!(stores.log.begin(partition), Ok(Offset(0)), "no checkpoint, no removal");

    let mut samples = Samples::new(stream(1, partition.0));
    let fence = stores.history.claim(samples.stream(), 0).await.unwrap().fence;
    let events = samples.events(&channel("a"), 7);
    stores.history.commit(samples.stream(), samples.batch(fence, &events)).await.unwrap();
    let (_, trimmed) = stores.retain(&policies, keep).await.unwrap();
    assert_eq!((trimmed.records, trimmed.more), (6, false));
    assert_eq!(stores.log.begin(partition), Ok(Offset(6)));
    assert_eq!(stores.log.read(partition, Offset(6), 9, usize::MAX).await.unwrap().len(), 4);
    assert_eq!(stores.log.begin(Partition(99)), Err(meridian_core::seams::LogError::Unavailable));
    stores.close().await;
}

/// Regions of one log have views of their own, and the log waits for the slowest.
#[tokio::test]
async fn the_log_is_kept_as_long_as_any_region_needs_it() {
    let folder = TempDir::new().unwrap();
    let two = NonZeroUsize::new(2).unwrap();
    let options = || {
        let log = LogOptions { window_ms: 0, ..LogOptions::default() };
        Options { log, ..Options::default() }
    };
    let regions = open_regions(folder.path(), two, options()).await.unwrap();
    let partition = regions[0].log.partition(&channel("a"));
    for round in 0..10 {
        regions[1].log.append(records::of("a", 1, round, &*regions[1].log)).await;
    }
    assert_eq!(regions[0].log.end(partition).await, Ok(Offset(10)), "it is one log");

    let retention = Retention { events: 10, bytes: u64::MAX, age_ms: u64::MAX };
    let (keep, policies) = (Keep { records: Some(0), age_ms: None }, policies("rooms", retention));
    let mut samples = Samples::new(stream(1, partition.0));
    let events = samples.events(&channel("a"), 7);
    for (region, begin) in regions.iter().zip([0, 6]) {
        let fence = region.history.claim(samples.stream(), 0).await.unwrap().fence;
        region.history.commit(samples.stream(), samples.batch(fence, &events)).await.unwrap();
        // The log's time is in milliseconds: what was appended in this one is not older than it.
        records::eventually(async || {
            retain(&regions, &policies, keep).await.unwrap();
            (region.log.begin(partition) == Ok(Offset(begin))).then_some(())
        })
        .await;
    }
    for region in &regions {
        region.close().await;
    }
    drop(regions);
    let alone = open(folder.path(), options()).await.unwrap();
    assert_eq!(alone.history.checkpoints(&[samples.stream().clone()]).await.unwrap().len(), 1);
    alone.close().await;
}

/// A closed store's file, with what a checkpoint has not moved into it yet.
fn copy(from: &Path, to: &Path, file: &str) {
    for ending in ["", "-wal", "-shm"] {
        let name = format!("{file}{ending}");
        let _ = std::fs::remove_file(to.join(&name));
        if from.join(&name).exists() {
            std::fs::copy(from.join(&name), to.join(&name)).unwrap();
        }
    }
}
