//! The suite of the acknowledged positions' log on SQLite.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use meridian_core::embedded::{SqliteAckReader, SqliteAcks};
use meridian_core::seams::conformance::acks::{self as suite, AckFixture};
use meridian_core::seams::{AckLog, AckLogError, KeyedAck};
use meridian_core::vocabulary::LogName;
use tempfile::TempDir;

struct Fixture(TempDir);

/// As the suite takes it.
struct Acks(Arc<SqliteAcks>);

#[async_trait]
impl AckLog for Acks {
    fn log(&self) -> &LogName {
        self.0.log()
    }

    async fn append(&self, acks: Vec<KeyedAck>) -> Result<(), AckLogError> {
        self.0.append(acks).await
    }
}

impl Fixture {
    fn file(&self) -> PathBuf {
        self.0.path().join("acks.sqlite")
    }
}

#[async_trait]
impl AckFixture for Fixture {
    type Log = Acks;
    type Reader = SqliteAckReader;

    async fn open(&self) -> Acks {
        Acks(SqliteAcks::open(&self.file(), LogName::parse("global").unwrap()).await.unwrap())
    }

    async fn reader(&self, log: &Acks, _: &str) -> SqliteAckReader {
        log.0.reader()
    }

    async fn shut(&self, log: Acks) {
        log.0.close().await;
    }

    async fn append_raw(&self, log: &Acks, key: Vec<u8>, value: Vec<u8>) {
        log.0.append_stored(vec![(key, value)]).await.unwrap();
    }
}

#[tokio::test]
async fn conformance() {
    suite::all(|| Fixture(TempDir::new().unwrap())).await;
}
