//! The log's suite.

use std::sync::Arc;

use async_trait::async_trait;

use super::channel;
use super::samples::record;
use crate::embedded::faulty::{FaultyLog, LogFaults};
use crate::seams::{AppendError, Log, LogError, LogRecord};
use crate::vocabulary::{ChannelKey, Epoch, Offset, Partition, Record};

/// How the suite gets at one kind of log. Each fixture is one log, empty at first.
#[async_trait]
pub trait LogFixture: Send + Sync {
    type Log: Log;

    /// Opens the log, also after `shut`, with what it held.
    async fn open(&self) -> Self::Log;

    /// Ends a handle, as a process that stops.
    async fn shut(&self, log: Self::Log);

    /// Removes every record of a partition by retention.
    async fn empty(&self, log: &Self::Log, partition: Partition);
}

/// Every check of this suite; `fixture` makes an empty log each time.
pub async fn all<F: LogFixture>(fixture: impl Fn() -> F) {
    appends_keep_their_order(&fixture()).await;
    concurrent_appends_are_each_held_once(&fixture()).await;
    duplicates_are_held(&fixture()).await;
    another_epoch_is_refused(&fixture()).await;
    reads_are_bounded(&fixture()).await;
    waiting_ends_with_the_record(&fixture()).await;
    records_outlive_the_handle(&fixture()).await;
    offsets_are_never_used_twice(&fixture()).await;
    time_never_decreases(&fixture()).await;
    lost_acknowledgements_leave_the_record(&fixture()).await;
    doubled_appends_are_held_twice(&fixture()).await;
}

/// Within a call and from call to call.
pub async fn appends_keep_their_order(fixture: &impl LogFixture) {
    let log = fixture.open().await;
    let (a, b) = (channel("a"), channel("b"));
    let epoch = log.incarnation().epoch;
    let mixed: Vec<Record> = (0..20)
        .map(|i| record(if i % 3 == 0 { &b } else { &a }, &format!("first-{i}"), epoch))
        .collect();
    let first = offsets(&log, mixed.clone()).await;
    let second = offsets(&log, mixed).await;
    for key in [&a, &b] {
        let of_key = |offsets: &[(Partition, Offset)]| -> Vec<Offset> {
            let partition = log.partition(key);
            offsets.iter().filter(|(p, _)| *p == partition).map(|(_, offset)| *offset).collect()
        };
        let all = [of_key(&first), of_key(&second)].concat();
        assert!(all.is_sorted_by(|a, b| a < b), "{all:?}");
    }
    let held = read_all(&log, log.partition(&a)).await;
    let ids: Vec<String> =
        held.iter().map(decoded).filter(|r| r.key == a).map(|r| r.id.to_string()).collect();
    let expected: Vec<String> =
        (0..20).filter(|i| i % 3 != 0).map(|i| format!("first-{i}")).collect();
    assert_eq!(ids, [expected.clone(), expected].concat());
    fixture.shut(log).await;
}

/// Many callers at once: each acknowledged place holds that caller's record.
pub async fn concurrent_appends_are_each_held_once(fixture: &impl LogFixture) {
    let log = Arc::new(fixture.open().await);
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..16 {
        let log = log.clone();
        callers.spawn(async move {
            let key = channel(&format!("c{caller}"));
            let mut placed = Vec::new();
            for i in 0..20 {
                let id = format!("{caller}-{i}");
                let sent = record(&key, &id, log.incarnation().epoch);
                placed.push((id, offsets(&*log, vec![sent]).await[0]));
            }
            placed
        });
    }
    let mut count = 0;
    for placed in callers.join_all().await {
        assert!(placed.is_sorted_by(|(_, a), (_, b)| a.1 < b.1), "{placed:?}");
        for (id, (partition, offset)) in placed {
            let held = log.read(partition, offset, 1, usize::MAX).await.unwrap();
            assert_eq!((held[0].offset, decoded(&held[0]).id.as_str()), (offset, id.as_str()));
            count += 1;
        }
    }
    assert_eq!((count, total(&*log).await), (320, 320));
    fixture.shut(Arc::into_inner(log).unwrap()).await;
}

/// The log decides nothing about duplicates.
pub async fn duplicates_are_held(fixture: &impl LogFixture) {
    let log = fixture.open().await;
    let same = record(&channel("a"), "same", log.incarnation().epoch);
    let placed = offsets(&log, vec![same.clone(), same.clone()]).await;
    assert!(placed[0].1 < placed[1].1);
    offsets(&log, vec![same]).await;
    assert_eq!(total(&log).await, 3);
    fixture.shut(log).await;
}

