//! The history's suite on SQLite.

use async_trait::async_trait;
use meridian_core::embedded::{HistoryOptions, SqliteHistory};
use meridian_core::policy::{DeliveryClass, FeedBounds, Policies, Policy, Retention};
use meridian_core::seams::Incarnation;
use meridian_core::seams::conformance::history::{self as suite, HistoryFixture};
use meridian_core::vocabulary::{ChannelKey, Epoch, LogName, Namespace};
use tempfile::TempDir;

struct Fixture(TempDir);

#[async_trait]
impl HistoryFixture for Fixture {
    type History = SqliteHistory;

    async fn open(&self) -> SqliteHistory {
        let file = self.0.path().join("history.sqlite");
        SqliteHistory::open(&file, HistoryOptions::default(), &incarnation()).await.unwrap()
    }

    async fn shut(&self, history: SqliteHistory) {
        history.close().await;
    }

    async fn retain(&self, history: &SqliteHistory, key: &ChannelKey, keep: u64) {
        let retention = Retention { events: keep, bytes: u64::MAX, age_ms: u64::MAX };
        let policies = policies(key.channel.namespace(), retention);
        while !history.retain(&policies, 0).await.unwrap().complete {}
    }
}

/// The log that the history is a view of.
pub(crate) fn incarnation() -> Incarnation {
    Incarnation {
        log: LogName::parse("global").unwrap(),
        epoch: Epoch(1),
        identity: "a log".into(),
        partitions: 8,
        window_records: 1 << 17,
        window_ms: 86_400_000,
    }
}

/// One namespace with a retention.
pub(crate) fn policies(namespace: &str, retention: Retention) -> Policies {
    let policy = Policy {
        class: DeliveryClass::Strict,
        zone: LogName::parse("global").unwrap(),
        retention,
        feed: FeedBounds { keys: 0, bytes: 0 },
        event_bytes: 64 << 10,
        subscribe: Default::default(),
        publish: Default::default(),
    };
    Policies::new([(Namespace::parse(namespace).unwrap(), policy)].into())
}

#[tokio::test]
async fn conformance() {
    suite::all(|| Fixture(TempDir::new().unwrap())).await;
}
