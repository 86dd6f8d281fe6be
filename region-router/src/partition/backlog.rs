//! What was sent out live and is not in the history yet: groups of records, oldest first, bounded by
//! bytes. Joins the two halves of a worker; never touches a store.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use meridian_core::seams::{Checkpoint, Marks, WindowRow};
use meridian_core::vocabulary::Event;
use tokio::sync::watch;

/// Records worked off together, with the checkpoint behind the last of them.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) events: Vec<Arc<Event>>,
    pub(crate) rows: Vec<WindowRow>,
    /// The source marks that its records raised.
    pub(crate) marks: Marks,
}

/// How full a backlog is, and what the history holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Level {
    /// Groups waiting or on their way into the history.
    pub(crate) groups: usize,
    pub(crate) bytes: usize,
    /// What was committed last.
    pub(crate) settled: Option<Checkpoint>,
    /// Somebody waits for the backlog to be empty.
    pub(crate) hurry: bool,
    /// The history failed last.
    pub(crate) history_down: bool,
}

/// The bound is soft by one group: whoever pushes waits for room first.
pub(crate) struct Backlog {
    queue: Mutex<VecDeque<Group>>,
    level: watch::Sender<Level>,
}

impl Group {
    /// Its size for the bound: events, and what the window keeps of each record.
    pub(crate) fn weight(&self) -> usize {
        let events: usize = self.events.iter().map(|event| event.weight()).sum();
        events + self.rows.len() * size_of::<WindowRow>()
    }
}

impl Backlog {
    pub(crate) fn new(settled: Option<Checkpoint>) -> Self {
        let level = Level { groups: 0, bytes: 0, settled, hurry: false, history_down: false };
        Self { queue: Mutex::new(VecDeque::new()), level: watch::Sender::new(level) }
    }

    /// As it is now.
    pub(crate) fn level(&self) -> Level {
        self.level.borrow().clone()
    }

    pub(crate) fn push(&self, group: Group) {
        let weight = group.weight();
        self.queue().push_back(group);
        self.level.send_modify(|level| {
            level.groups += 1;
            level.bytes += weight;
        });
    }

    /// The oldest groups as one, at least one and no more than fit `max_bytes`; with how many they
    /// were. They count until `settle`.
    pub(crate) fn take(&self, max_bytes: usize) -> Option<(Group, usize)> {
        let mut queue = self.queue();
        let mut merged = queue.pop_front()?;
        let (mut bytes, mut groups) = (merged.weight(), 1);
        while let Some(next) = queue.front() {
            bytes += next.weight();
            if bytes > max_bytes {
                break;
            }
            if let Some(next) = queue.pop_front() {
                merged.checkpoint = next.checkpoint;
                merged.events.extend(next.events);
                merged.rows.extend(next.rows);
                merged.marks.extend(next.marks);
                groups += 1;
            }
        }
        Some((merged, groups))
    }

    /// What was taken is in the history.
    pub(crate) fn settle(&self, group: &Group, groups: usize) {
        let weight = group.weight();
        self.level.send_modify(|level| {
            level.groups -= groups;
            level.bytes -= weight;
            level.settled = Some(group.checkpoint.clone());
            level.hurry &= level.groups > 0;
        });
    }

    pub(crate) fn history_down(&self, down: bool) {
        self.level.send_if_modified(|level| {
            let changed = level.history_down != down;
            level.history_down = down;
            changed
        });
    }

    /// Waits until the level is as asked.
    pub(crate) async fn wait_until(&self, reached: impl FnMut(&Level) -> bool) {
        // It cannot fail: `self` holds the sender.
        let _ = self.level.subscribe().wait_for(reached).await;
    }

    /// Waits until all that was pushed is in the history.
    pub(crate) async fn flushed(&self) {
        self.level.send_if_modified(|level| {
            level.hurry = level.groups > 0;
            level.hurry
        });
        self.wait_until(|level| level.groups == 0).await;
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Group>> {
        // Nothing in here panics with the lock held.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
