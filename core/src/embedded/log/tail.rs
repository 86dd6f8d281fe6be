//! What a reader of a partition needs without the disk: its bounds, and its newest batches, so that
//! who reads along with the writer asks no file. Never holds what is not committed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::batch::{Batch, Damaged, Room};
use crate::seams::LogRecord;

/// Bytes of batches kept in memory for each partition.
const TAIL_BYTES: usize = 2 << 20;

pub(super) struct Tail {
    begin: AtomicU64,
    end: AtomicU64,
    ends: watch::Sender<u64>,
    newest: Mutex<Newest>,
}

#[derive(Default)]
struct Newest {
    batches: VecDeque<Batch>,
    bytes: usize,
}

impl Tail {
    pub(super) fn new(begin: u64, end: u64) -> Self {
        Self {
            begin: AtomicU64::new(begin),
            end: AtomicU64::new(end),
            ends: watch::Sender::new(end),
            newest: Mutex::default(),
        }
    }

    /// The lowest offset still held.
    pub(super) fn begin(&self) -> u64 {
        self.begin.load(Ordering::Acquire)
    }

    /// The next offset.
    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Sees every move of the end.
    pub(super) fn follow_end(&self) -> watch::Receiver<u64> {
        self.ends.subscribe()
    }

    /// A committed batch.
    pub(super) fn push(&self, batch: Batch) {
        let end = batch.last + 1;
        {
            let mut newest = self.lock();
            newest.bytes += batch.records.len();
            newest.batches.push_back(batch);
            while newest.bytes > TAIL_BYTES && newest.batches.len() > 1 {
                if let Some(oldest) = newest.batches.pop_front() {
                    newest.bytes -= oldest.records.len();
                }
            }
        }
        self.end.store(end, Ordering::Release);
        self.ends.send_replace(end);
    }

    /// What was committed is not what was announced: forgets the batches and starts from `end`.
    pub(super) fn restart(&self, end: u64) {
        *self.lock() = Newest::default();
        self.end.store(end, Ordering::Release);
        self.ends.send_replace(end);
    }

    /// Retention removed everything below `begin`.
    pub(super) fn truncate(&self, begin: u64) {
        self.begin.store(begin, Ordering::Release);
    }

    /// As many records from `from` on as there is room for; `None`: the disk has to be asked.
    pub(super) fn read(
        &self,
        from: u64,
        mut room: Room,
    ) -> Option<Result<Vec<LogRecord>, Damaged>> {
        let newest = self.lock();
        let at = newest.batches.partition_point(|batch| batch.last < from);
        if newest.batches.get(at).is_none_or(|batch| batch.first > from) {
            return None;
        }
        let mut out = Vec::new();
        for batch in newest.batches.range(at..) {
            if let Err(damaged) = batch.unpack(from, &mut room, &mut out) {
                return Some(Err(damaged));
            }
            if room.is_empty() {
                break;
            }
        }
        Some(Ok(out))
    }

    fn lock(&self) -> MutexGuard<'_, Newest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
