//! The window of duplicates: which of the last W records of a partition, appended at most D before,
//! had the same key. Owns nothing but keys and times; never looks at a clock.
//!
//! A full window of 2^17 records takes 24 bytes a record in the ring and 10 in the index (five bytes
//! a bucket, two buckets a record): 4.3 MiB, or 272 MiB for 64 partitions that all see W records
//! within D. Records older than D are let go early, so a quiet partition takes what it needs.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use meridian_core::seams::{RecordKey, WindowRow};

use super::key::NO_KEY;

/// The constants of an epoch that decide about duplicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowRules {
    /// W: how many records before it a record is compared with.
    pub records: u32,
    /// D: and how much earlier they may have been appended, in milliseconds of the log's time.
    pub ms: u64,
}

/// The newest records of a partition, kept or dropped.
#[derive(Debug)]
pub struct Window {
    rules: WindowRules,
    ring: VecDeque<Entry>,
    /// The number of the record at the ring's front, counted from the window's first.
    first: u32,
    /// For each key in the ring the number of its newest record.
    index: HashTable<u32>,
    /// Keyed at random: ids are the publishers' choice, and none may build a slow table out of them.
    hasher: RandomState,
}

#[derive(Debug)]
struct Entry {
    key: RecordKey,
    time_ms: u64,
}

impl Window {
    /// An empty window.
    pub fn new(rules: WindowRules) -> Self {
        Self {
            rules,
            ring: VecDeque::new(),
            first: 0,
            index: HashTable::new(),
            hasher: RandomState::new(),
        }
    }

    /// The window as a history stored it, oldest row first.
    pub fn restore(rules: WindowRules, rows: &[WindowRow]) -> Self {
        let mut window = Self::new(rules);
        let mut last = None;
        for row in rows {
            if last.is_none_or(|last| row.offset > last) {
                window.pass(row.key, row.time_ms);
                last = Some(row.offset);
            }
        }
        window
    }

    /// Takes the partition's next record in; says whether it repeats one in the window. A record with
    /// `NO_KEY` counts and repeats nothing.
    pub fn pass(&mut self, key: RecordKey, time_ms: u64) -> bool {
        self.forget_before(time_ms);
        let number = self.first.wrapping_add(self.ring.len() as u32);
        let hash = self.hasher.hash_one(key);
        let repeats = key != NO_KEY && self.renew(hash, key, number);
        if self.ring.len() >= self.rules.records as usize {
            self.forget_oldest();
        }
        self.ring.push_back(Entry { key, time_ms });
        if key != NO_KEY && !repeats {
            let Self { ring, first, index, hasher, .. } = self;
            index.insert_unique(hash, number, |n| hasher.hash_one(entry(ring, *first, *n).key));
        }
        repeats
    }

    /// How many records the window holds.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// The log time that a full window spans, in milliseconds; `None` while it is not full: then it
    /// covers all of D.
    pub fn full_span_ms(&self) -> Option<u64> {
        if self.ring.len() < self.rules.records as usize {
            return None;
        }
        let (oldest, newest) = (self.ring.front()?, self.ring.back()?);
        Some(newest.time_ms.saturating_sub(oldest.time_ms))
    }

    /// Points the key's index entry at `number`, if there is one.
    fn renew(&mut self, hash: u64, key: RecordKey, number: u32) -> bool {
        let Self { ring, first, index, .. } = self;
        match index.find_mut(hash, |n| entry(ring, *first, *n).key == key) {
            Some(newest) => {
                *newest = number;
                true
            }
            None => false,
        }
    }

    fn forget_before(&mut self, time_ms: u64) {
        while self
            .ring
            .front()
            .is_some_and(|oldest| time_ms.saturating_sub(oldest.time_ms) > self.rules.ms)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.ring.pop_front() else { return };
        let number = self.first;
        self.first = self.first.wrapping_add(1);
        let hash = self.hasher.hash_one(oldest.key);
        // Only if the key's newest record is this one: a later one stays.
        if let Ok(found) = self.index.find_entry(hash, |n| *n == number) {
            found.remove();
        }
    }
}

fn entry(ring: &VecDeque<Entry>, first: u32, number: u32) -> &Entry {
    &ring[number.wrapping_sub(first) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: WindowRules = WindowRules { records: 4, ms: 100 };

    fn key(n: u8) -> RecordKey {
        [n; 16]
    }

    #[test]
    fn the_wth_record_before_is_in_and_the_one_before_it_is_out() {
        for (between, repeats) in [(3, true), (4, false)] {
            let mut window = Window::new(RULES);
            assert!(!window.pass(key(1), 0));
            for n in 0..between {
                assert!(!window.pass(key(10 + n), 0));
            }
            assert_eq!(window.pass(key(1), 0), repeats, "{between} records between");
        }
    }

    #[test]
    fn d_milliseconds_before_is_in_and_one_more_is_out() {
        for (age, repeats) in [(100, true), (101, false)] {
            let mut window = Window::new(RULES);
            window.pass(key(1), 1000);
            assert_eq!(window.pass(key(1), 1000 + age), repeats, "{age} ms");
        }
    }

    #[test]
    fn a_dropped_record_keeps_its_key_in_the_window() {
        let mut window = Window::new(RULES);
        window.pass(key(1), 0);
        assert!(window.pass(key(1), 90));
        assert!(window.pass(key(1), 180), "180 ms after the first, 90 after the dropped one");
        for n in 0..3 {
            window.pass(key(10 + n), 180);
        }
        assert!(window.pass(key(1), 180));
    }

    #[test]
    fn records_without_a_key_count_and_repeat_nothing() {
        let mut window = Window::new(RULES);
        window.pass(key(1), 0);
        for _ in 0..4 {
            assert!(!window.pass(NO_KEY, 0));
        }
        assert!(!window.pass(key(1), 0));
    }

    #[test]
    fn the_index_holds_only_what_the_ring_holds() {
        let mut window = Window::new(WindowRules { records: 16, ms: 50 });
        for n in 0..2000_u64 {
            window.pass(key((n * 7 % 23) as u8 + 1), n * (n % 5));
            assert!(window.index.len() <= window.ring.len());
            assert!(window.len() <= 16);
        }
        window.pass(key(99), 1_000_000);
        assert_eq!((window.len(), window.index.len()), (1, 1));
    }

    #[test]
    fn restored_rows_decide_like_the_window_they_came_from() {
        use meridian_core::vocabulary::Offset;
        let rows: Vec<_> = (0..4)
            .map(|n| WindowRow { offset: Offset(n), time_ms: n, key: key(n as u8 + 1) })
            .collect();
        let doubled: Vec<_> = rows.iter().flat_map(|row| [*row, *row]).collect();
        for rows in [&rows, &doubled] {
            let mut window = Window::restore(RULES, rows);
            assert_eq!(window.len(), 4);
            assert!(window.pass(key(1), 4));
            assert!(!window.pass(key(2 + 40), 4));
            assert!(!window.pass(key(2), 4), "pushed out by now");
        }
    }

    #[test]
    fn a_full_window_tells_its_span() {
        let mut window = Window::new(RULES);
        for n in 0..3 {
            window.pass(key(n + 1), u64::from(n) * 10);
            assert_eq!(window.full_span_ms(), None);
        }
        window.pass(key(9), 30);
        assert_eq!(window.full_span_ms(), Some(30));
    }

    /// The figure that the module states; grows silently otherwise.
    #[test]
    fn an_entry_takes_24_bytes() {
        assert_eq!(std::mem::size_of::<Entry>(), 24);
    }
}
