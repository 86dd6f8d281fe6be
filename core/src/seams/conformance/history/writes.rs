//! Fences, batches, checkpoints, windows, heads.

use super::super::samples::window_row;
use super::{HistoryFixture, claim, commit, plain, read_after};
use crate::seams::conformance::{Samples, channel, stream};
use crate::seams::{CommitError, History, Marks, WindowRow};
use crate::vocabulary::{Partition, SourceName, SourcePartition, SourcePlace};

/// Nobody commits without a claim, nor under one that another followed.
pub async fn a_claim_fences_the_owner_before(fixture: &impl HistoryFixture) {
    let history = fixture.open().await;
    let mut samples = Samples::new(stream(1, 0));
    let first = samples.events(&channel("a"), 2);
    let unclaimed = history.commit(samples.stream(), samples.batch(0, &first)).await;
    assert_eq!(unclaimed, Err(CommitError::Fenced));

    let old = claim(&history, &samples).await;
    assert_eq!((old.checkpoint, old.window), (None, vec![]));
    commit(&history, &samples, old.fence, &first).await;
    let checkpoint = samples.checkpoint();
    let new = claim(&history, &samples).await;
    assert!(new.fence > old.fence);
    assert_eq!(new.checkpoint, Some(checkpoint.clone()));

    let second = samples.events(&channel("a"), 2);
    let fenced = history.commit(samples.stream(), samples.batch(old.fence, &second)).await;
    assert_eq!(fenced, Err(CommitError::Fenced));
    let stored = history.checkpoints(&[samples.stream().clone()]).await.unwrap();
    assert_eq!(stored.get(&Partition(0)), Some(&checkpoint), "nothing of it was stored");
    commit(&history, &samples, new.fence, &second).await;
    fixture.shut(history).await;
}

/// Events, heads, window and checkpoint, in one step.
pub async fn a_commit_is_whole(fixture: &impl HistoryFixture) {
    let history = fixture.open().await;
    let (mut samples, a, b) = (Samples::new(stream(1, 0)), channel("a"), channel("b"));
    let start = samples.position();
    let fence = claim(&history, &samples).await.fence;
    let events = [samples.event(&a, "1"), samples.event(&b, "2"), samples.event(&a, "3")];
    samples.skip();
    commit(&history, &samples, fence, &events).await;
    let read = read_after(&history, &samples, &a, start).await;
    assert_eq!(read.events, plain(&[events[0].clone(), events[2].clone()]));
    assert_eq!((read.position, read.more), (samples.position(), false));
    let heads =
        history.heads(&samples.stream().log, &[a.clone(), b.clone(), channel("c")]).await.unwrap();
    assert_eq!(heads.len(), 2);
    assert_eq!(heads[&a], events[2].event.position());
    assert_eq!(heads[&b], events[1].event.position());
    let taken_over = claim(&history, &samples).await;
    assert_eq!(taken_over.checkpoint, Some(samples.checkpoint()));
    let window: Vec<WindowRow> = events.iter().map(|applied| window_row(&applied.event)).collect();
    assert_eq!(taken_over.window, window);
    fixture.shut(history).await;
}

/// The same batch again, and a larger one that holds it.
pub async fn repeated_commits_are_harmless(fixture: &impl HistoryFixture) {
    let history = fixture.open().await;
    let (mut samples, a) = (Samples::new(stream(1, 0)), channel("a"));
    let start = samples.position();
    let fence = claim(&history, &samples).await.fence;
    let mut events = samples.events(&a, 3);
    let batch = samples.batch(fence, &events);
    history.commit(samples.stream(), batch.clone()).await.unwrap();
    history.commit(samples.stream(), batch.clone()).await.unwrap();
    events.extend(samples.events(&a, 2));
    commit(&history, &samples, fence, &events).await;
    history.commit(samples.stream(), batch).await.unwrap();
    let read = read_after(&history, &samples, &a, start).await;
    assert_eq!((read.gone, read.events), (None, plain(&events)));
    assert_eq!(read.position, samples.position(), "the checkpoint never goes back");
    assert_eq!(claim(&history, &samples).await.window.len(), 5);
    fixture.shut(history).await;
}

