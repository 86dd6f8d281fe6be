//! The heads that a router remembers: each channel's last kept event, for the next one's `prev`.
//! Bounded; what it forgets, a store can tell.

use std::collections::HashMap;

use meridian_core::vocabulary::{ChannelKey, Position, Prev};

/// Two generations of heads. What is used stays in the young one; when that is full, the old one is
/// forgotten, except for heads that no history holds yet.
#[derive(Debug)]
pub struct Heads {
    young: HashMap<ChannelKey, Prev>,
    old: HashMap<ChannelKey, Prev>,
    generation_size: usize,
}

impl Heads {
    /// Remembers about `max` heads, and those above the settled position in any case.
    pub fn new(max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), generation_size: (max / 2).max(1) }
    }

    /// Makes room, between two batches only: within a batch nothing is forgotten. Heads above
    /// `settled` (what the history holds) are kept, as no store could tell them.
    pub fn make_room(&mut self, settled: Position) {
        if self.young.len() < self.generation_size {
            return;
        }
        let forgotten = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
        for (key, head) in forgotten {
            if matches!(head, Prev::At(position) if position > settled) {
                self.old.entry(key).or_insert(head);
            }
        }
    }

    /// Whether the head is remembered; if so, it stays so for this batch.
    pub fn hold(&mut self, key: &ChannelKey) -> bool {
        if self.young.contains_key(key) {
            return true;
        }
        let Some((key, head)) = self.old.remove_entry(key) else { return false };
        self.young.insert(key, head);
        true
    }

    /// Takes in what a store said, unless a newer head is remembered.
    pub fn learn(&mut self, key: ChannelKey, head: Prev) {
        if !self.hold(&key) {
            self.young.insert(key, head);
        }
    }

    /// Makes `position` the channel's head and returns the one before, if it is remembered.
    pub fn advance(&mut self, key: &ChannelKey, position: Position) -> Option<Prev> {
        let head = Prev::At(position);
        if let Some(known) = self.young.get_mut(key) {
            return Some(std::mem::replace(known, head));
        }
        let before = self.old.remove(key);
        self.young.insert(key.clone(), head);
        before
    }

    /// How many heads are remembered.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use meridian_core::vocabulary::{Channel, Epoch, Offset, Tenant};

    use super::*;

    fn key(n: u64) -> ChannelKey {
        ChannelKey {
            tenant: Tenant::parse("t").unwrap(),
            channel: Channel::parse(&format!("n:{n}")).unwrap(),
        }
    }

    fn at(offset: u64) -> Position {
        Position::at(Epoch(1), Offset(offset))
    }

    #[test]
    fn it_stays_bounded_and_keeps_what_is_used() {
        let mut heads = Heads::new(100);
        heads.learn(key(0), Prev::None);
        for n in 1..10_000 {
            heads.make_room(at(n));
            assert!(heads.hold(&key(0)), "used in every batch");
            heads.advance(&key(n), at(n));
            assert!(heads.len() <= 101);
        }
    }

    #[test]
    fn heads_that_no_store_knows_are_never_forgotten() {
        let mut heads = Heads::new(10);
        for n in 0..100 {
            heads.make_room(at(4));
            heads.advance(&key(n), at(n));
        }
        for n in 5..100 {
            assert!(heads.hold(&key(n)), "{n}");
        }
        assert!(!heads.hold(&key(3)), "stored, unused and out of room");
    }

    #[test]
    fn a_store_never_overrules_memory() {
        let mut heads = Heads::new(10);
        heads.advance(&key(1), at(7));
        heads.learn(key(1), Prev::At(at(3)));
        assert_eq!(heads.advance(&key(1), at(9)), Some(Prev::At(at(7))));
        assert_eq!(heads.advance(&key(2), at(10)), None);
    }
}
