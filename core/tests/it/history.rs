//! The history's suite on SQLite.

use async_trait::async_trait;
use meridian_core::embedded::{HistoryOptions, OpenError, SqliteHistory};
use meridian_core::policy::{DeliveryClass, FeedBounds, Policies, Policy, Retention};
use meridian_core::seams::conformance::history::{self as suite, HistoryFixture};
use meridian_core::seams::conformance::{Printed, Samples, channel, seeds, stream};
use meridian_core::seams::{History, Incarnation};
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
        polling_ms: 0,
        mode: None,
        subscribe: Default::default(),
        publish: Default::default(),
    };
    Policies::new([(Namespace::parse(namespace).unwrap(), policy)].into())
}

#[tokio::test]
async fn conformance() {
    suite::all(|| Fixture(TempDir::new().unwrap())).await;
}

#[tokio::test]
async fn no_reader_is_misled() {
    for seed in seeds(15) {
        let _printed = Printed(seed);
        suite::no_reader_is_misled(&Fixture(TempDir::new().unwrap()), seed).await;
    }
}

/// A sweep removes of the window what no record can be compared with any more, and nothing else.
#[tokio::test]
async fn windows_are_pruned_beyond_w_and_d() {
    let folder = TempDir::new().unwrap();
    let log = Incarnation { window_records: 10, window_ms: 1_000, ..incarnation() };
    let file = folder.path().join("history.sqlite");
    let history = SqliteHistory::open(&file, HistoryOptions::default(), &log).await.unwrap();
    let mut samples = Samples::new(stream(1, 0));
    let fence = history.claim(samples.stream(), 0).await.unwrap().fence;
    let keep = Retention { events: u64::MAX, bytes: u64::MAX, age_ms: u64::MAX };
    let policies = policies("rooms", keep);
    let offsets = async || -> Vec<u64> {
        assert!(history.retain(&policies, 0).await.unwrap().complete);
        let window = history.claim(&stream(1, 0), 1 << 17).await.unwrap().window;
        window.iter().map(|row| row.offset.0).collect()
    };
    for _ in 0..8 {
        let events = samples.events(&channel("a"), 4);
        history.commit(samples.stream(), samples.batch(fence, &events)).await.unwrap();
    }
    assert_eq!(offsets().await, (20..32).collect::<Vec<u64>>(), "whole batches, ten at least");

    // A pruned total goes on after the claim.
    samples.time_ms += 1_001;
    let fence = history.claim(samples.stream(), 0).await.unwrap().fence;
    let events = samples.events(&channel("a"), 4);
    history.commit(samples.stream(), samples.batch(fence, &events)).await.unwrap();
    assert_eq!(offsets().await, (32..36).collect::<Vec<u64>>());
    history.close().await;
}

/// More than one transaction's worth in a channel, and more channels than one step looks at.
#[tokio::test]
async fn a_sweep_is_complete() {
    let fixture = Fixture(TempDir::new().unwrap());
    let history = fixture.open().await;
    let mut samples = Samples::new(stream(1, 0));
    let fence = history.claim(samples.stream(), 0).await.unwrap().fence;
    let mut events = samples.events(&channel("large"), 2_000);
    for i in 0..600 {
        events.extend(samples.events(&channel(&format!("c{i}")), 2));
    }
    history.commit(samples.stream(), samples.batch(fence, &events)).await.unwrap();
    let keep = Retention { events: 1, bytes: u64::MAX, age_ms: u64::MAX };
    let policies = policies("rooms", keep);
    let (mut removed, mut steps) = (0, 0);
    loop {
        let swept = history.retain(&policies, 0).await.unwrap();
        (removed, steps) = (removed + swept.events, steps + 1);
        if swept.complete {
            break;
        }
    }
    assert_eq!((removed, steps), (1_999 + 600, 3));
    assert_eq!(history.retain(&policies, 0).await.unwrap().events, 0);
    history.close().await;
}

/// Nor does a history serve two logs.
#[tokio::test]
async fn another_log_is_refused() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("history.sqlite");
    let open = async |log: Incarnation| {
        let opened = SqliteHistory::open(&file, HistoryOptions::default(), &log).await;
        if let Ok(history) = &opened {
            history.close().await;
        }
        opened.map(|_| ()).map_err(|error| matches!(error, OpenError::OtherLog))
    };
    let later = Incarnation { epoch: Epoch(2), identity: "its next".into(), ..incarnation() };
    let other = LogName::parse("other").unwrap();
    assert_eq!(open(incarnation()).await, Ok(()));
    assert_eq!(
        open(Incarnation { identity: "recreated".into(), ..incarnation() }).await,
        Err(true)
    );
    assert_eq!(open(incarnation()).await, Ok(()), "a refused log leaves nothing behind");
    assert_eq!(open(later).await, Ok(()));
    assert_eq!(open(incarnation()).await, Err(true), "an epoch that has passed");
    assert_eq!(open(Incarnation { log: other, ..incarnation() }).await, Err(true));
}