/// Oldest first, no more than asked for, over many batches; dropped records are in it.
pub async fn a_claim_returns_the_newest_window(fixture: &impl HistoryFixture) {
    let history = fixture.open().await;
    let mut samples = Samples::new(stream(1, 0));
    let fence = claim(&history, &samples).await.fence;
    let mut all = Vec::new();
    for i in 0..20 {
        let kept = samples.events(&channel("a"), 3);
        let dropped = samples.events(&channel("dropped"), i % 3);
        let mut batch = samples.batch(fence, &[kept.clone(), dropped.clone()].concat());
        batch.events.truncate(kept.len());
        all.extend(batch.window.clone());
        history.commit(samples.stream(), batch).await.unwrap();
    }
    for wanted in [0, 1, 10, all.len(), 1 << 17] {
        let window = history.claim(samples.stream(), wanted).await.unwrap().window;
        assert_eq!(window, all[all.len() - wanted.min(all.len())..]);
    }
    fixture.shut(history).await;
}

/// Whole with their batch, never lowered, each stream's own, and there after a restart.
pub async fn marks_are_kept_with_the_checkpoint(fixture: &impl HistoryFixture) {
    let history = fixture.open().await;
    let (mut samples, other) = (Samples::new(stream(1, 0)), Samples::new(stream(1, 1)));
    let old = claim(&history, &samples).await;
    assert_eq!(old.marks, Marks::new());
    let (orders, cases) = (source("orders", 0), source("cases", 7));
    let first = [(orders.clone(), place(1, 5, 0)), (cases.clone(), place(1, i64::MAX as u64, 2))];
    let mut batch = samples.batch(old.fence, &samples.clone().events(&channel("a"), 2));
    samples.events(&channel("a"), 2);
    batch.checkpoint = samples.checkpoint();
    batch.marks = Marks::from(first.clone());
    history.commit(samples.stream(), batch.clone()).await.unwrap();
    history.commit(samples.stream(), batch.clone()).await.unwrap();

    let new = claim(&history, &samples).await;
    assert_eq!(new.marks, Marks::from(first.clone()));
    let events = samples.events(&channel("a"), 2);
    let mut fenced = samples.batch(old.fence, &events);
    fenced.marks = Marks::from([(orders.clone(), place(9, 9, 9))]);
    let refused = history.commit(samples.stream(), fenced).await;
    assert_eq!(refused, Err(CommitError::Fenced));
    let mut next = samples.batch(new.fence, &events);
    next.marks = Marks::from([
        (orders.clone(), place(2, 0, 0)),
        (cases.clone(), place(1, 3, 0)),
        (source("orders", 1), place(1, 0, 0)),
    ]);
    history.commit(samples.stream(), next).await.unwrap();
    fixture.shut(history).await;

    let history = fixture.open().await;
    let expected = Marks::from([
        (orders, place(2, 0, 0)),
        first[1].clone(),
        (source("orders", 1), place(1, 0, 0)),
    ]);
    assert_eq!(claim(&history, &samples).await.marks, expected);
    assert_eq!(claim(&history, &other).await.marks, Marks::new());
    fixture.shut(history).await;
}

fn source(name: &str, partition: u32) -> SourcePartition {
    SourcePartition { source: SourceName::parse(name).unwrap(), partition }
}

fn place(generation: u32, offset: u64, index: u32) -> SourcePlace {
    SourcePlace { generation, offset, index }
}

