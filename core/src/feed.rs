//! The current values of a feed: which keys it has, and which of them leave when its bound is passed. A
//! function of the feed's events alone. Pure; it never holds a value.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::vocabulary::{Body, Event, EventKind, Position};

/// What a value counts beside its key and its payload, in bytes.
const VALUE_OVERHEAD: u64 = 64;
/// Keys that leave with one event, at most: the next ones go on.
pub const EVICTED_MOST: usize = 1024;

/// What an event does to its feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    /// The key has a new value, of this weight.
    Set {
        key: &'a str,
        weight: u64,
    },
    Removed {
        key: &'a str,
    },
}

/// What the body changes; `None`: it is not a feed's, or concerns no key.
pub fn change(body: &Body) -> Option<Change<'_>> {
    let (key, _) = (body.key.as_deref()?, body.bounds?);
    match body.kind {
        EventKind::Publish => {
            let weight = (key.len() + body.data.len()) as u64 + VALUE_OVERHEAD;
            Some(Change::Set { key, weight })
        }
        EventKind::Remove => Some(Change::Removed { key }),
        EventKind::Unreadable => None,
    }
}

/// Each key that an event changes or takes away, with what it leaves there: the event itself, or a removal.
pub fn rows(event: &Arc<Event>) -> Vec<Arc<Event>> {
    if change(&event.body).is_none() {
        return Vec::new();
    }
    let own = event.body.key.as_ref();
    let evicted = event.body.evicts.iter().filter(|key| Some(*key) != own);
    let removals = evicted.map(|key| Arc::new(removal(event, key.clone())));
    std::iter::once(event.clone()).chain(removals).collect()
}

/// The removal of a key by an event that evicts it.
fn removal(event: &Event, key: String) -> Event {
    let bounds = event.body.bounds;
    let body = Body { kind: EventKind::Remove, key: Some(key), bounds, ..Body::default() };
    Event { body, ..event.clone() }
}

/// The newest of what the events leave at each key, oldest first: what a reader needs of them.
pub fn conflate<'a>(events: impl Iterator<Item = &'a Arc<Event>>) -> Vec<Arc<Event>> {
    let mut newest: HashMap<String, Arc<Event>> = HashMap::new();
    for row in events.flat_map(rows) {
        if let Some(key) = row.body.key.clone() {
            newest.insert(key, row);
        }
    }
    let mut rows: Vec<Arc<Event>> = newest.into_values().collect();
    rows.sort_unstable_by(|a, b| (a.position(), &a.body.key).cmp(&(b.position(), &b.body.key)));
    rows
}

/// A current key, as a store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentKey {
    pub key: Arc<str>,
    /// The event that set it.
    pub at: Position,
    pub weight: u64,
}

/// The keys of one feed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CurrentKeys {
    keys: HashMap<Arc<str>, (Position, u64)>,
    /// The same by the event that set them: each event sets one.
    by_position: BTreeMap<Position, Arc<str>>,
    bytes: u64,
}

impl CurrentKeys {
    /// What a store kept.
    pub fn restore(stored: impl IntoIterator<Item = CurrentKey>) -> Self {
        let mut keys = Self::default();
        for CurrentKey { key, at, weight } in stored {
            keys.set(&key, at, weight);
        }
        keys
    }

    /// Takes the feed's next event; answers the keys that leave because of it, longest unchanged first.
    pub fn apply(&mut self, at: Position, body: &Body) -> Vec<String> {
        match change(body) {
            Some(Change::Set { key, weight }) => self.set(key, at, weight),
            Some(Change::Removed { key }) => self.remove(key),
            None => return Vec::new(),
        }
        let Some(bounds) = body.bounds else { return Vec::new() };
        let mut evicted = Vec::new();
        while evicted.len() < EVICTED_MOST
            && (self.keys.len() as u64 > bounds.keys || self.bytes > bounds.bytes)
        {
            let Some((oldest, key)) = self.by_position.first_key_value() else { break };
            // Its own value stays, however large.
            if *oldest == at {
                break;
            }
            let key = key.clone();
            self.remove(&key);
            evicted.push(key.as_ref().to_owned());
        }
        evicted
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// What the values weigh.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn set(&mut self, key: &str, at: Position, weight: u64) {
        self.remove(key);
        let key: Arc<str> = key.into();
        self.by_position.insert(at, key.clone());
        self.keys.insert(key, (at, weight));
        self.bytes += weight;
    }

