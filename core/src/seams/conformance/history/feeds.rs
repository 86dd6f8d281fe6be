//! What is said of a feed: values, removals, evictions, by offset.

use std::collections::BTreeMap;

use super::{ALL, HistoryFixture, claim, commit};
use crate::embedded::faulty::Chance;
use crate::feed::{CurrentKey, CurrentKeys};
use crate::seams::conformance::{Samples, channel, stream};
use crate::seams::{
    Applied, ChangesFrom, ChangesRead, GoneReason, History, ReadBounds, is_removal,
};
use crate::vocabulary::{Body, ChannelKey, EventKind, FeedBounds, Position};

const BOUNDS: FeedBounds = FeedBounds { keys: 6, bytes: 600 };

/// A reader that keeps what it was told.
#[derive(Debug, Clone)]
struct Reader {
    from: ChangesFrom,
    values: BTreeMap<String, Position>,
}

impl Reader {
    fn new() -> Self {
        Self { from: ChangesFrom::Start, values: BTreeMap::new() }
    }

    fn at(position: Position, values: BTreeMap<String, Position>) -> Self {
        Self { from: ChangesFrom::After { after: position, since: position }, values }
    }

    /// Takes one page; whether more follow.
    async fn page(
        &mut self,
        history: &impl History,
        samples: &Samples,
        key: &ChannelKey,
        bounds: ReadBounds,
    ) -> bool {
        let read = history.changes(key, samples.stream(), self.from, bounds).await.unwrap();
        let ChangesRead::Changes { rows, position, since, more } = read else {
            panic!("{read:?} for {self:?}");
        };
        assert!(rows.is_sorted_by(|a, b| a.position() <= b.position()), "{rows:?}");
        for row in rows {
            let name = row.body.key.clone().unwrap();
            match is_removal(&row) {
                true => drop(self.values.remove(&name)),
                false => drop(self.values.insert(name, row.position())),
            }
        }
        self.from = ChangesFrom::After { after: position, since };
        more
    }
}

/// A feed as its router knows it.
#[derive(Default)]
struct Feed {
    keys: CurrentKeys,
    values: BTreeMap<String, Position>,
}

impl Feed {
    fn event(
        &mut self,
        samples: &mut Samples,
        channel: &ChannelKey,
        name: &str,
        data: Option<usize>,
    ) -> Applied {
        let kind = data.map_or(EventKind::Remove, |_| EventKind::Publish);
        let data = vec![b'1'; data.unwrap_or(0)].into();
        let (key, bounds) = (Some(name.to_owned()), Some(BOUNDS));
        let mut body = Body { kind, key, data, bounds, ..Body::default() };
        let at = Position { passed: samples.position().passed + 1, ..samples.position() };
        body.evicts = self.keys.apply(at, &body);
        match kind {
            EventKind::Publish => drop(self.values.insert(name.to_owned(), at)),
            _ => drop(self.values.remove(name)),
        }
        for evicted in &body.evicts {
            self.values.remove(evicted);
        }
        samples.event_of(channel, body)
    }
}

/// Whoever reads to the end, from anywhere and while more is stored, has just the current values; and so
/// has whoever claims.
pub async fn readers_of_a_feed_converge(fixture: &impl HistoryFixture, seed: u64) {
    let mut chance = Chance::new(seed);
    let history = fixture.open().await;
    let (mut samples, a, b) = (Samples::new(stream(1, 0)), channel("a"), channel("b"));
    let fence = claim(&history, &samples).await.fence;
    let mut feed = Feed::default();
    let mut readers = vec![Reader::new()];
    for _ in 0..60 {
        let mut events = Vec::new();
        for _ in 0..1 + chance.below(4) {
            let name = format!("k\0{}", chance.below(12));
            let data = (chance.below(5) > 0).then(|| chance.below(90) as usize);
            events.push(feed.event(&mut samples, &a, &name, data));
        }
        events.push(samples.event(&b, "no feed"));
        commit(&history, &samples, fence, &events).await;
        readers.push(Reader::new());
        readers.push(Reader::at(samples.position(), feed.values.clone()));
        for _ in 0..4 {
            let reader = chance.below(readers.len() as u64) as usize;
            let bounds = ReadBounds { max_events: 1 + chance.below(3) as usize, ..ALL };
            readers[reader].page(&history, &samples, &a, bounds).await;
        }
    }
    for mut reader in readers {
        let bounds = ReadBounds { max_events: 1 + chance.below(8) as usize, max_bytes: 500, ..ALL };
        while reader.page(&history, &samples, &a, bounds).await {}
        assert_eq!(reader.values, feed.values);
        let at = samples.position();
        assert!(matches!(reader.from, ChangesFrom::After { after, .. } if after == at));
    }
    let claimed = claim(&history, &samples).await.feeds;
    let keys: Vec<CurrentKey> = claimed
        .into_iter()
        .map(|(key, current)| {
            assert_eq!(key, a);
            current
        })
        .collect();
    assert_eq!(CurrentKeys::restore(keys), feed.keys);
    fixture.shut(history).await;
}