/// A writer that believes in another epoch stores nothing; others of the same call are stored.
pub async fn another_epoch_is_refused(fixture: &impl LogFixture) {
    let log = fixture.open().await;
    let (key, epoch) = (channel("a"), log.incarnation().epoch);
    let records = vec![record(&key, "old", Epoch(epoch.0 + 1)), record(&key, "now", epoch)];
    let answers = log.append(records).await;
    assert_eq!(answers[0], Err(AppendError::WrongEpoch));
    let placed = answers[1].clone().unwrap().cursor;
    assert_eq!((placed.partition, placed.position.epoch), (log.partition(&key), epoch));
    assert_eq!(total(&log).await, 1);
    fixture.shut(log).await;
}

/// By count, by bytes, at the end, beyond the end.
pub async fn reads_are_bounded(fixture: &impl LogFixture) {
    let log = fixture.open().await;
    let (key, epoch) = (channel("a"), log.incarnation().epoch);
    let partition = log.partition(&key);
    assert_eq!(log.read(partition, Offset(0), 10, usize::MAX).await, Ok(vec![]));
    let records = (0..10).map(|i| record(&key, &format!("{i}"), epoch)).collect();
    let placed = offsets(&log, records).await;
    for (at, wanted) in [(0, 3), (4, 3), (7, 3), (8, 2), (9, 1)] {
        let held = log.read(partition, placed[at].1, 3, usize::MAX).await.unwrap();
        let ids: Vec<String> = held.iter().map(|held| decoded(held).id.to_string()).collect();
        let expected: Vec<String> = (at..at + wanted).map(|i| i.to_string()).collect();
        assert_eq!(ids, expected);
    }
    for (bytes, wanted) in [(0, 1), (1, 1), (usize::MAX, 10)] {
        let held = log.read(partition, placed[0].1, 99, bytes).await.unwrap();
        assert_eq!(held.len(), wanted, "{bytes} bytes");
    }
    let two = log.read(partition, placed[0].1, 2, usize::MAX).await.unwrap();
    let bytes = two[0].stored.len() + 1;
    let held = log.read(partition, placed[0].1, 99, bytes).await.unwrap();
    assert!((1..=3).contains(&held.len()), "about {bytes} bytes: {}", held.len());
    let end = log.end(partition).await.unwrap();
    assert!(end > placed[9].1 && log.known_end(partition) <= end);
    assert_eq!(log.read(partition, end, 3, usize::MAX).await, Ok(vec![]));
    let beyond = log.read(partition, Offset(end.0 + 1), 3, usize::MAX).await;
    assert!(matches!(beyond, Err(LogError::BeyondEnd { .. })), "{beyond:?}");
    fixture.shut(log).await;
}

/// A reader at the end is woken; one below it does not wait.
pub async fn waiting_ends_with_the_record(fixture: &impl LogFixture) {
    let log = Arc::new(fixture.open().await);
    let (key, epoch) = (channel("a"), log.incarnation().epoch);
    let partition = log.partition(&key);
    let end = log.end(partition).await.unwrap();
    let waiting = tokio::spawn({
        let log = log.clone();
        async move { log.wait_for(partition, end).await }
    });
    offsets(&*log, vec![record(&key, "x", epoch)]).await;
    waiting.await.unwrap().unwrap();
    log.wait_for(partition, end).await.unwrap();
    assert!(log.known_end(partition) > end);
    fixture.shut(Arc::into_inner(log).unwrap()).await;
}

/// What was acknowledged is there after a restart, in its place, and so is the incarnation.
pub async fn records_outlive_the_handle(fixture: &impl LogFixture) {
    let log = fixture.open().await;
    let (key, epoch) = (channel("a"), log.incarnation().epoch);
    let partition = log.partition(&key);
    offsets(&log, (0..5).map(|i| record(&key, &format!("{i}"), epoch)).collect()).await;
    let (incarnation, held) = (log.incarnation().clone(), read_all(&log, partition).await);
    fixture.shut(log).await;
    let log = fixture.open().await;
    assert_eq!(*log.incarnation(), incarnation);
    assert_eq!(read_all(&log, partition).await, held);
    fixture.shut(log).await;
}

