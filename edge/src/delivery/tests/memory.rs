//! A log and a history in memory, exact in what their seams promise, that can be away.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use meridian_core::seams::{
    Acknowledged, AcknowledgedKey, AppendError, Appended, Batch, ChangesFrom, ChangesRead,
    Checkpoint, Claim, CommitError, Gone, GoneReason, History, HistoryError, HistoryRead,
    Incarnation, KeyedAck, Log, LogError, LogRecord, Marks, ReadBounds, ReadFrom, WindowRow,
};
use meridian_core::vocabulary::{
    ChannelKey, Cursor, Epoch, Event, LogName, Offset, Partition, Position, Prev, Record, Stream,
};
use tokio::sync::watch;

/// One partition.
pub(super) struct MemoryLog {
    incarnation: Incarnation,
    records: Mutex<Vec<LogRecord>>,
    end: watch::Sender<u64>,
}

impl MemoryLog {
    pub(super) fn new(epoch: u32) -> Self {
        let incarnation = Incarnation {
            log: LogName::parse("global").unwrap(),
            epoch: Epoch(epoch),
            identity: "test".to_owned(),
            partitions: 1,
            window_records: 1 << 10,
            window_ms: 86_400_000,
        };
        Self { incarnation, records: Mutex::default(), end: watch::Sender::new(0) }
    }

    pub(super) fn records(&self) -> Vec<LogRecord> {
        self.records.lock().unwrap().clone()
    }
}

#[async_trait]
impl Log for MemoryLog {
    fn incarnation(&self) -> &Incarnation {
        &self.incarnation
    }

    async fn append(&self, new: Vec<Record>) -> Vec<Result<Appended, AppendError>> {
        let mut records = self.records.lock().unwrap();
        let append = |record: Record| {
            let offset = Offset(records.len() as u64);
            records.push(LogRecord { offset, time_ms: 1_000_000, stored: record.encode() });
            let position = Position::at(self.incarnation.epoch, offset);
            let log = self.incarnation.log.clone();
            Ok(Appended { cursor: Cursor { log, partition: Partition(0), position } })
        };
        let appended = new.into_iter().map(append).collect();
        self.end.send_replace(records.len() as u64);
        appended
    }

    async fn end(&self, _: Partition) -> Result<Offset, LogError> {
        Ok(Offset(*self.end.borrow()))
    }

    fn known_end(&self, _: Partition) -> Offset {
        Offset(*self.end.borrow())
    }

    async fn read(
        &self,
        _: Partition,
        from: Offset,
        max_records: usize,
        _: usize,
    ) -> Result<Vec<LogRecord>, LogError> {
        let records = self.records.lock().unwrap();
        Ok(records.iter().skip(from.0 as usize).take(max_records).cloned().collect())
    }

    async fn wait_for(&self, _: Partition, offset: Offset) -> Result<(), LogError> {
        let mut end = self.end.subscribe();
        let waited = end.wait_for(|end| *end > offset.0).await;
        waited.map(|_| ()).map_err(|_| LogError::Unavailable)
    }
}

#[derive(Default)]
pub(super) struct MemoryHistory {
    stored: Mutex<Stored>,
    down: AtomicBool,
    pub(super) reads: AtomicU32,
}

#[derive(Default)]
struct Stored {
    fence: u64,
    checkpoint: Option<Checkpoint>,
    events: BTreeMap<Position, Arc<Event>>,
    window: Vec<WindowRow>,
    marks: Marks,
    heads: HashMap<ChannelKey, Position>,
    acknowledged: HashMap<AcknowledgedKey, Acknowledged>,
    removed: Vec<Position>,
}

impl MemoryHistory {
    pub(super) fn down(&self, down: bool) {
        self.down.store(down, Ordering::Relaxed);
    }

    /// Retention: keeps the newest `keep` events of the channel.
    pub(super) fn retain(&self, key: &ChannelKey, keep: usize) {
        let mut stored = self.stored.lock().unwrap();
        let of_channel: Vec<Position> =
            stored.events.values().filter(|e| e.key == *key).map(|e| e.position()).collect();
        for position in of_channel.iter().rev().skip(keep) {
            stored.events.remove(position);
            stored.removed.push(*position);
        }
    }

    pub(super) fn removed(&self) -> Vec<Position> {
        self.stored.lock().unwrap().removed.clone()
    }

    /// An event of an earlier epoch, as it was stored then.
    pub(super) fn store_old(&self, event: Arc<Event>) {
        let mut stored = self.stored.lock().unwrap();
        stored.heads.insert(event.key.clone(), event.position());
        stored.events.insert(event.position(), event);
    }

    /// As if everything up to there was worked off.
    pub(super) fn set_position(&self, position: Position) {
        let (last_kept, fingerprint) = (position, [0; 16]);
        let checkpoint = Checkpoint { position, last_kept, fingerprint, begins: Offset(0) };
        self.stored.lock().unwrap().checkpoint = Some(checkpoint);
    }

    pub(super) fn position(&self) -> Option<Position> {
        self.stored.lock().unwrap().checkpoint.as_ref().map(|checkpoint| checkpoint.position)
    }

    fn answer(&self) -> Result<MutexGuard<'_, Stored>, HistoryError> {
        if self.down.load(Ordering::Relaxed) {
            return Err(HistoryError);
        }
        Ok(self.stored.lock().unwrap())
    }
}

#[async_trait]
impl History for MemoryHistory {
    async fn claim(&self, _: &Stream, max_window_rows: usize) -> Result<Claim, HistoryError> {
        let mut stored = self.answer()?;
        stored.fence += 1;
        let newest = stored.window.len().saturating_sub(max_window_rows);
        let window = stored.window[newest..].to_vec();
        let marks = stored.marks.clone();
        let (fence, checkpoint) = (stored.fence, stored.checkpoint.clone());
        Ok(Claim { fence, checkpoint, window, marks, feeds: Vec::new() })
    }