/// A reader from before a removal that is not kept any more needs a snapshot; one that began it since
/// does not.
pub async fn a_forgotten_removal_is_a_gap(fixture: &impl HistoryFixture) {
    let history = fixture.open().await;
    let (mut samples, a) = (Samples::new(stream(1, 0)), channel("a"));
    let fence = claim(&history, &samples).await.fence;
    let mut feed = Feed::default();
    let mut events = vec![feed.event(&mut samples, &a, "stays", Some(1))];
    events.push(feed.event(&mut samples, &a, "goes", Some(1)));
    commit(&history, &samples, fence, &events).await;
    let (before, values) = (samples.position(), feed.values.clone());
    let mut snapshot = Reader::new();
    let removal = [feed.event(&mut samples, &a, "goes", None)];
    commit(&history, &samples, fence, &removal).await;
    // A page from a time when the removal was stored already.
    let bounds = ReadBounds { max_events: 1, ..ALL };
    let newer = [feed.event(&mut samples, &a, "newer", Some(1))];
    commit(&history, &samples, fence, &newer).await;
    assert!(snapshot.page(&history, &samples, &a, bounds).await);

    let mut waits = Reader::at(before, values);
    waits.clone().page(&history, &samples, &a, ALL).await;
    samples.time_ms += 1_000;
    let last = [feed.event(&mut samples, &a, "last", Some(1))];
    commit(&history, &samples, fence, &last).await;
    fixture.retain(&history, &a, 1).await;

    let gone = history.changes(&a, samples.stream(), waits.from, ALL).await.unwrap();
    assert_eq!(gone, ChangesRead::Gone { reason: GoneReason::Retention });
    waits.from = ChangesFrom::Start;
    waits.values.clear();
    for mut reader in [waits, snapshot] {
        while reader.page(&history, &samples, &a, bounds).await {}
        assert_eq!(reader.values, feed.values);
    }
    fixture.shut(history).await;
}

/// Ahead of the checkpoint is not yet; another epoch is a gap, and keeps the values.
pub async fn values_outlive_an_epoch(fixture: &impl HistoryFixture) {
    let history = fixture.open().await;
    let (mut samples, a) = (Samples::new(stream(1, 0)), channel("a"));
    let fence = claim(&history, &samples).await.fence;
    let mut feed = Feed::default();
    let events = [feed.event(&mut samples, &a, "old", Some(1))];
    commit(&history, &samples, fence, &events).await;
    let old = samples.position();
    let ahead = Position { passed: old.passed + 1, ..old };
    let from = ChangesFrom::After { after: ahead, since: ahead };
    let read = history.changes(&a, samples.stream(), from, ALL).await.unwrap();
    assert_eq!(read, ChangesRead::NotYet { applied: old });

    let mut samples = samples.next_epoch();
    let claimed = claim(&history, &samples).await;
    assert_eq!(claimed.feeds.len(), 1, "the next epoch's router goes on with them");
    let events = [feed.event(&mut samples, &a, "new", Some(1))];
    commit(&history, &samples, claimed.fence, &events).await;
    let from = ChangesFrom::After { after: old, since: old };
    let read = history.changes(&a, samples.stream(), from, ALL).await.unwrap();
    assert_eq!(read, ChangesRead::Gone { reason: GoneReason::Epoch });
    let mut reader = Reader::new();
    while reader.page(&history, &samples, &a, ReadBounds { max_events: 1, ..ALL }).await {}
    assert_eq!(reader.values, feed.values);
    fixture.shut(history).await;
}