    fn remove(&mut self, key: &str) {
        if let Some((at, weight)) = self.keys.remove(key) {
            self.by_position.remove(&at);
            self.bytes -= weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::vocabulary::{Epoch, FeedBounds};

    fn at(passed: i64) -> Position {
        Position { epoch: Epoch(1), passed }
    }

    fn body(key: &str, kind: EventKind, data: usize, bounds: FeedBounds) -> Body {
        let data = Bytes::from(vec![b'1'; data]);
        Body { kind, key: Some(key.into()), data, bounds: Some(bounds), ..Body::default() }
    }

    #[test]
    fn the_key_longest_unchanged_leaves() {
        let mut keys = CurrentKeys::default();
        let bounds = FeedBounds { keys: 2, bytes: 1 << 20 };
        let mut set = |place, key| keys.apply(at(place), &body(key, EventKind::Publish, 1, bounds));
        assert_eq!(set(0, "a"), [""; 0]);
        assert_eq!(set(1, "b"), [""; 0]);
        assert_eq!(set(2, "a"), [""; 0], "changed: no longer the oldest");
        assert_eq!(set(3, "c"), ["b"]);
        assert_eq!(keys.apply(at(4), &body("a", EventKind::Remove, 0, bounds)), [""; 0]);
        assert_eq!(keys.len(), 1);
    }

    #[test]
    fn a_value_larger_than_the_bound_stays_alone() {
        let mut keys = CurrentKeys::default();
        let bounds = FeedBounds { keys: 10, bytes: 200 };
        keys.apply(at(0), &body("a", EventKind::Publish, 1, bounds));
        keys.apply(at(1), &body("b", EventKind::Publish, 1, bounds));
        assert_eq!(keys.apply(at(2), &body("c", EventKind::Publish, 500, bounds)), ["a", "b"]);
        assert_eq!(keys.len(), 1);
    }

    #[test]
    fn a_million_keys_stay_within_their_bound() {
        let mut keys = CurrentKeys::default();
        let bounds = FeedBounds { keys: 1_000, bytes: 1 << 20 };
        let mut evicted = 0;
        for place in 0..1_000_000 {
            let body = body(&place.to_string(), EventKind::Publish, 8, bounds);
            evicted += keys.apply(at(place), &body).len();
            assert!(keys.len() <= 1_000 && keys.bytes() <= 1 << 20);
        }
        assert_eq!((keys.len(), evicted), (1_000, 999_000));
    }

    #[test]
    fn what_is_no_feeds_changes_nothing() {
        let bounds = FeedBounds { keys: 1, bytes: 1 };
        let keyed = body("a", EventKind::Publish, 1, bounds);
        for other in [
            Body { bounds: None, ..keyed.clone() },
            Body { key: None, ..keyed.clone() },
            Body { kind: EventKind::Unreadable, ..keyed },
        ] {
            let mut keys = CurrentKeys::default();
            assert_eq!((keys.apply(at(0), &other), keys.len()), (Vec::new(), 0));
        }
    }

    proptest! {
        /// Whatever comes, a restored state goes on as the one that it was made of, the bound holds, and
        /// a reader that follows sets, removals and evictions has just the current keys.
        #[test]
        fn followers_and_successors_agree(
            steps in proptest::collection::vec((0u8..12, any::<bool>(), 0usize..60), 1..80),
            most in 1u64..8, bytes in 100u64..900, restart in 0usize..80,
        ) {
            let bounds = FeedBounds { keys: most, bytes };
            let mut keys = CurrentKeys::default();
            let mut follower: BTreeMap<String, Position> = BTreeMap::new();
            for (place, (key, set, data)) in steps.into_iter().enumerate() {
                if place == restart {
                    let stored = keys.keys.iter().map(|(key, (at, weight))| CurrentKey {
                        key: key.clone(), at: *at, weight: *weight,
                    });
                    let restored = CurrentKeys::restore(stored.collect::<Vec<_>>());
                    prop_assert_eq!(&restored, &keys);
                    keys = restored;
                }
                let kind = if set { EventKind::Publish } else { EventKind::Remove };
                let (key, place) = (key.to_string(), at(place as i64));
                let evicted = keys.apply(place, &body(&key, kind, data, bounds));
                match set {
                    true => drop(follower.insert(key, place)),
                    false => drop(follower.remove(&key)),
                }
                for key in evicted {
                    prop_assert!(follower.remove(&key).is_some(), "{} was not there", key);
                }
                prop_assert!(keys.len() as u64 <= most);
                prop_assert!(keys.bytes() <= bytes || keys.len() == 1);
                let current: BTreeMap<String, Position> =
                    keys.keys.iter().map(|(key, (at, _))| (key.to_string(), *at)).collect();
                prop_assert_eq!(&current, &follower);
            }
        }
    }
}