    async fn commit(&self, _: &Stream, batch: Batch) -> Result<(), CommitError> {
        let mut stored = self.answer().map_err(|_| CommitError::Unavailable)?;
        if batch.fence != stored.fence {
            return Err(CommitError::Fenced);
        }
        let before = stored.checkpoint.as_ref().map(|checkpoint| checkpoint.position);
        for event in batch.events.into_iter().filter(|e| Some(e.position()) > before) {
            stored.heads.insert(event.key.clone(), event.position());
            stored.events.insert(event.position(), event);
        }
        let known = stored.window.last().map(|row| row.offset);
        stored.window.extend(batch.window.into_iter().filter(|row| Some(row.offset) > known));
        stored.marks.extend(batch.marks);
        stored.checkpoint = Some(batch.checkpoint);
        Ok(())
    }

    async fn heads(
        &self,
        _: &LogName,
        keys: &[ChannelKey],
    ) -> Result<HashMap<ChannelKey, Position>, HistoryError> {
        let stored = self.answer()?;
        let head = |key: &ChannelKey| Some((key.clone(), *stored.heads.get(key)?));
        Ok(keys.iter().filter_map(head).collect())
    }

    async fn changed_above(
        &self,
        _: &Stream,
        above: Position,
    ) -> Result<Vec<ChannelKey>, HistoryError> {
        let stored = self.answer()?;
        let changed = stored.heads.iter().filter(|(_, head)| **head > above);
        Ok(changed.map(|(key, _)| key.clone()).collect())
    }

    async fn checkpoints(
        &self,
        streams: &[Stream],
    ) -> Result<HashMap<Partition, Checkpoint>, HistoryError> {
        let stored = self.answer()?;
        let checkpoint = |stream: &Stream| Some((stream.partition, stored.checkpoint.clone()?));
        Ok(streams.iter().filter_map(checkpoint).collect())
    }

    async fn read(
        &self,
        key: &ChannelKey,
        stream: &Stream,
        from: ReadFrom,
        bounds: ReadBounds,
    ) -> Result<HistoryRead, HistoryError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        Ok(self.answer()?.read(key, stream, from, bounds))
    }

    async fn changes(
        &self,
        _: &ChannelKey,
        _: &Stream,
        _: ChangesFrom,
        _: ReadBounds,
    ) -> Result<ChangesRead, HistoryError> {
        panic!("these regions have no feed")
    }

    async fn acknowledge(&self, acks: Vec<KeyedAck>) -> Result<Vec<KeyedAck>, HistoryError> {
        self.answer()?.acknowledged.extend(acks);
        Ok(Vec::new())
    }

    async fn acknowledged(
        &self,
        key: &AcknowledgedKey,
    ) -> Result<Option<Acknowledged>, HistoryError> {
        Ok(self.answer()?.acknowledged.get(key).cloned())
    }
}

impl Stored {
    fn read(
        &self,
        key: &ChannelKey,
        stream: &Stream,
        from: ReadFrom,
        bounds: ReadBounds,
    ) -> HistoryRead {
        let checkpoint = self.checkpoint.as_ref().map(|checkpoint| checkpoint.position);
        let applied = checkpoint.unwrap_or(Position::start_of(stream.epoch));
        let all: Vec<_> = self.events.values().filter(|event| event.key == *key).cloned().collect();
        let (after, events) = match from {
            ReadFrom::After(after) if after > applied => return HistoryRead::NotYet { applied },
            ReadFrom::After(after) => {
                (Some(after), all.into_iter().filter(|e| e.position() > after).collect())
            }
            ReadFrom::Last(count) => (None, all[all.len().saturating_sub(count)..].to_vec()),
        };
        let head = self.heads.get(key).copied();
        let gone = after.and_then(|after| gone(after, &events, head, stream.epoch));
        let first_epoch = events.first().map(|event| event.stream.epoch);
        let more = |taken: usize| taken < events.len();
        let taken: Vec<Arc<Event>> = events
            .iter()
            .take(bounds.max_events)
            .take_while(|event| Some(event.stream.epoch) == first_epoch)
            .cloned()
            .collect();
        let (more, last) = (more(taken.len()), taken.last().map(|event| event.position()));
        let old = last.is_some_and(|last| last.epoch < stream.epoch);
        let position = last.filter(|_| more || old).unwrap_or(applied);
        HistoryRead::Events { gone, events: taken, position, more: more || old }
    }
}

/// What a reader at `after` can't have any more.
fn gone(
    after: Position,
    events: &[Arc<Event>],
    head: Option<Position>,
    epoch: Epoch,
) -> Option<Gone> {
    let start = Position::start_of(epoch);
    let Some(first) = events.first() else {
        let reason = if after.epoch < epoch { GoneReason::Epoch } else { GoneReason::Retention };
        let through = head.max((after.epoch < epoch).then_some(start)).filter(|to| *to > after)?;
        return Some(Gone { reason, through });
    };
    let crossed = after.epoch < first.stream.epoch;
    let from = if crossed { Position::start_of(first.stream.epoch) } else { after };
    let missing = match first.prev {
        Prev::At(prev) if prev > from => Some(prev),
        Prev::Unknown if first.position() > from => {
            Some(Position::before(first.stream.epoch, first.offset)).filter(|before| *before > from)
        }
        _ => None,
    };
    if crossed {
        return Some(Gone { reason: GoneReason::Epoch, through: missing.unwrap_or(from) });
    }
    missing.map(|through| Gone { reason: GoneReason::Retention, through })
}
