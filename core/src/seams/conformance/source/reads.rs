//! What a source holds, and reading it.

use std::time::Duration;

use super::{PARTITIONS, SourceFixture, in_time, plain, read, strange};
use crate::seams::{Source as _, SourceBounds, SourceError, SourceRecord};

/// Each partition's in the order in which they came, and the same at every read.
pub(super) async fn records_come_whole_and_in_order(fixture: &impl SourceFixture) {
    let sent: Vec<SourceRecord> = (0..120).map(|n| strange(n % PARTITIONS, n)).collect();
    fixture.push(sent.clone()).await;
    let reader = fixture.reader().await;
    for partition in 0..PARTITIONS {
        let first = read(&reader, partition, 0, 30).await;
        assert!(first.is_sorted_by(|a, b| a.offset < b.offset), "{first:?}");
        let of_partition = sent.iter().filter(|record| record.partition == partition);
        let placed: Vec<SourceRecord> = of_partition
            .zip(&first)
            .map(|(sent, at)| SourceRecord { offset: at.offset, ..sent.clone() })
            .collect();
        assert_eq!(first, placed);
        // From anywhere, back and forth.
        for from in [29, 0, 13, 14, 3] {
            let again = read(&reader, partition, first[from].offset, 30 - from).await;
            assert_eq!(again, first[from..]);
        }
    }
    fixture.end(reader).await;
}

/// By records; by bytes it ends with the record that reaches the bound, which may be the first one.
pub(super) async fn a_read_is_bounded(fixture: &impl SourceFixture) {
    let kilobyte = "x".repeat(1000);
    fixture.push((0..20).map(|_| plain(1, &kilobyte)).collect()).await;
    let reader = fixture.reader().await;
    let mut next = 0;
    while next < 20 {
        let (records, bytes) = if next < 10 { (3, usize::MAX) } else { (20, 2500) };
        let read = in_time("records", reader.read(1, next, records, bytes)).await.unwrap();
        assert!((1..=3).contains(&read.len()), "{} records", read.len());
        next = read.last().unwrap().offset + 1;
    }
    let one = in_time("a record", reader.read(1, 0, 20, 1)).await.unwrap();
    assert_eq!(one.len(), 1);
    fixture.end(reader).await;
}

/// However long none comes; a partition without records keeps no other one waiting.
pub(super) async fn a_read_waits_for_a_record(fixture: &impl SourceFixture) {
    let reader = fixture.reader().await;
    let mut waiting = reader.read(0, 0, 10, usize::MAX);
    for n in 0..3 {
        fixture.push(vec![plain(1, &n.to_string())]).await;
        let other = read(&reader, 1, n, 1);
        tokio::select! {
            biased;
            early = &mut waiting => panic!("there was nothing to read: {early:?}"),
            _ = other => {}
        }
    }
    fixture.push(vec![plain(0, "at last")]).await;
    let records = in_time("the record", waiting).await.unwrap();
    assert_eq!(records, [plain(0, "at last")]);
    fixture.end(reader).await;
}

/// Whenever it is dropped.
pub(super) async fn a_dropped_read_takes_nothing_away(fixture: &impl SourceFixture) {
    let reader = fixture.reader().await;
    let mut next = 0;
    for n in 0..40_u32 {
        let wait = Duration::from_micros(u64::from(n) * 50);
        let reading = reader.read(2, next, 4, usize::MAX);
        if let Ok(records) = tokio::time::timeout(wait, reading).await {
            for record in records.unwrap() {
                assert_eq!(record, SourceRecord { offset: next, ..plain(2, &next.to_string()) });
                next += 1;
            }
        }
        fixture.push(vec![plain(2, &n.to_string())]).await;
    }
    for record in read(&reader, 2, next, 40 - next as usize).await {
        assert_eq!(record, SourceRecord { offset: next, ..plain(2, &next.to_string()) });
        next += 1;
    }
    fixture.end(reader).await;
}

/// The next record gets the offset that they end with.
pub(super) async fn bounds_say_what_there_is(fixture: &impl SourceFixture) {
    let reader = fixture.reader().await;
    let empty = reader.bounds(3).await.unwrap();
    assert_eq!(empty.earliest, empty.end);
    for n in 0..5 {
        let before = reader.bounds(3).await.unwrap();
        fixture.push(vec![plain(3, &n.to_string())]).await;
        assert_eq!(read(&reader, 3, before.end, 1).await[0].offset, before.end);
        let after = reader.bounds(3).await.unwrap();
        assert_eq!(after, SourceBounds { earliest: empty.earliest, end: before.end + 1 });
    }
    fixture.end(reader).await;
}

/// And said to be: a read never goes on behind it by itself.
pub(super) async fn what_retention_removed_is_gone(fixture: &impl SourceFixture) {
    fixture.push((0..10).map(|n| plain(0, &n.to_string())).collect()).await;
    let reader = fixture.reader().await;
    fixture.retain_from(0, 6).await;
    assert_eq!(reader.bounds(0).await.unwrap(), SourceBounds { earliest: 6, end: 10 });
    for from in [0, 5] {
        let gone = in_time("an answer", reader.read(0, from, 10, usize::MAX)).await;
        assert_eq!(gone, Err(SourceError::Gone { earliest: 6 }));
    }
    let left = read(&reader, 0, 6, 4).await;
    assert_eq!(left[0], SourceRecord { offset: 6, ..plain(0, "6") });
    fixture.end(reader).await;
}
