//! A backplane in memory that can be unavailable, be emptied, and go back to an older state as a
//! failover does.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use meridian_core::seams::{
    Applied, ApplyOutcome, Backplane, BackplaneError, Ephemeral, HotHead, HotRead, Link, Stale,
};
use meridian_core::vocabulary::{ChannelKey, Event, Position, Prev, Stream};

use super::Changes;

pub(crate) struct TestBackplane {
    state: Mutex<State>,
    changes: Changes,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) marker: Option<Position>,
    pub(crate) streams: HashMap<ChannelKey, Vec<Arc<Event>>>,
    /// Everything sent to links, in order.
    pub(crate) sent: Vec<Arc<Event>>,
    pub(crate) down: bool,
    /// The next applies are carried out and then answered with an error.
    pub(crate) lost_answers: usize,
    pub(crate) repairs: usize,
    /// After so many more events, in the middle of an apply, a failover loses so many writes.
    pub(crate) failover_after: Option<(usize, usize)>,
    /// Before each write.
    journal: Vec<Snapshot>,
}

type Snapshot = (Option<Position>, HashMap<ChannelKey, Vec<Arc<Event>>>);

impl TestBackplane {
    pub(crate) fn new(changes: Changes) -> Self {
        Self { state: Mutex::default(), changes }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn down(&self, down: bool) {
        self.state().down = down;
    }

    /// A failover to a replica that lacks the last writes.
    pub(crate) fn lose_writes(&self, count: usize) {
        self.state().lose_writes(count);
    }

    /// A restart without a file.
    pub(crate) fn empty(&self) {
        let mut state = self.state();
        (state.marker, state.streams) = (None, HashMap::new());
        state.journal.clear();
    }

    /// Each channel's hot history ends where the marker says that it does.
    pub(crate) fn check(&self, truth: &BTreeMap<Position, Arc<Event>>) {
        let state = self.state();
        let Some(marker) = state.marker else { return };
        for (key, events) in &state.streams {
            let upto: Vec<_> = truth.range(..=marker).filter(|(_, e)| e.key == *key).collect();
            let tail = &upto[upto.len().saturating_sub(events.len())..];
            let same = tail.iter().zip(events).all(|((_, known), hot)| known.offset == hot.offset);
            let held: Vec<_> = events.iter().map(|event| event.offset.0).collect();
            assert!(same && tail.len() == events.len(), "{key:?} to {marker:?} is not {held:?}");
        }
    }

    fn answer(&self) -> Result<MutexGuard<'_, State>, BackplaneError> {
        let state = self.state();
        if state.down { Err(BackplaneError) } else { Ok(state) }
    }
}

impl State {
    fn lose_writes(&mut self, count: usize) {
        let keep = self.journal.len().saturating_sub(count);
        let oldest = self.journal.drain(keep..).next();
        if let Some(oldest) = oldest {
            (self.marker, self.streams) = oldest;
        }
    }

    fn fail_over_in_time(&mut self) {
        if let Some((after, lost)) = self.failover_after.take() {
            match after.checked_sub(1) {
                Some(after) => self.failover_after = Some((after, lost)),
                None => self.lose_writes(lost),
            }
        }
    }

    fn apply(&mut self, applied: &Applied) -> ApplyOutcome {
        let position = applied.event.position();
        match self.marker {
            Some(marker) if marker == applied.last_kept_before => {}
            Some(marker) if marker >= position => return ApplyOutcome::Repeat,
            marker => return ApplyOutcome::Mismatch { marker },
        }
        self.journal.push((self.marker, self.streams.clone()));
        let hot = self.streams.entry(applied.event.key.clone()).or_default();
        if hot.last().is_some_and(|top| applied.event.prev != Prev::At(top.position())) {
            hot.clear();
        }
        hot.push(applied.event.clone());
        self.marker = Some(position);
        self.sent.push(applied.event.clone());
        ApplyOutcome::Applied
    }
}

#[async_trait]
impl Backplane for TestBackplane {
    async fn apply(
        &self,
        _: &Stream,
        events: &[Applied],
    ) -> Result<Vec<ApplyOutcome>, BackplaneError> {
        let mut state = self.answer()?;
        let mut outcomes = Vec::new();
        for applied in events {
            state.fail_over_in_time();
            outcomes.push(state.apply(applied));
            if matches!(outcomes.last(), Some(ApplyOutcome::Mismatch { .. })) {
                break;
            }
        }
        let lost = state.lost_answers.checked_sub(1);
        state.lost_answers = lost.unwrap_or(0);
        drop(state);
        self.changes.tell();
        if lost.is_some() { Err(BackplaneError) } else { Ok(outcomes) }
    }

    async fn marker(&self, _: &Stream) -> Result<Option<Position>, BackplaneError> {
        Ok(self.answer()?.marker)
    }

    async fn repair(
        &self,
        _: &Stream,
        found: Option<Position>,
        stale: Stale<'_>,
        restored: Position,
    ) -> Result<bool, BackplaneError> {
        let mut state = self.answer()?;
        if state.marker != found {
            return Ok(false);
        }
        let before = (state.marker, state.streams.clone());
        state.journal.push(before);
        match stale {
            Stale::All => state.streams.clear(),
            Stale::Channels(keys) => state.streams.retain(|key, _| !keys.contains(key)),
        }
        state.marker = Some(restored);
        state.repairs += 1;
        drop(state);
        self.changes.tell();
        Ok(true)
    }

    async fn trim_below(&self, _: &Stream, _: Position) -> Result<(), BackplaneError> {
        self.answer().map(|_| ())
    }

    async fn heads(&self, _: &Stream, keys: &[ChannelKey]) -> Result<Vec<HotHead>, BackplaneError> {
        let state = self.answer()?;
        let head = |key: &ChannelKey| Some(state.streams.get(key)?.last()?.position());
        let hot = |key: &ChannelKey| HotHead { head: head(key), marker: state.marker };
        Ok(keys.iter().map(hot).collect())
    }

    async fn read(
        &self,
        _: &ChannelKey,
        _: &Stream,
        _: Position,
        _: usize,
    ) -> Result<HotRead, BackplaneError> {
        panic!("routers read no channel")
    }

    async fn send(&self, _: Arc<Ephemeral>) -> Result<(), BackplaneError> {
        panic!("routers send nothing ephemeral")
    }

    async fn link(&self) -> Result<Link, BackplaneError> {
        panic!("routers follow nothing")
    }
}
