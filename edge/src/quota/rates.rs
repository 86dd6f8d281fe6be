//! How fast each goes. Owns a bucket for each key that went lately, and a bound on how many those are;
//! beyond it, all who are new share one.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use meridian_core::config::Rate;

use super::Exceeded;
use crate::session::Bucket;

/// Keys that are remembered apart.
pub(super) const KEYS_MOST: usize = 65_536;

/// Buckets by key.
pub(super) struct Rates<K> {
    inner: Mutex<Inner<K>>,
}

struct Inner<K> {
    by_key: HashMap<K, Bucket>,
    /// Of those for whom there is no room.
    shared: Option<Bucket>,
    /// With no look through all keys before that.
    swept: Option<Instant>,
}

impl<K> Default for Rates<K> {
    fn default() -> Self {
        Self { inner: Mutex::new(Inner { by_key: HashMap::new(), shared: None, swept: None }) }
    }
}

impl<K: Hash + Eq + Clone> Rates<K> {
    /// Takes `count` at once.
    pub(super) fn take(
        &self,
        quota: &'static str,
        rate: Option<Rate>,
        key: &K,
        count: u32,
        now: Instant,
    ) -> Result<(), Exceeded> {
        let Some(rate) = rate else { return Ok(()) };
        let limit = u64::from(rate.per_s.get());
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = inner.bucket(key, rate, now).take_some(count, now);
        taken.map_err(|retry_after| Exceeded { quota, limit, retry_after })
    }

    #[cfg(test)]
    pub(super) fn keys(&self) -> usize {
        self.inner.lock().unwrap().by_key.len()
    }
}

impl<K: Hash + Eq + Clone> Inner<K> {
    fn bucket(&mut self, key: &K, rate: Rate, now: Instant) -> &mut Bucket {
        let new = || Bucket::new(rate.per_s.get(), rate.burst.get(), now);
        if !self.by_key.contains_key(key) {
            self.make_room(now);
            if self.by_key.len() >= KEYS_MOST {
                return self.shared.get_or_insert_with(new);
            }
        }
        self.by_key.entry(key.clone()).or_insert_with(new)
    }

    /// A bucket that is full again says nothing. Looked for at most once a second.
    fn make_room(&mut self, now: Instant) {
        let lately = |swept: Instant| now.saturating_duration_since(swept).as_secs() < 1;
        if self.by_key.len() < KEYS_MOST || self.swept.is_some_and(lately) {
            return;
        }
        self.swept = Some(now);
        self.by_key.retain(|_, bucket| !bucket.is_full(now));
    }
}
