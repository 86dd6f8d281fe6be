//! Who owns a partition, and how far it is.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{PARTITIONS, SourceFixture, committed, in_time, owns, plain, sole_reader};
use crate::seams::{Source, SourceCommit, SourceError};

fn commit(next: u64) -> SourceCommit {
    SourceCommit { generation: 1, next, paused: false }
}

/// It is what the last one said, in every part, also where that lies further back.
pub(super) async fn a_commit_is_kept_whole_and_outlives_its_reader(fixture: &impl SourceFixture) {
    fixture.push((0..PARTITIONS).map(|partition| plain(partition, "1")).collect()).await;
    let mut reader = sole_reader(fixture).await;
    for partition in 0..PARTITIONS {
        assert_eq!(committed(&reader, partition).await, Ok(None));
    }
    let steps = [
        SourceCommit { generation: 7, next: 1, paused: false },
        SourceCommit { generation: 7, next: 1, paused: true },
        SourceCommit { generation: u32::MAX, next: 1 << 50, paused: false },
        SourceCommit { generation: 8, next: 0, paused: false },
    ];
    for step in steps {
        in_time("a commit", reader.commit(1, step)).await.unwrap();
        assert_eq!(committed(&reader, 1).await, Ok(Some(step)));
        fixture.end(reader).await;
        reader = sole_reader(fixture).await;
        assert_eq!(committed(&reader, 1).await, Ok(Some(step)));
        assert_eq!(committed(&reader, 2).await, Ok(None));
    }
    fixture.end(reader).await;
}

/// Also while one comes, and when one goes.
pub(super) async fn each_partition_is_owned_once(fixture: &impl SourceFixture) {
    let all: BTreeSet<u32> = (0..PARTITIONS).collect();
    let first = sole_reader(fixture).await;
    assert_eq!(*first.owned().borrow(), all);
    let second = fixture.reader().await;
    let (of_first, of_second) = (first.owned(), second.owned());
    let shared = async {
        loop {
            // The one that gets some is asked first: they may move between the two questions.
            let other = of_second.borrow().clone();
            let one = of_first.borrow().clone();
            assert!(one.is_disjoint(&other), "{one:?} {other:?}");
            if !other.is_empty() && one.union(&other).count() == all.len() {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    in_time("the second reader's share", shared).await;
    fixture.end(first).await;
    owns(&second, |owned| *owned == all).await;
    fixture.end(second).await;
}

/// What it was told is committed was there before the next owner looked; the next one is told of it by a
/// refusal.
pub(super) async fn who_lost_a_partition_commits_no_more(fixture: &impl SourceFixture) {
    let first = sole_reader(fixture).await;
    let mut made = vec![0; PARTITIONS as usize];
    // Before the second one comes each has a commit.
    for (partition, made) in (0..).zip(&mut made) {
        *made = 1;
        in_time("a commit", first.commit(partition, commit(*made))).await.unwrap();
    }
    let joined = async {
        let second = fixture.reader().await;
        let owned = owns(&second, |owned| !owned.is_empty()).await;
        let moved = *owned.first().unwrap();
        let found = committed(&second, moved).await.unwrap().unwrap();
        (second, moved, found)
    };
    let commits = async {
        loop {
            for (partition, made) in (0..).zip(&mut made) {
                let next = *made + 1;
                if first.commit(partition, commit(next)).await.is_ok() {
                    *made = next;
                }
            }
            tokio::task::yield_now().await;
        }
    };
    let (second, moved, found) = tokio::select! {
        joined = in_time("the second reader", joined) => joined,
        () = commits => unreachable!("it goes on for ever"),
    };
    assert!(found.next >= made[moved as usize], "{found:?} behind {made:?}");
    let late = in_time("a refusal", first.commit(moved, commit(1 << 40))).await;
    assert_eq!(late, Err(SourceError::NotOwned));
    assert_eq!(committed(&second, moved).await, Ok(Some(found)));
    in_time("a commit", second.commit(moved, commit(7))).await.unwrap();
    assert_eq!(committed(&second, moved).await, Ok(Some(commit(7))));
    fixture.end(first).await;
    fixture.end(second).await;
}

/// Never a part of it, and never behind the next one.
pub(super) async fn a_dropped_commit_was_made_or_not(fixture: &impl SourceFixture) {
    let reader = sole_reader(fixture).await;
    let mut before = commit(0);
    in_time("a commit", reader.commit(0, before)).await.unwrap();
    for n in 1..60 {
        let next = SourceCommit { generation: n, next: u64::from(n) * 10, paused: n % 2 == 0 };
        let wait = Duration::from_micros(u64::from(n / 2) * 50);
        let done = tokio::time::timeout(wait, reader.commit(0, next)).await;
        // At times at once: the source may still be busy with the one that was dropped.
        if n % 3 == 0 {
            let found = committed(&reader, 0).await.unwrap().unwrap();
            assert!(found == next || (found == before && done.is_err()), "{found:?}");
        }
        before = SourceCommit { next: next.next + 1, ..next };
        in_time("a commit", reader.commit(0, before)).await.unwrap();
        assert_eq!(committed(&reader, 0).await, Ok(Some(before)));
    }
    assert_eq!(committed(&reader, 0).await, Ok(Some(before)));
    fixture.end(reader).await;
}

/// Its offsets mean other records. It begins anew with a commit of its own.
pub(super) async fn a_replaced_source_has_no_commit_of_before(fixture: &impl SourceFixture) {
    fixture.push(vec![plain(0, "1"), plain(0, "2")]).await;
    let reader = sole_reader(fixture).await;
    let before = SourceCommit { generation: 9, next: 2, paused: false };
    in_time("a commit", reader.commit(0, before)).await.unwrap();
    fixture.end(reader).await;
    fixture.replace().await;
    let reader = sole_reader(fixture).await;
    match committed(&reader, 0).await {
        Ok(None) | Err(SourceError::Replaced { generation: 9 }) => {}
        other => panic!("of the source that was: {other:?}"),
    }
    let bounds = reader.bounds(0).await.unwrap();
    assert_eq!(bounds.earliest, bounds.end);
    let anew = SourceCommit { generation: 10, next: bounds.end, paused: false };
    in_time("a commit", reader.commit(0, anew)).await.unwrap();
    assert_eq!(committed(&reader, 0).await, Ok(Some(anew)));
    fixture.end(reader).await;
}
