//! Epochs: made once, recognised again, ended by another topic or by the next one.

use std::time::{Duration, Instant};

use meridian_core::seams::conformance::channel;
use meridian_core::seams::{AppendError, Log as _, LogError};
use meridian_core::vocabulary::{Epoch, Offset, Partition};
use meridian_kafka::{Ended, KafkaLog, LogState, OpenError, new_epoch};
use tokio::sync::watch;

use crate::help::{append_one, broker, delete, eventually, global, open, options, recreate};

async fn ended(mut state: watch::Receiver<LogState>) -> (Ended, Duration) {
    let started = Instant::now();
    let ended = state.wait_for(|state| state.ended().is_some());
    let ended = tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap().unwrap();
    (ended.ended().unwrap().clone(), started.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn epochs_are_recognised() {
    let stack = broker();
    let mut options = options(&stack, 4);

    // Two that open at once agree, and what they made is fixed.
    let (first, second) = tokio::join!(open(&options), open(&options));
    assert_eq!(first.record(), second.record());
    assert_eq!(first.incarnation().partitions, 4);
    second.close().await;
    options.topics.partitions = 5;
    options.topics.window_records = 7;
    let again = open(&options).await;
    assert_eq!(again.incarnation(), first.incarnation());
    again.close().await;

    a_recreated_topic_ends_the_handle(&options, first).await;

    // Nobody opens it as it is; the next epoch goes on.
    let refused = KafkaLog::open(options.clone(), global()).await.err().unwrap();
    assert!(matches!(refused, OpenError::OtherTopic { .. }), "{refused:?}");
    let next = new_epoch(options.clone(), global()).await.unwrap();
    assert_eq!((next.epoch, next.partitions, next.window_records), (2, 5, 7));
    let log = open(&options).await;
    assert_eq!(log.incarnation().epoch, Epoch(2));

    the_next_epoch_ends_the_handle(&options, log).await;

    // A topic that is gone is told as well, and one that nobody recorded is not taken.
    let log = open(&options).await;
    delete(&options, &log.record().topic).await;
    assert_eq!(ended(log.state()).await.0, Ended::Gone);
    log.close().await;
    let log = KafkaLog::open(options.clone(), "other".parse_name()).await.unwrap();
    append_one(&log, &channel("a"), "1").await.unwrap();
    log.close().await;
    delete(&options, &format!("{}.other.epochs", options.prefix)).await;
    let refused = eventually("the epochs are gone", async || {
        KafkaLog::open(options.clone(), "other".parse_name()).await.err()
    })
    .await;
    assert!(matches!(refused, OpenError::Unrecorded { .. }), "{refused:?}");
}

async fn a_recreated_topic_ends_the_handle(options: &meridian_kafka::Options, log: KafkaLog) {
    let key = channel("a");
    let partition = log.partition(&key);
    append_one(&log, &key, "1").await.unwrap();
    let waiting = tokio::spawn({
        let state = log.state();
        async move { ended(state).await }
    });
    recreate(options, &log.record().topic, 4).await;
    let started = Instant::now();
    let (why, _) = waiting.await.unwrap();
    // Between its two lives the topic may be found missing.
    assert!(matches!(why, Ended::Replaced { .. } | Ended::Gone), "{why:?}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(append_one(&log, &key, "2").await, Err(AppendError::Halted));
    let ended = LogError::Ended { why: why.to_string() };
    assert_eq!(log.read(partition, Offset(0), 1, 1).await, Err(ended.clone()));
    assert_eq!(log.end(partition).await, Err(ended.clone()));
    assert_eq!(log.wait_for(partition, Offset(9)).await, Err(ended));
    assert_eq!(log.halted(), Some(why.to_string()));
    log.close().await;
}

async fn the_next_epoch_ends_the_handle(options: &meridian_kafka::Options, old: KafkaLog) {
    let key = channel("a");
    append_one(&old, &key, "1").await.unwrap();
    let next = new_epoch(options.clone(), global()).await.unwrap();
    // Already now nothing more gets into the old topic.
    let refused = append_one(&old, &key, "2").await.unwrap_err();
    assert!(matches!(refused, AppendError::Unavailable | AppendError::WrongEpoch), "{refused:?}");
    let (why, took) = ended(old.state()).await;
    assert_eq!(why, Ended::Superseded { next: Epoch(3) });
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(append_one(&old, &key, "3").await, Err(AppendError::WrongEpoch));
    let held = old.read(old.partition(&key), Offset(0), 9, usize::MAX).await.unwrap();
    assert_eq!(held.len(), 1);
    old.close().await;
    let new = open(options).await;
    assert_eq!(new.record(), &next);
    let placed = append_one(&new, &key, "1").await.unwrap().cursor;
    assert_eq!((placed.position.epoch, placed.position.passed), (Epoch(3), 0));
    assert_eq!(new.end(Partition(99)).await, Err(LogError::Unavailable));
    new.close().await;
}

trait ParseName {
    fn parse_name(&self) -> meridian_core::vocabulary::LogName;
}

impl ParseName for str {
    fn parse_name(&self) -> meridian_core::vocabulary::LogName {
        meridian_core::vocabulary::LogName::parse(self).unwrap()
    }
}
