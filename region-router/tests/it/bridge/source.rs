//! A source in memory that several readers share. A reader may take the others for dead, which then do
//! not know.

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
    /// Where it is not the beginning.
    earliest: BTreeMap<u32, u64>,
    commits: BTreeMap<u32, SourceCommit>,
    letters: Vec<DeadLetter>,
    /// Readers made so far.
    readers: u64,
    /// Those among which the partitions are shared.
    members: Vec<Member>,
    /// Partitions whose commits are of the source that was.
    replaced: BTreeSet<u32>,
    chance: Chance,
    /// How often a request fails, in thousandths; a commit may have been made all the same.
    fails: u32,
}

struct Member {
    reader: u64,
    owned: watch::Sender<BTreeSet<u32>>,
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
            earliest: BTreeMap::new(),
            commits: BTreeMap::new(),
            letters: Vec::new(),
            readers: 0,
            members: Vec::new(),
            replaced: BTreeSet::new(),
            chance: Chance::new(seed),
            fails: 0,
        };
        Self { state: Arc::new(Mutex::new(state)), changes: watch::Sender::new(0) }
    }

    pub(super) fn push(&self, partition: u32, key: &str, payload: &str) {
        let text = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes()));
        let (key, payload) = (text(key), text(payload));
        self.push_record(SourceRecord { partition, offset: 0, key, headers: Vec::new(), payload });
    }

    /// Its offset is the next one.
    pub(super) fn push_record(&self, record: SourceRecord) {
        let mut state = self.state();
        let records = state.records.get_mut(&record.partition).unwrap();
        let offset = records.len() as u64;
        records.push(SourceRecord { offset, ..record });
        drop(state);
        self.tell();
    }

    /// A new reader, which shares the partitions with those that are there.
    pub(super) fn reader(&self) -> Reader {
        let mut state = self.state();
        state.readers += 1;
        let (number, owned) = (state.readers, watch::Sender::new(BTreeSet::new()));
        state.members.push(Member { reader: number, owned: owned.clone() });
        state.share();
        Reader { source: self.clone(), number, owned }
    }

    /// A new reader, which takes those that are there for dead. They are not told.
    pub(super) fn survivor(&self) -> Reader {
        self.state().members.clear();
        self.reader()
    }

    /// A reader ends in order.
    pub(super) fn leave(&self, reader: &Reader) {
        let mut state = self.state();
        state.members.retain(|member| member.reader != reader.number);
        state.share();
    }

    pub(super) fn fails(&self, per_mille: u32) {
        self.state().fails = per_mille;
    }

    pub(super) fn retain_from(&self, partition: u32, earliest: u64) {
        self.state().earliest.insert(partition, earliest);
    }

    /// The source is made anew, with nothing in it.
    pub(super) fn replace(&self) {
        let mut state = self.state();
        state.records.values_mut().for_each(Vec::clear);
        state.earliest.clear();
        state.replaced = state.commits.keys().copied().collect();
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

impl State {
    /// Shares the partitions among the members. Who loses some knows it before others have them.
    fn share(&self) {
        let share = |at: usize| -> BTreeSet<u32> {
            let owned = |partition: &u32| *partition as usize % self.members.len() == at;
            self.records.keys().copied().filter(owned).collect()
        };
        for (at, member) in self.members.iter().enumerate() {
            let share = share(at);
            member.owned.send_modify(|owned| owned.retain(|partition| share.contains(partition)));
        }
        for (at, member) in self.members.iter().enumerate() {
            member.owned.send_replace(share(at));
        }
    }

    fn is_owner(&self, reader: u64, partition: u32) -> bool {
        let at = partition as usize % self.members.len().max(1);
        self.members.get(at).is_some_and(|member| member.reader == reader)
    }

    fn earliest(&self, partition: u32) -> u64 {
        self.earliest.get(&partition).copied().unwrap_or(0)
    }

    fn read(&self, partition: u32, from: u64, max: (usize, usize)) -> Vec<SourceRecord> {
        let (max_records, max_bytes) = max;
        let mut bytes = 0;
        let records = self.records[&partition].iter().skip(from as usize).take(max_records);
        let within = records.take_while(|record| {
            let has_room = bytes < max_bytes;
            bytes += record.payload.as_ref().map_or(0, Bytes::len);
            has_room
        });
        within.cloned().collect()
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
            Some(SourceCommit { generation, .. }) if state.replaced.contains(&partition) => {
                Err(SourceError::Replaced { generation })
            }
            commit => Ok(commit),
        }
    }

    async fn bounds(&self, partition: u32) -> Result<SourceBounds, SourceError> {
        let state = self.source.answer()?;
        let end = state.records[&partition].len() as u64;
        Ok(SourceBounds { earliest: state.earliest(partition), end })
    }

    async fn read(
        &self,
        partition: u32,
        from: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<SourceRecord>, SourceError> {
        let mut changes = self.source.changes.subscribe();
        loop {
            changes.borrow_and_update();
            {
                let state = self.source.answer()?;
                let earliest = state.earliest(partition);
                if from < earliest {
                    return Err(SourceError::Gone { earliest });
                }
                let found = state.read(partition, from, (max_records, max_bytes));
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
        if !state.is_owner(self.number, partition) {
            return Err(SourceError::NotOwned);
        }
        state.commits.insert(partition, commit);
        state.replaced.remove(&partition);
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
