//! A history in memory that can be unavailable and slow.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use meridian_core::feed::{self, Change, CurrentKey};
use meridian_core::seams::{
    Acknowledged, AcknowledgedKey, Batch, ChangesFrom, ChangesRead, Checkpoint, Claim, CommitError,
    History, HistoryError, HistoryRead, KeyedAck, Marks, ReadBounds, ReadFrom, WindowRow,
};
use meridian_core::vocabulary::{ChannelKey, Event, LogName, Partition, Position, Stream};
use tokio::sync::watch;

use super::{Changes, at};

pub(crate) struct TestHistory {
    state: Mutex<Stored>,
    open: watch::Sender<bool>,
    changes: Changes,
}

#[derive(Default)]
pub(crate) struct Stored {
    pub(crate) fence: u64,
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) events: BTreeMap<Position, Arc<Event>>,
    pub(crate) window: Vec<WindowRow>,
    pub(crate) marks: Marks,
    pub(crate) heads: HashMap<ChannelKey, Position>,
    /// The rows of feeds.
    pub(crate) values: BTreeMap<(ChannelKey, Option<String>), Arc<Event>>,
    pub(crate) down: bool,
    /// The next claim panics.
    pub(crate) panics: bool,
    /// The next commits are stored and answered `Unavailable`.
    pub(crate) lost_answers: usize,
}

impl TestHistory {
    pub(crate) fn new(changes: Changes) -> Self {
        Self { state: Mutex::default(), open: watch::Sender::new(true), changes }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, Stored> {
        self.state.lock().unwrap()
    }

    pub(crate) fn down(&self, down: bool) {
        self.state().down = down;
    }

    /// While closed, commits hang.
    pub(crate) fn open(&self, open: bool) {
        self.open.send_replace(open);
    }

    /// The checkpoint's position.
    pub(crate) fn position(&self) -> Position {
        self.state().checkpoint.as_ref().map_or(at(-1), |stored| stored.position)
    }

    /// Holds just the truth, each record's row once.
    pub(crate) fn check(&self, truth: &BTreeMap<Position, Arc<Event>>) {
        let state = self.state();
        assert_eq!(&state.events, truth, "the history and the log tell different things");
        let offsets: Vec<_> = state.window.iter().map(|row| row.offset).collect();
        assert!(offsets.is_sorted_by(|a, b| a < b), "window rows twice: {offsets:?}");
    }

    fn answer(&self) -> Result<MutexGuard<'_, Stored>, HistoryError> {
        let state = self.state();
        if state.down { Err(HistoryError) } else { Ok(state) }
    }
}

#[async_trait]
impl History for TestHistory {
    async fn claim(&self, _: &Stream, max_window_rows: usize) -> Result<Claim, HistoryError> {
        let mut state = self.answer()?;
        if std::mem::take(&mut state.panics) {
            drop(state);
            panic!("as a test asked");
        }
        state.fence += 1;
        let newest = state.window.len().saturating_sub(max_window_rows);
        Ok(Claim {
            fence: state.fence,
            checkpoint: state.checkpoint.clone(),
            window: state.window[newest..].to_vec(),
            marks: state.marks.clone(),
            feeds: state.values.values().filter_map(current).collect(),
        })
    }

    async fn commit(&self, _: &Stream, batch: Batch) -> Result<(), CommitError> {
        let _ = self.open.subscribe().wait_for(|open| *open).await;
        let mut state = self.answer().map_err(|_| CommitError::Unavailable)?;
        if batch.fence != state.fence {
            return Err(CommitError::Fenced);
        }
        for event in batch.events {
            let head = state.heads.entry(event.key.clone()).or_insert(event.position());
            *head = event.position().max(*head);
            for row in feed::rows(&event) {
                let key = (row.key.clone(), row.body.key.clone());
                state.values.insert(key, row);
            }
            state.events.insert(event.position(), event);
        }
        let known = state.window.last().map(|row| row.offset);
        let new = batch.window.into_iter().filter(|row| known.is_none_or(|k| row.offset > k));
        state.window.extend(new);
        assert!(state.checkpoint.as_ref().is_none_or(|c| c.position <= batch.checkpoint.position));
        state.marks.extend(batch.marks);
        state.checkpoint = Some(batch.checkpoint);
        if let Some(left) = state.lost_answers.checked_sub(1) {
            state.lost_answers = left;
            return Err(CommitError::Unavailable);
        }
        drop(state);
        self.changes.tell();
        Ok(())
    }

    async fn heads(
        &self,
        _: &LogName,
        keys: &[ChannelKey],
    ) -> Result<HashMap<ChannelKey, Position>, HistoryError> {
        let state = self.answer()?;
        let head = |key: &ChannelKey| Some((key.clone(), *state.heads.get(key)?));
        Ok(keys.iter().filter_map(head).collect())
    }

    async fn changed_above(
        &self,
        _: &Stream,
        above: Position,
    ) -> Result<Vec<ChannelKey>, HistoryError> {
        let state = self.answer()?;
        let changed = state.heads.iter().filter(|(_, head)| **head > above);
        Ok(changed.map(|(key, _)| key.clone()).collect())
    }

    async fn checkpoints(
        &self,
        _: &[Stream],
    ) -> Result<HashMap<Partition, Checkpoint>, HistoryError> {
        panic!("routers claim")
    }

    async fn read(
        &self,
        _: &ChannelKey,
        _: &Stream,
        _: ReadFrom,
        _: ReadBounds,
    ) -> Result<HistoryRead, HistoryError> {
        panic!("routers read no channel")
    }

    async fn changes(
        &self,
        _: &ChannelKey,
        _: &Stream,
        _: ChangesFrom,
        _: ReadBounds,
    ) -> Result<ChangesRead, HistoryError> {
        panic!("routers read no feed")
    }

    async fn acknowledge(&self, _: Vec<KeyedAck>) -> Result<Vec<KeyedAck>, HistoryError> {
        panic!("routers acknowledge nothing")
    }

    async fn acknowledged(
        &self,
        _: &AcknowledgedKey,
    ) -> Result<Option<Acknowledged>, HistoryError> {
        panic!("routers acknowledge nothing")
    }
}

/// What a claim tells of a row.
fn current(row: &Arc<Event>) -> Option<(ChannelKey, CurrentKey)> {
    let Some(Change::Set { key, weight }) = feed::change(&row.body) else { return None };
    Some((row.key.clone(), CurrentKey { key: key.into(), at: row.position(), weight }))
}
