//! The ends of a log's partitions as this process knows them. They only rise, and never above the truth.

use tokio::sync::watch;

/// One end per partition.
pub(crate) struct Tails(Vec<watch::Sender<u64>>);

impl Tails {
    pub(crate) fn new(partitions: u32) -> Self {
        Self((0..partitions).map(|_| watch::Sender::new(0)).collect())
    }

    /// The end that is known; a partition that does not exist has none.
    pub(crate) fn end(&self, partition: u32) -> Option<u64> {
        self.0.get(partition as usize).map(|tail| *tail.borrow())
    }

    /// The log is known to reach up to `end`.
    pub(crate) fn advance(&self, partition: u32, end: u64) {
        if let Some(tail) = self.0.get(partition as usize) {
            tail.send_if_modified(|known| {
                let rises = end > *known;
                *known = end.max(*known);
                rises
            });
        }
    }

    pub(crate) fn follow(&self, partition: u32) -> Option<watch::Receiver<u64>> {
        self.0.get(partition as usize).map(watch::Sender::subscribe)
    }
}
