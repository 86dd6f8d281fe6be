//! The source's suite.

mod commits;
mod reads;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::seams::{DeadLetter, Source, SourceCommit, SourceError, SourceRecord};

/// What is bound to happen is waited for so long.
const PATIENCE: Duration = Duration::from_secs(60);
/// What each fixture's source has.
pub const PARTITIONS: u32 = 4;

/// How the suite gets at one kind of source. Each fixture is one source of `PARTITIONS` partitions, empty at
/// first.
#[async_trait(?Send)]
pub trait SourceFixture {
    type Source: Source;

    /// A further reader, which shares the partitions with those that are there.
    async fn reader(&self) -> Self::Source;

    /// Ends a reader in order.
    async fn end(&self, reader: Self::Source);

    /// Puts records into their partitions. What they say of an offset is nothing.
    async fn push(&self, records: Vec<SourceRecord>);

    /// Removes by retention what a partition holds below an offset.
    async fn retain_from(&self, partition: u32, earliest: u64);

    /// Makes the source anew, with nothing in it.
    async fn replace(&self);

    /// All that was set aside, in any order.
    async fn letters(&self) -> Vec<DeadLetter>;
}

/// Every check of this suite; `fixture` makes an empty source each time.
pub async fn all<F: SourceFixture>(fixture: impl Fn() -> F) {
    reads::records_come_whole_and_in_order(&fixture()).await;
    reads::a_read_is_bounded(&fixture()).await;
    reads::a_read_waits_for_a_record(&fixture()).await;
    reads::a_dropped_read_takes_nothing_away(&fixture()).await;
    reads::bounds_say_what_there_is(&fixture()).await;
    reads::what_retention_removed_is_gone(&fixture()).await;
    commits::a_commit_is_kept_whole_and_outlives_its_reader(&fixture()).await;
    commits::each_partition_is_owned_once(&fixture()).await;
    commits::who_lost_a_partition_commits_no_more(&fixture()).await;
    commits::a_dropped_commit_was_made_or_not(&fixture()).await;
    commits::a_replaced_source_has_no_commit_of_before(&fixture()).await;
    letters_are_stored_as_they_were(&fixture()).await;
}

/// Also those of records without key or payload, and whoever owns the partition.
pub async fn letters_are_stored_as_they_were(fixture: &impl SourceFixture) {
    fixture.push((0..40).map(|n| strange(n % PARTITIONS, n)).collect()).await;
    let reader = fixture.reader().await;
    let mut letters = Vec::new();
    for partition in 0..PARTITIONS {
        for record in read(&reader, partition, 0, 10).await {
            let reason = format!("record {} is no good", record.offset);
            letters.push(DeadLetter { record, generation: u32::MAX - partition, reason });
        }
    }
    let (first, second) = letters.split_at(7);
    reader.dead_letter(first.to_vec()).await.unwrap();
    assert_eq!(sorted(fixture.letters().await), sorted(first.to_vec()));
    reader.dead_letter(second.to_vec()).await.unwrap();
    assert_eq!(sorted(fixture.letters().await), sorted(letters));
    fixture.end(reader).await;
}

fn sorted(mut letters: Vec<DeadLetter>) -> Vec<DeadLetter> {
    letters.sort_by_key(|letter| (letter.record.partition, letter.record.offset));
    letters
}

/// A record with this text.
fn plain(partition: u32, text: &str) -> SourceRecord {
    let key = Some(Bytes::from_static(b"key"));
    let payload = Some(Bytes::copy_from_slice(text.as_bytes()));
    SourceRecord { partition, offset: 0, key, headers: Vec::new(), payload }
}

/// A record as few are: each of its parts is missing, empty, no text, or there several times.
fn strange(partition: u32, n: u32) -> SourceRecord {
    let bytes = |text: &[u8]| Bytes::copy_from_slice(text);
    let header = |name: &str, value: &[u8]| (name.to_owned(), bytes(value));
    let headers =
        [header("twice", b"a"), header("", b""), header("twice", &[0xff, 0]), header("é", b"1")];
    SourceRecord {
        partition,
        offset: 0,
        key: [None, Some(bytes(b"")), Some(bytes(&[0xfe]))][n as usize % 3].clone(),
        headers: headers[..n as usize % 5].to_vec(),
        payload: [Some(bytes(&[n as u8, 0xff])), None, Some(bytes(b"")), Some(bytes(b"{}"))]
            [n as usize % 4]
            .clone(),
    }
}

/// Exactly so many records from an offset on, however many reads it takes.
async fn read(reader: &impl Source, partition: u32, from: u64, count: usize) -> Vec<SourceRecord> {
    let mut records: Vec<SourceRecord> = Vec::new();
    while records.len() < count {
        let next = records.last().map_or(from, |last| last.offset + 1);
        let read = reader.read(partition, next, count - records.len(), usize::MAX);
        records.extend(in_time("records", read).await.unwrap());
    }
    records
}

async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Waits until what a reader owns is as wanted.
async fn owns(reader: &impl Source, wanted: impl Fn(&BTreeSet<u32>) -> bool) -> BTreeSet<u32> {
    let mut owned = reader.owned();
    in_time("partitions", owned.wait_for(|owned| wanted(owned))).await.unwrap().clone()
}

/// A reader that owns all partitions.
async fn sole_reader<F: SourceFixture>(fixture: &F) -> F::Source {
    let reader = fixture.reader().await;
    owns(&reader, |owned| owned.len() == PARTITIONS as usize).await;
    reader
}

/// Asks again while the source is away for a moment, as whoever reads does.
async fn committed(
    reader: &impl Source,
    partition: u32,
) -> Result<Option<SourceCommit>, SourceError> {
    let asked = async {
        loop {
            match reader.committed(partition).await {
                Err(SourceError::Unavailable) => tokio::task::yield_now().await,
                answer => return answer,
            }
        }
    };
    in_time("a commit", asked).await
}
