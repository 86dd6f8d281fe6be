//! A source in memory that several readers share, of which only the newest may commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use meridian_core::embedded::faulty::Chance;
use meridian_core::seams::{
    DeadLetter, Source, SourceBounds, SourceCommit, SourceError, SourceRecord,
};
use tokio::sync::watch;

/// What the readers share.
#[derive(Clone)]
pub(super) struct MemorySource {
    state: Arc<Mutex<State>>,
    changes: watch::Sender<u64>,
}

struct State {
    records: BTreeMap<u32, Vec<SourceRecord>>,
    earliest: u64,
    commits: BTreeMap<u32, SourceCommit>,
    letters: Vec<DeadLetter>,
    /// The reader that owns all partitions.
    owner: u64,
    /// It was recreated: commits no longer fit.
    replaced: bool,
    chance: Chance,
    /// How often a request fails, in thousandths; a commit may have been made all the same.
    fails: u32,
}

/// One reader's view.
pub(super) struct Reader {
    source: MemorySource,
    number: u64,
    owned: watch::Sender<BTreeSet<u32>>,
}

impl MemorySource {
    pub(super) fn new(partitions: u32, seed: u64) -> Self {
        let state = State {
            records: (0..partitions).map(|partition| (partition, Vec::new())).collect(),
            earliest: 0,
            commits: BTreeMap::new(),
            letters: Vec::new(),
            owner: 0,
            replaced: false,
            chance: Chance::new(seed),
            fails: 0,
        };
        Self { state: Arc::new(Mutex::new(state)), changes: watch::Sender::new(0) }
    }

    pub(super) fn push(&self, partition: u32, key: &str, payload: &str) {
        let mut state = self.state();
        let records = state.records.get_mut(&partition).unwrap();
        records.push(SourceRecord {
            partition,
            offset: records.len() as u64,
            key: Some(Bytes::copy_from_slice(key.as_bytes())),
            headers: Vec::new(),
            payload: Some(Bytes::copy_from_slice(payload.as_bytes())),
        });
        drop(state);
        self.tell();
    }

    /// A new reader, which from now on owns all partitions.
    pub(super) fn reader(&self) -> Arc<Reader> {
        let mut state = self.state();
        state.owner += 1;
        let owned = watch::Sender::new(state.records.keys().copied().collect());
        Arc::new(Reader { source: self.clone(), number: state.owner, owned })
    }

    pub(super) fn fails(&self, per_mille: u32) {
        self.state().fails = per_mille;
    }

    pub(super) fn retain_from(&self, earliest: u64) {
        self.state().earliest = earliest;
    }

    /// The source is made anew, with nothing in it.
    pub(super) fn replace(&self) {
        let mut state = self.state();
        state.records.values_mut().for_each(Vec::clear);
        state.replaced = true;
        drop(state);
        self.tell();
    }

    pub(super) fn letters(&self) -> Vec<DeadLetter> {
        self.state().letters.clone()
    }

    pub(super) fn commit_of(&self, partition: u32) -> Option<SourceCommit> {
        self.state().commits.get(&partition).copied()
    }

    /// Waits until all that was pushed is committed.
    pub(super) async fn done(&self) {
        let mut changes = self.changes.subscribe();
        let done = |state: &State| {
            state.records.iter().all(|(partition, records)| {
                let next = state.commits.get(partition).map_or(0, |commit| commit.next);
                next == records.len() as u64
            })
        };
        changes.wait_for(|_| done(&self.state())).await.unwrap();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn tell(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn answer(&self) -> Result<MutexGuard<'_, State>, SourceError> {
        let mut state = self.state();
        let fails = state.fails;
        if state.chance.happens(fails) { Err(SourceError::Unavailable) } else { Ok(state) }
    }
}

#[async_trait]
impl Source for Reader {
    fn owned(&self) -> watch::Receiver<BTreeSet<u32>> {
        self.owned.subscribe()
    }

    async fn committed(&self, partition: u32) -> Result<Option<SourceCommit>, SourceError> {
        let state = self.source.answer()?;
        let commit = state.commits.get(&partition).copied();
        match commit {
            Some(SourceCommit { generation, .. }) if state.replaced => {
                Err(SourceError::Replaced { generation })
            }
            commit => Ok(commit),
        }
    }

    async fn bounds(&self, partition: u32) -> Result<SourceBounds, SourceError> {
        let state = self.source.answer()?;
        let end = state.records[&partition].len() as u64;
        Ok(SourceBounds { earliest: state.earliest, end })
    }

    async fn read(
        &self,
        partition: u32,
        from: u64,
        max_records: usize,
        _: usize,
    ) -> Result<Vec<SourceRecord>, SourceError> {
        let mut changes = self.source.changes.subscribe();
        loop {
            changes.borrow_and_update();
            {
                let state = self.source.answer()?;
                if from < state.earliest {
                    return Err(SourceError::Gone { earliest: state.earliest });
                }
                let records = state.records[&partition].iter().skip(from as usize);
                let found: Vec<_> = records.take(max_records).cloned().collect();
                if !found.is_empty() {
                    return Ok(found);
                }
            }
            changes.changed().await.unwrap();
        }
    }

    async fn commit(&self, partition: u32, commit: SourceCommit) -> Result<(), SourceError> {
        // Where a crash may fall, and an answer be late.
        tokio::task::yield_now().await;
        let mut state = self.source.answer()?;
        if state.owner != self.number {
            return Err(SourceError::NotOwned);
        }
        state.commits.insert(partition, commit);
        state.replaced = false;
        let fails = state.fails;
        let lost = state.chance.happens(fails);
        drop(state);
        self.source.tell();
        if lost { Err(SourceError::Unavailable) } else { Ok(()) }
    }

    async fn dead_letter(&self, letters: Vec<DeadLetter>) -> Result<(), SourceError> {
        tokio::task::yield_now().await;
        let mut state = self.source.answer()?;
        state.letters.extend(letters);
        Ok(())
    }
}
