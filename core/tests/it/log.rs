//! The log's suite on SQLite, and what the SQLite log promises beyond it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use meridian_core::embedded::{Clock, Keep, LogOptions, SqliteLog};
use meridian_core::seams::Log;
use meridian_core::seams::conformance::log::{self as suite, LogFixture};
use meridian_core::vocabulary::{Offset, Partition};
use tempfile::TempDir;

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
