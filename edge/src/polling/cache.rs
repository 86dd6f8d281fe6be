//! Answers that all pollers of a node share: each is read once an interval, by whoever asks first; the
//! others wait for it. Owns no clock and no store.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use bytes::Bytes;
use meridian_core::vocabulary::ChannelKey;
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

use super::Question;

const ANSWERS_MOST: usize = 4096;
const BYTES_MOST: usize = 64 << 20;

/// An answer's JSON, and the tag that stands for it.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) body: Bytes,
    pub(crate) tag: String,
}

/// Where an answer is, or will be.
pub(super) type Slot = Arc<OnceCell<Answer>>;

struct Entry {
    slot: Slot,
    until: Instant,
}

/// The answers that are fresh.
#[derive(Default)]
pub(super) struct Cache {
    entries: HashMap<(ChannelKey, Question), Entry>,
    /// At least what the answers weigh.
    bytes: usize,
}

impl Answer {
    pub(super) fn new(body: Bytes) -> Self {
        let digest = Sha256::digest(&body);
        Self { tag: format!("\"{}\"", BASE64.encode(&digest[..12])), body }
    }
}

impl Cache {
    /// Where the answer to a question is that is not older than the interval.
    pub(super) fn slot(
        &mut self,
        question: (ChannelKey, Question),
        interval: Duration,
        now: Instant,
    ) -> Slot {
        if let Some(entry) = self.entries.get(&question)
            && now < entry.until
        {
            return entry.slot.clone();
        }
        if self.entries.len() >= ANSWERS_MOST {
            self.forget(now);
        }
        let slot = Slot::default();
        self.entries.insert(question, Entry { slot: slot.clone(), until: now + interval });
        slot
    }

    /// Counts an answer that was read.
    pub(super) fn weigh(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes > BYTES_MOST {
            self.forget(Instant::now());
        }
    }

    /// Forgets what is old, and if that does not help everything: it is read again.
    fn forget(&mut self, now: Instant) {
        self.entries.retain(|_, entry| now < entry.until);
        let weight = |entry: &Entry| entry.slot.get().map_or(0, |answer| answer.body.len());
        self.bytes = self.entries.values().map(weight).sum();
        if self.entries.len() > ANSWERS_MOST / 2 || self.bytes > BYTES_MOST / 2 {
            self.entries.clear();
            self.bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use meridian_core::vocabulary::{Channel, Tenant};

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(5);

    fn question(name: &str) -> (ChannelKey, Question) {
        let channel = Channel::parse(name).unwrap();
        (ChannelKey { tenant: Tenant::parse("t").unwrap(), channel }, Question::Latest)
    }

    #[test]
    fn an_answer_is_shared_for_an_interval() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        let first = cache.slot(question("a:b"), INTERVAL, now);
        first.set(Answer::new("1".into())).unwrap();
        let later = |cache: &mut Cache, after| cache.slot(question("a:b"), INTERVAL, now + after);
        assert!(Arc::ptr_eq(&first, &later(&mut cache, INTERVAL - Duration::from_millis(1))));
        assert!(!Arc::ptr_eq(&first, &later(&mut cache, INTERVAL)));
        assert!(!Arc::ptr_eq(&first, &cache.slot(question("a:c"), INTERVAL, now)));
    }

    #[test]
    fn answers_are_bounded_by_number_and_bytes() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        for n in 0..3 * ANSWERS_MOST {
            cache.slot(question(&format!("a:{n}")), INTERVAL, now);
            assert!(cache.entries.len() <= ANSWERS_MOST);
        }
        let body = Bytes::from(vec![0; 1 << 20]);
        for n in 0..200 {
            let slot = cache.slot(question(&format!("b:{n}")), INTERVAL, now);
            slot.set(Answer::new(body.clone())).unwrap();
            cache.weigh(body.len());
            let held: usize =
                cache.entries.values().filter_map(|e| e.slot.get()).map(|a| a.body.len()).sum();
            assert!(held <= BYTES_MOST, "{held}");
        }
    }
}
