//! The suite of the log that acknowledged positions travel through.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{acknowledged, acknowledged_key as key};
use crate::seams::{AckLog, AckReader, Acknowledged, AcknowledgedKey, KeyedAck};

/// A reader that has nothing more to tell is waited for so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the suite gets at one kind of log. Each fixture is one log, empty at first.
#[async_trait]
pub trait AckFixture: Send + Sync {
    type Log: AckLog;
    type Reader: AckReader;

    /// Opens the log, also after `shut`, with what it held.
    async fn open(&self) -> Self::Log;

    /// A reader of a region.
    async fn reader(&self, log: &Self::Log, region: &str) -> Self::Reader;

    /// Ends a handle, as a process that stops.
    async fn shut(&self, log: Self::Log);

    /// Appends a record as it is.
    async fn append_raw(&self, log: &Self::Log, key: Vec<u8>, value: Vec<u8>);
}

/// Every check of this suite; `fixture` makes an empty log each time.
pub async fn all<F: AckFixture>(fixture: impl Fn() -> F) {
    each_region_gets_the_last_of_each_key(&fixture()).await;
    a_keys_positions_come_in_their_order(&fixture()).await;
    what_was_not_committed_comes_again(&fixture()).await;
    a_new_region_gets_what_is_held(&fixture()).await;
    readers_of_a_region_miss_nothing_together(&fixture()).await;
    what_cannot_be_read_is_counted_and_passed(&fixture()).await;
    a_dropped_wait_takes_nothing_away(&fixture()).await;
}

/// Also where they were appended before the region's reader came.
pub async fn each_region_gets_the_last_of_each_key(fixture: &impl AckFixture) {
    let log = fixture.open().await;
    let sent: Vec<KeyedAck> =
        (0..300).map(|i| (key(&format!("s{i}")), acknowledged(i, 1, i as i64))).collect();
    log.append(sent[..100].to_vec()).await.unwrap();
    for region in ["one", "two"] {
        let mut reader = fixture.reader(&log, region).await;
        if region == "one" {
            log.append(sent[100..].to_vec()).await.unwrap();
        }
        assert_eq!(read_until(&mut reader, &sent).await, HashMap::from_iter(sent.clone()));
        reader.commit().await.unwrap();
    }
    fixture.shut(log).await;
}

/// From call to call and within a call; and lower ones are not kept back.
pub async fn a_keys_positions_come_in_their_order(fixture: &impl AckFixture) {
    let log = fixture.open().await;
    let mut reader = fixture.reader(&log, "one").await;
    let steps = [(0, 5), (0, 9), (0, 7), (1, 2), (0, 20), (1, 3)];
    let of = |(generation, passed)| (key("a"), acknowledged(generation, 1, passed));
    for step in steps.chunks(2) {
        log.append(step.iter().copied().map(of).collect()).await.unwrap();
    }
    let mut given: Vec<KeyedAck> = Vec::new();
    while given.last() != Some(&of(steps[5])) {
        given.extend(next(&mut reader).await);
    }
    // Some may have been left out for those after them.
    let mut held = steps.iter().copied().map(of);
    assert!(given.iter().all(|given| held.any(|held| held == *given)), "{given:?}");
    fixture.shut(log).await;
}

/// From a reader's commit on, whatever it had been given beyond; also after a restart.
pub async fn what_was_not_committed_comes_again(fixture: &impl AckFixture) {
    let log = fixture.open().await;
    let first = [(key("a"), acknowledged(0, 1, 1)), (key("b"), acknowledged(0, 1, 2))];
    log.append(first.to_vec()).await.unwrap();
    let mut reader = fixture.reader(&log, "one").await;
    read_until(&mut reader, &first).await;
    reader.commit().await.unwrap();
    let second = [(key("b"), acknowledged(0, 1, 3)), (key("c"), acknowledged(0, 1, 4))];
    log.append(second.to_vec()).await.unwrap();
    read_until(&mut reader, &second).await;
    drop(reader);
    fixture.shut(log).await;

    let log = fixture.open().await;
    let third = [(key("d"), acknowledged(0, 1, 5))];
    log.append(third.to_vec()).await.unwrap();
    let mut reader = fixture.reader(&log, "one").await;
    let expected = [&second[..], &third].concat();
    read_until(&mut reader, &expected).await;
    fixture.shut(log).await;
}

