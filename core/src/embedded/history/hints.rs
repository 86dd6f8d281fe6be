//! How large a channel's events may be, so that a read asks for about as many as its bound of bytes
//! takes. Bounded: channels share slots, and the largest size seen in a slot counts for all of them.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::vocabulary::ChannelKey;

const SLOTS: usize = 4_096;
/// What an event is taken for in a slot that has seen none.
const UNSEEN: u32 = 16 << 10;
/// A read asks for this many in any case.
const LEAST: usize = 16;

pub(super) struct SizeHints {
    hasher: RandomState,
    slots: Box<[AtomicU32]>,
}

impl SizeHints {
    pub(super) fn new() -> Self {
        let slots = (0..SLOTS).map(|_| AtomicU32::new(0)).collect();
        Self { hasher: RandomState::new(), slots }
    }

    /// An event of this many bytes was seen.
    pub(super) fn note(&self, key: &ChannelKey, bytes: usize) {
        let slot = self.slot(key);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if slot.load(Ordering::Relaxed) < bytes {
            slot.fetch_max(bytes, Ordering::Relaxed);
        }
    }

    /// How many events to ask for.
    pub(super) fn events(&self, key: &ChannelKey, max_bytes: usize) -> usize {
        let size = match self.slot(key).load(Ordering::Relaxed) {
            0 => UNSEEN,
            size => size,
        };
        (max_bytes / size as usize).max(LEAST)
    }

    fn slot(&self, key: &ChannelKey) -> &AtomicU32 {
        &self.slots[self.hasher.hash_one(key) as usize % SLOTS]
    }
}
