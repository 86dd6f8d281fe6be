//! Random schedules of commits, takeovers, retention, restarts and new epochs, and readers that page
//! through channels meanwhile; held against everything that was ever made. No reader may see a
//! false gap, miss a gap, or get an event twice or out of order.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::HistoryFixture;
use crate::embedded::faulty::Chance;
use crate::seams::conformance::{Samples, channel, stream};
use crate::seams::{Applied, Gone, GoneReason, History, HistoryRead, ReadBounds, ReadFrom};
use crate::vocabulary::{ChannelKey, Epoch, Event, Position, Prev};

const STEPS: usize = 400;
const CHANNELS: u64 = 3;
const DAY_MS: u64 = 86_400_000;

/// A channel's events that were ever stored, and how many of the oldest are removed.
#[derive(Default)]
struct Model {
    events: Vec<Arc<Event>>,
    removed: usize,
}

struct Run<'a, F: HistoryFixture> {
    fixture: &'a F,
    chance: Chance,
    /// `None` only within a restart.
    history: Option<F::History>,
    samples: Samples,
    fence: u64,
    models: BTreeMap<ChannelKey, Model>,
    /// Per reader its channel and position.
    readers: Vec<(ChannelKey, Position)>,
    now_ms: u64,
}

/// One schedule, given by its seed, on an empty history.
pub async fn no_reader_is_misled(fixture: &impl HistoryFixture, seed: u64) {
    let mut run = Run::new(fixture, seed).await;
    for _ in 0..STEPS {
        run.step().await;
    }
    if let Some(history) = run.history {
        fixture.shut(history).await;
    }
}

impl<'a, F: HistoryFixture> Run<'a, F> {
    async fn new(fixture: &'a F, seed: u64) -> Self {
        let history = fixture.open().await;
        let samples = Samples::new(stream(1, 0));
        let fence = history.claim(samples.stream(), 10).await.unwrap().fence;
        let keys: Vec<ChannelKey> = (0..CHANNELS).map(|i| channel(&format!("c{i}"))).collect();
        let readers = (0..6).map(|i| (keys[i % keys.len()].clone(), samples.position())).collect();
        let models = keys.into_iter().map(|key| (key, Model::default())).collect();
        let (chance, history, now_ms) = (Chance::new(seed), Some(history), 1_000_000);
        Self { fixture, chance, history, samples, fence, models, readers, now_ms }
    }

    fn history(&self) -> &F::History {
        self.history.as_ref().unwrap()
    }

    async fn step(&mut self) {
        match self.chance.below(100) {
            0..30 => self.commit().await,
            30..40 => self.retain().await,
            40..43 => self.take_over().await,
            43..45 => self.restart().await,
            45..46 => self.new_epoch().await,
            46..50 => self.move_a_reader(),
            50..55 => self.newest().await,
            _ => self.read().await,
        }
    }

    fn key(&mut self) -> ChannelKey {
        channel(&format!("c{}", self.chance.below(CHANNELS)))
    }

    async fn commit(&mut self) {
        let mut made: Vec<Applied> = Vec::new();
        for _ in 0..self.chance.below(6) {
            self.now_ms += self.chance.below(50);
            if self.chance.below(100) == 0 {
                self.now_ms += self.chance.below(4) * DAY_MS;
            }
            self.samples.time_ms = self.now_ms;
            let key = self.key();
            match self.chance.below(8) {
                0 => self.samples.skip(),
                1 => made.push(self.samples.event_with_prev(&key, "?", Prev::Unknown)),
                size => {
                    let data = "x".repeat(size as usize * 20);
                    made.push(self.samples.event(&key, &data));
                }
            }
        }
        let batch = self.samples.batch(self.fence, &made);
        for _ in 0..=self.chance.below(2) {
            self.history().commit(self.samples.stream(), batch.clone()).await.unwrap();
        }
        for applied in made {
            let model = self.models.get_mut(&applied.event.key).unwrap();
            model.events.push(applied.event);
        }
    }

    /// The same of all channels: a fixture may know no smaller step.
    async fn retain(&mut self) {
        let keep = self.chance.below(20);
        for (key, model) in &mut self.models {
            let history = self.history.as_ref().unwrap();
            self.fixture.retain(history, key, keep).await;
            model.removed = model.removed.max(model.events.len().saturating_sub(keep as usize));
        }
    }

    async fn take_over(&mut self) {
        let claim = self.history().claim(self.samples.stream(), 10).await.unwrap();
        self.fence = claim.fence;
        if let Some(checkpoint) = claim.checkpoint {
            assert_eq!(checkpoint, self.samples.checkpoint());
        }
    }

    async fn restart(&mut self) {
        if let Some(history) = self.history.take() {
            self.fixture.shut(history).await;
        }
        self.history = Some(self.fixture.open().await);
        for (key, model) in &self.models {
            let heads = self
                .history()
                .heads(&self.samples.stream().log, std::slice::from_ref(key))
                .await
                .unwrap();
            assert_eq!(heads.get(key).copied(), model.events.last().map(|last| last.position()));
        }
    }

