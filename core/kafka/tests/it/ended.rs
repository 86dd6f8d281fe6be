//! What a handle makes of a log that changed while nobody looked: a broker that lost its last records, and
//! one that was away when the handle was opened.

use std::time::{Duration, Instant};

use meridian_core::seams::conformance::channel;
use meridian_core::seams::{AppendError, Log as _, LogError};
use meridian_core::vocabulary::{Offset, Partition};
use meridian_kafka::{Ended, EpochRecord, KafkaLog, LogState};

use crate::help::{append_one, broker, eventually, global, open, options, recreate};

/// Whoever has read the lost records must not go on behind them as if nothing was; whether it
/// waits for more or stands somewhere before the new end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_lost_its_tail_and_grew_again_is_not_followed() {
    let stack = broker();
    let options = options(&stack, 1);
    let (log, key, partition) = (open(&options).await, channel("a"), Partition(0));
    for id in 0..5 {
        append_one(&log, &key, &format!("kept-{id}")).await.unwrap();
    }
    stack.kill("kafka1");
    let kept = stack.keep("kafka1", &format!("data/{}-0", log.record().topic));
    stack.restart("kafka1");
    eventually("ten records", async || {
        let _ = append_one(&log, &key, "lost").await;
        (log.known_end(partition) >= Offset(10)).then_some(())
    })
    .await;
    let read = log.read(partition, Offset(0), 99, usize::MAX).await.unwrap();
    let next = Offset(read.last().unwrap().offset.0 + 1);
    let waiting = async { log.wait_for(partition, next).await };
    let regrown = async {
        stack.kill("kafka1");
        stack.put_back(&kept);
        stack.restart("kafka1");
        let writer = open(&options).await;
        assert_eq!(writer.end(partition).await, Ok(Offset(5)));
        while append_one(&writer, &key, "other").await.unwrap().cursor.position.passed < 20 {}
        writer.close().await;
    };
    let (waited, ()) = tokio::join!(waiting, regrown);
    let found = match waited {
        Ok(()) => log.read(partition, next, 99, usize::MAX).await.map(|_| ()),
        Err(error) => Err(error),
    };
    // Shorter when it looked, or grown already.
    let shorter = matches!(found, Err(LogError::BeyondEnd { .. }));
    assert!(shorter || matches!(found, Err(LogError::Ended { .. })), "{found:?}");
    let found = eventually("an answer", async || {
        let read = log.read(partition, next, 99, usize::MAX).await;
        (read != Err(LogError::Unavailable)).then_some(read)
    })
    .await;
    assert!(matches!(found, Err(LogError::Ended { .. })), "{found:?}");
    // Who has read nothing of what was lost may read all of it.
    let other = open(&options).await;
    assert_eq!(other.read(partition, Offset(0), 99, usize::MAX).await.unwrap().len(), 21);
    other.close().await;
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_is_resumed_without_a_broker() {
    let stack = broker();
    let options = options(&stack, 4);
    let log = open(&options).await;
    let (key, incarnation) = (channel("a"), log.incarnation().clone());
    let partition = log.partition(&key);
    append_one(&log, &key, "before").await.unwrap();
    log.close().await;
    stack.kill("kafka1");

    let record = EpochRecord::of(&incarnation, &options).unwrap();
    let ends = vec![(partition, Offset(1))];
    let resume = || KafkaLog::resume(options.clone(), global(), record.clone(), ends.clone());
    let log = resume().await.unwrap();
    assert_eq!((log.incarnation(), log.known_end(partition)), (&incarnation, Offset(1)));
    let started = Instant::now();
    assert_eq!(append_one(&log, &key, "refused").await, Err(AppendError::Unavailable));
    assert_eq!(log.end(partition).await, Err(LogError::Unavailable));
    assert!(started.elapsed() < Duration::from_millis(200), "{:?}", started.elapsed());
    assert_eq!(*log.state().borrow(), LogState::Unproven);

    stack.restart("kafka1");
    eventually("appends", async || append_one(&log, &key, "after").await.ok()).await;
    assert_eq!(log.end(partition).await, Ok(Offset(2)));
    log.hold(Some("a reason".to_owned()));
    assert_eq!(append_one(&log, &key, "held").await, Err(AppendError::Halted));
    assert_eq!(log.halted().as_deref(), Some("a reason"));
    log.hold(None);
    append_one(&log, &key, "again").await.unwrap();
    log.close().await;

    recreate(&options, &record.topic, 4).await;
    let log = resume().await.unwrap();
    let mut state = log.state();
    let ended = state.wait_for(|state| *state != LogState::Unproven);
    let ended = tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap().unwrap();
    assert!(matches!(ended.ended(), Some(Ended::Replaced { .. })), "{ended:?}");
    drop(ended);
    assert_eq!(append_one(&log, &key, "refused").await, Err(AppendError::Halted));
    // A halted log goes on in another epoch all the same.
    meridian_kafka::new_epoch(options.clone(), global()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), log.superseded()).await.unwrap();
    log.close().await;
}