/// Not after retention emptied the partition, and not after a restart on top of that.
pub async fn offsets_are_never_used_twice(fixture: &impl LogFixture) {
    let log = fixture.open().await;
    let (key, epoch) = (channel("a"), log.incarnation().epoch);
    let partition = log.partition(&key);
    let placed =
        offsets(&log, (0..5).map(|i| record(&key, &format!("{i}"), epoch)).collect()).await;
    let last = placed[4].1;
    fixture.empty(&log, partition).await;
    let end = log.end(partition).await.unwrap();
    assert!(end > last);
    let gone = log.read(partition, last, 1, usize::MAX).await;
    assert!(matches!(gone, Err(LogError::Truncated { earliest }) if earliest > last), "{gone:?}");
    assert_eq!(log.read(partition, end, 1, usize::MAX).await, Ok(vec![]));
    fixture.shut(log).await;

    let log = fixture.open().await;
    assert_eq!(log.end(partition).await, Ok(end));
    let gone = log.read(partition, last, 1, usize::MAX).await;
    assert!(matches!(gone, Err(LogError::Truncated { .. })), "{gone:?}");
    let next = offsets(&log, vec![record(&key, "next", epoch)]).await[0].1;
    assert!(next > last, "{next:?} after {last:?}");
    assert_eq!(
        decoded(&log.read(partition, next, 1, usize::MAX).await.unwrap()[0]).id.as_str(),
        "next"
    );
    fixture.shut(log).await;
}

/// Within a partition, over restarts.
pub async fn time_never_decreases(fixture: &impl LogFixture) {
    let key = channel("a");
    let mut partition = Partition(0);
    for round in 0..3 {
        let log = fixture.open().await;
        partition = log.partition(&key);
        for i in 0..5 {
            let sent = record(&key, &format!("{round}-{i}"), log.incarnation().epoch);
            offsets(&log, vec![sent]).await;
        }
        fixture.shut(log).await;
    }
    let log = fixture.open().await;
    let times: Vec<u64> = read_all(&log, partition).await.iter().map(|held| held.time_ms).collect();
    assert_eq!(times.len(), 15);
    assert!(times.is_sorted() && times[0] > 0, "{times:?}");
    fixture.shut(log).await;
}

/// The caller learns nothing and retries: both are held.
pub async fn lost_acknowledgements_leave_the_record(fixture: &impl LogFixture) {
    let lossy = LogFaults { lost_acknowledgement: 1_000, ..LogFaults::default() };
    let log = FaultyLog::new(fixture.open().await, 1, lossy);
    let sent = record(&channel("a"), "retried", log.incarnation().epoch);
    let answer = log.append(vec![sent.clone()]).await;
    assert_eq!(answer, [Err(AppendError::OutcomeUnknown)]);
    log.set_faults(LogFaults::default());
    log.append(vec![sent]).await.remove(0).unwrap();
    assert_eq!(total(&log).await, 2);
    fixture.shut(log.into_inner()).await;
}

/// A call carried out twice: its records are held twice, in the call's order both times.
pub async fn doubled_appends_are_held_twice(fixture: &impl LogFixture) {
    let doubled = LogFaults { doubled: 1_000, ..LogFaults::default() };
    let log = FaultyLog::new(fixture.open().await, 1, doubled);
    let (key, epoch) = (channel("a"), log.incarnation().epoch);
    let placed = offsets(&log, vec![record(&key, "1", epoch), record(&key, "2", epoch)]).await;
    let held = read_all(&log, log.partition(&key)).await;
    let ids: Vec<String> = held.iter().map(|held| decoded(held).id.to_string()).collect();
    assert_eq!(ids, ["1", "2", "1", "2"]);
    assert_eq!([placed[0].1, placed[1].1], [held[2].offset, held[3].offset]);
    fixture.shut(log.into_inner()).await;
}

/// Appends, all of which must succeed.
async fn offsets(log: &impl Log, records: Vec<Record>) -> Vec<(Partition, Offset)> {
    let keys: Vec<ChannelKey> = records.iter().map(|record| record.key.clone()).collect();
    let answers = log.append(records).await;
    assert_eq!(answers.len(), keys.len());
    answers
        .into_iter()
        .zip(keys)
        .map(|(answer, key)| {
            let cursor = answer.unwrap().cursor;
            assert_eq!(cursor.partition, log.partition(&key));
            (cursor.partition, Offset(cursor.position.passed as u64))
        })
        .collect()
}

/// Everything a partition holds; its offsets must rise.
async fn read_all(log: &impl Log, partition: Partition) -> Vec<LogRecord> {
    let mut all: Vec<LogRecord> = Vec::new();
    let mut from = match log.read(partition, Offset(0), 1, usize::MAX).await {
        Err(LogError::Truncated { earliest }) => earliest,
        _ => Offset(0),
    };
    loop {
        let held = log.read(partition, from, 7, usize::MAX).await.unwrap();
        let Some(last) = held.last() else { break };
        from = Offset(last.offset.0 + 1);
        all.extend(held);
    }
    assert!(all.is_sorted_by(|a, b| a.offset < b.offset));
    all
}

async fn total(log: &impl Log) -> usize {
    let mut total = 0;
    for partition in 0..log.incarnation().partitions {
        total += read_all(log, Partition(partition)).await.len();
    }
    total
}

fn decoded(held: &LogRecord) -> Record {
    Record::decode(&held.stored).unwrap()
}