    async fn new_epoch(&mut self) {
        self.samples = self.samples.next_epoch();
        self.take_over().await;
    }

    /// To anywhere that a cursor may point to.
    fn move_a_reader(&mut self) {
        let reader = self.chance.below(self.readers.len() as u64) as usize;
        let epoch = 1 + self.chance.below(u64::from(self.samples.stream().epoch.0)) as u32;
        let passed = self.chance.below(200) as i64 - 1;
        let position = Position { epoch: Epoch(epoch), passed }.min(self.samples.position());
        self.readers[reader].1 = position;
    }

    async fn newest(&mut self) {
        let (key, count) = (self.key(), self.chance.below(12) as usize);
        let read = self.ask(&key, ReadFrom::Last(count)).await;
        let HistoryRead::Events { gone, events, position, .. } = read else { panic!("{read:?}") };
        assert_eq!(gone, None);
        let model = &self.models[&key];
        let stored = &model.events[model.removed..];
        let newest = &stored[stored.len().saturating_sub(count)..];
        same(&events, &newest[..events.len()]);
        assert!(position <= self.samples.position());
    }

    async fn read(&mut self) {
        let reader = self.chance.below(self.readers.len() as u64) as usize;
        let (key, after) = self.readers[reader].clone();
        let read = self.ask(&key, ReadFrom::After(after)).await;
        let applied = self.applied();
        let (gone, events, position, more) = match read {
            HistoryRead::NotYet { applied: at } => {
                assert!(at == applied && after > applied, "{at} {after}");
                return;
            }
            HistoryRead::Events { gone, events, position, more } => (gone, events, position, more),
        };
        let model = &self.models[&key];
        let start = gone.map_or(after, |gone| gone.through);
        model.check_gap(after, gone, self.samples.stream().epoch);
        assert!(start >= after && position >= start && position <= applied);
        let crossed = gone.is_some_and(|gone| gone.reason == GoneReason::Epoch);
        assert_eq!(position.epoch > after.epoch, crossed);
        let due: Vec<Arc<Event>> = model.between(start, position);
        same(&events, &due);
        assert!(events.iter().all(|event| !model.is_removed(event)));
        if !more {
            assert_eq!(position, applied);
        }
        self.readers[reader].1 = position;
    }

    async fn ask(&mut self, key: &ChannelKey, from: ReadFrom) -> HistoryRead {
        let max_events = [1, 3, 100][self.chance.below(3) as usize];
        let max_bytes = [1, 1_000, 1 << 20][self.chance.below(3) as usize];
        let bounds = ReadBounds { max_events, max_bytes, oldest_time_ms: 0 };
        self.history().read(key, self.samples.stream(), from, bounds).await.unwrap()
    }

    /// Everything made is committed at once, also what was skipped since: up to the last commit.
    fn applied(&self) -> Position {
        self.samples.position()
    }
}

impl Model {
    /// What was ever stored after `from` up to `through`.
    fn between(&self, from: Position, through: Position) -> Vec<Arc<Event>> {
        let within = |event: &&Arc<Event>| event.position() > from && event.position() <= through;
        self.events.iter().filter(within).cloned().collect()
    }

    fn is_removed(&self, event: &Event) -> bool {
        let at = self.events.iter().position(|known| known.position() == event.position());
        at.is_none_or(|at| at < self.removed)
    }

    /// A gap must have a cause, and nothing readable may lie in it.
    fn check_gap(&self, after: Position, gone: Option<Gone>, newest: Epoch) {
        let Some(Gone { reason, through }) = gone else { return };
        let within = self.between(after, through);
        assert!(within.iter().all(|event| self.is_removed(event)), "{gone:?} after {after}");
        match reason {
            GoneReason::Retention => assert!(!within.is_empty(), "{gone:?} after {after}"),
            GoneReason::Epoch => assert!(after.epoch < through.epoch && through.epoch <= newest),
            GoneReason::Unknown => {
                let first = self.events.first().unwrap();
                assert_eq!((first.prev, within.len()), (Prev::Unknown, 0));
                assert_eq!(Position::before(first.stream.epoch, first.offset), through);
            }
        }
    }
}

/// The same events; an unknown predecessor may have become known.
fn same(read: &[Arc<Event>], expected: &[Arc<Event>]) {
    let positions = |events: &[Arc<Event>]| -> Vec<Position> {
        events.iter().map(|event| event.position()).collect()
    };
    assert_eq!(positions(read), positions(expected));
    for (read, expected) in read.iter().zip(expected) {
        assert_eq!((&read.body, &read.id), (&expected.body, &expected.id));
        assert!(read.prev == expected.prev || expected.prev == Prev::Unknown);
    }
}
