//! How many there are of each, now. As many keys as there are things counted, and no more.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts by key.
pub(super) struct Counts<K> {
    by_key: Mutex<HashMap<K, u32>>,
}

/// One that is counted as long as it lives.
pub(super) struct Counted<K: Hash + Eq> {
    counts: Arc<Counts<K>>,
    key: K,
}

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self { by_key: Mutex::default() }
    }
}

impl<K: Hash + Eq + Clone> Counts<K> {
    /// Counts one more; `None`: there are as many as there may be.
    pub(super) fn count(self: Arc<Self>, key: K, most: u32) -> Option<Counted<K>> {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_key.entry(key.clone()).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(by_key);
        Some(Counted { counts: self, key })
    }

    #[cfg(test)]
    pub(super) fn keys(&self) -> usize {
        self.by_key.lock().unwrap().len()
    }
}

impl<K: Hash + Eq> Drop for Counted<K> {
    fn drop(&mut self) {
        let mut by_key = self.counts.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_key.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                by_key.remove(&self.key);
            }
        }
    }
}