/// However many others have read and committed.
pub async fn a_new_region_gets_what_is_held(fixture: &impl AckFixture) {
    let log = fixture.open().await;
    let sent = [(key("a"), acknowledged(0, 1, 1)), (key("b"), acknowledged(2, 1, 2))];
    log.append(sent.to_vec()).await.unwrap();
    let mut reader = fixture.reader(&log, "one").await;
    read_until(&mut reader, &sent).await;
    reader.commit().await.unwrap();
    drop(reader);
    fixture.shut(log).await;
    let log = fixture.open().await;
    let mut reader = fixture.reader(&log, "two").await;
    read_until(&mut reader, &sent).await;
    fixture.shut(log).await;
}

/// Also while one of them comes, and goes.
pub async fn readers_of_a_region_miss_nothing_together(fixture: &impl AckFixture) {
    let log = Arc::new(fixture.open().await);
    let of = |name: &str, i: u64| (key(&format!("{name}{i}")), acknowledged(0, 1, i as i64));
    let some = |name: &str| -> Vec<KeyedAck> { (0..50).map(|i| of(name, i)).collect() };
    let mut first = fixture.reader(&log, "one").await;
    log.append(some("before")).await.unwrap();
    read_until(&mut first, &some("before")).await;
    let mut second = fixture.reader(&log, "one").await;
    log.append(some("beside")).await.unwrap();
    let mut given = HashMap::new();
    let all = some("beside");
    let both = async {
        while !all.iter().all(|(key, ack)| given.get(key) == Some(ack)) {
            let batch = tokio::select! {
                batch = first.next() => batch.unwrap(),
                batch = second.next() => batch.unwrap(),
            };
            given.extend(batch.acks);
        }
    };
    tokio::time::timeout(PATIENCE, both).await.unwrap();
    // The one that goes has committed nothing: the other is given its part as well.
    drop(first);
    log.append(some("after")).await.unwrap();
    read_until(&mut second, &some("after")).await;
    second.commit().await.unwrap();
    fixture.shut(Arc::into_inner(log).unwrap()).await;
}

/// What comes after it is read.
pub async fn what_cannot_be_read_is_counted_and_passed(fixture: &impl AckFixture) {
    use crate::seams::{ack_key, ack_value};
    let log = fixture.open().await;
    let sent = (key("z"), acknowledged(0, 1, 1));
    let mut newer = ack_value(&sent.1);
    newer[0] = 200;
    fixture.append_raw(&log, ack_key(&key("a")), newer).await;
    fixture.append_raw(&log, ack_key(&key("b")), b"nonsense".to_vec()).await;
    fixture.append_raw(&log, b"nonsense".to_vec(), ack_value(&sent.1)).await;
    let mut other = sent.1.clone();
    other.cursor.log = crate::vocabulary::LogName::parse("other").unwrap();
    fixture.append_raw(&log, ack_key(&key("c")), ack_value(&other)).await;
    log.append(vec![sent.clone()]).await.unwrap();
    let mut reader = fixture.reader(&log, "one").await;
    let (mut unreadable, mut acks) = (0, Vec::new());
    while unreadable < 4 || acks.is_empty() {
        let batch = tokio::time::timeout(PATIENCE, reader.next()).await.unwrap().unwrap();
        unreadable += batch.unreadable;
        acks.extend(batch.acks);
    }
    assert_eq!((unreadable, acks), (4, vec![sent]));
    fixture.shut(log).await;
}

/// Whenever it is dropped.
pub async fn a_dropped_wait_takes_nothing_away(fixture: &impl AckFixture) {
    let log = fixture.open().await;
    let mut reader = fixture.reader(&log, "one").await;
    let sent: Vec<KeyedAck> =
        (0..40).map(|i| (key(&format!("s{i}")), acknowledged(0, 1, i))).collect();
    let mut given = HashMap::new();
    for (i, ack) in sent.iter().enumerate() {
        let wait = Duration::from_micros(i as u64 * 50);
        if let Ok(batch) = tokio::time::timeout(wait, reader.next()).await {
            given.extend(batch.unwrap().acks);
        }
        log.append(vec![ack.clone()]).await.unwrap();
    }
    let missing: Vec<KeyedAck> =
        sent.iter().filter(|(key, _)| !given.contains_key(key)).cloned().collect();
    read_until(&mut reader, &missing).await;
    fixture.shut(log).await;
}

/// Reads until the last that was given of each of these keys is this; what was given last of each key.
async fn read_until(
    reader: &mut impl AckReader,
    expected: &[KeyedAck],
) -> HashMap<AcknowledgedKey, Acknowledged> {
    let mut given = HashMap::new();
    while !expected.iter().all(|(key, ack)| given.get(key) == Some(ack)) {
        given.extend(next(reader).await);
    }
    given
}

async fn next(reader: &mut impl AckReader) -> Vec<KeyedAck> {
    let batch = tokio::time::timeout(PATIENCE, reader.next()).await;
    batch.expect("a batch within a minute").unwrap().acks
}
