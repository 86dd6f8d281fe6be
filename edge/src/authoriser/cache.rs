//! Answers that are good for a while. Two generations: when the younger is full the older goes, so memory is
//! bounded and nothing is ever searched for the oldest.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Answers of one generation.
pub(super) const GENERATION: usize = 32_768;

type Key = [u8; 32];

/// The answers.
#[derive(Default)]
pub(super) struct Cache {
    generations: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    young: HashMap<Key, (bool, Instant)>,
    old: HashMap<Key, (bool, Instant)>,
}

impl Cache {
    /// The answer, if it is still good.
    pub(super) fn get(&self, key: &Key, now: Instant) -> Option<bool> {
        let generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let found = generations.young.get(key).or_else(|| generations.old.get(key));
        found.filter(|(_, until)| now < *until).map(|(allow, _)| *allow)
    }

    /// Keeps an answer until then.
    pub(super) fn put(&self, key: Key, allow: bool, until: Instant, now: Instant) {
        if until <= now {
            return;
        }
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if generations.young.len() >= GENERATION {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(key, (allow, until));
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let generations = self.generations.lock().unwrap();
        generations.young.len() + generations.old.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(number: usize) -> Key {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        key
    }

    #[test]
    fn answers_are_good_until_their_time() {
        let (cache, now) = (Cache::default(), Instant::now());
        let until = now + Duration::from_secs(1);
        cache.put(key(1), true, until, now);
        cache.put(key(2), false, until, now);
        cache.put(key(3), true, now, now);
        let at = |time| [1, 2, 3].map(|number| cache.get(&key(number), time));
        assert_eq!(at(now), [Some(true), Some(false), None]);
        assert_eq!(at(until), [None; 3]);
    }

    #[test]
    fn memory_is_bounded_and_the_newest_stay() {
        let (cache, now) = (Cache::default(), Instant::now());
        let until = now + Duration::from_secs(1);
        for number in 0..3 * GENERATION + 10 {
            cache.put(key(number), true, until, now);
        }
        assert!(cache.len() <= 2 * GENERATION, "{}", cache.len());
        assert_eq!(cache.get(&key(0), now), None);
        assert_eq!(cache.get(&key(3 * GENERATION - 1), now), Some(true));
    }
}