/// What was answered `Ok` is there after a restart, and the fence goes on rising.
pub async fn commits_outlive_the_handle(fixture: &impl HistoryFixture) {
    let history = fixture.open().await;
    let (mut samples, a) = (Samples::new(stream(1, 0)), channel("a"));
    let start = samples.position();
    let fence = claim(&history, &samples).await.fence;
    let mut events = samples.events(&a, 3);
    commit(&history, &samples, fence, &events).await;
    fixture.shut(history).await;

    let history = fixture.open().await;
    let claimed = claim(&history, &samples).await;
    assert!(claimed.fence > fence);
    assert_eq!(claimed.checkpoint, Some(samples.checkpoint()));
    events.extend(samples.events(&a, 2));
    commit(&history, &samples, claimed.fence, &events[3..]).await;
    let read = read_after(&history, &samples, &a, start).await;
    assert_eq!((read.gone, read.events), (None, plain(&events)));
    fixture.shut(history).await;
}

/// A channel's newest position is known after retention removed it, and after a restart.
pub async fn heads_outlive_events(fixture: &impl HistoryFixture) {
    let history = fixture.open().await;
    let (mut samples, a) = (Samples::new(stream(1, 0)), channel("a"));
    let fence = claim(&history, &samples).await.fence;
    let events = samples.events(&a, 3);
    commit(&history, &samples, fence, &events).await;
    fixture.retain(&history, &a, 0).await;
    let (keys, head) = ([a.clone()], Some(&events[2].event.position()).copied());
    assert_eq!(history.heads(&samples.stream().log, &keys).await.unwrap().get(&a).copied(), head);
    fixture.shut(history).await;
    let history = fixture.open().await;
    assert_eq!(history.heads(&samples.stream().log, &keys).await.unwrap().get(&a).copied(), head);
    fixture.shut(history).await;
}

/// Those of the stream whose head lies above the position; many at once.
pub async fn changed_channels_are_found(fixture: &impl HistoryFixture) {
    let history = fixture.open().await;
    let (mut samples, mut other) = (Samples::new(stream(1, 0)), Samples::new(stream(1, 1)));
    let fence = claim(&history, &samples).await.fence;
    let keys: Vec<_> = (0..300).map(|i| channel(&format!("c{i}"))).collect();
    let events: Vec<_> = keys.iter().map(|key| samples.event(key, "x")).collect();
    commit(&history, &samples, fence, &events).await;
    let fence = claim(&history, &other).await.fence;
    let elsewhere = other.events(&channel("elsewhere"), 900);
    commit(&history, &other, fence, &elsewhere).await;

    assert_eq!(history.heads(&samples.stream().log, &keys).await.unwrap().len(), 300);
    let above = events[197].event.position();
    let mut changed = history.changed_above(samples.stream(), above).await.unwrap();
    changed.sort();
    let mut expected = keys[198..].to_vec();
    expected.sort();
    assert_eq!(changed, expected);
    fixture.shut(history).await;
}

/// At once, each with its own fence and checkpoint.
pub async fn partitions_commit_side_by_side(fixture: &impl HistoryFixture) {
    let history = std::sync::Arc::new(fixture.open().await);
    let mut owners = tokio::task::JoinSet::new();
    for partition in 0..8 {
        let history = history.clone();
        owners.spawn(async move {
            let mut samples = Samples::new(stream(1, partition));
            let (key, start) = (channel(&format!("p{partition}")), samples.position());
            let fence = claim(&*history, &samples).await.fence;
            let mut all = Vec::new();
            for _ in 0..20 {
                let events = samples.events(&key, 5);
                commit(&*history, &samples, fence, &events).await;
                all.extend(events);
            }
            let read = read_after(&*history, &samples, &key, start).await;
            assert_eq!((read.gone, read.events), (None, plain(&all)));
        });
    }
    owners.join_all().await;
    let streams: Vec<_> = (0..8).map(|partition| stream(1, partition)).collect();
    let checkpoints = history.checkpoints(&streams).await.unwrap();
    assert_eq!(checkpoints.len(), 8);
    assert!(checkpoints.values().all(|checkpoint| checkpoint.position.passed == 99));
    fixture.shut(std::sync::Arc::into_inner(history).unwrap()).await;
}
