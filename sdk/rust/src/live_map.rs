//! The current values of a feed, as a reader keeps them. Pure: it takes updates and reads nothing itself.

use std::collections::HashMap;

use meridian_core::vocabulary::{EventKind, Position};

use crate::update::{Event, Update};

/// The newest event of each key of a feed. Hand it every update of the feed's subscription, in order.
#[derive(Debug, Clone, Default)]
pub struct LiveMap {
    values: HashMap<String, Event>,
}

impl LiveMap {
    /// Takes an update; answers the keys whose values changed or left.
    pub fn apply(&mut self, update: &Update) -> Vec<String> {
        match update {
            Update::Event(event) => self.take(event),
            // All current values follow.
            Update::Gap(_) => self.values.drain().map(|(key, _)| key).collect(),
            Update::Skipped(_) | Update::Ended(_) => Vec::new(),
        }
    }

    /// The newest event of a key.
    pub fn get(&self, key: &str) -> Option<&Event> {
        self.values.get(key)
    }

    /// Every key with its newest event, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Event)> {
        self.values.iter().map(|(key, event)| (key.as_str(), event))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    fn take(&mut self, event: &Event) -> Vec<String> {
        let at = position(event);
        let mut changed = Vec::new();
        if let Some(key) = &event.body.key
            && self.is_newer(key, at)
        {
            match event.body.kind {
                EventKind::Publish => drop(self.values.insert(key.clone(), event.clone())),
                EventKind::Remove => drop(self.values.remove(key)),
                EventKind::Unreadable => return changed,
            }
            changed.push(key.clone());
        }
        for key in &event.body.evicts {
            if self.is_newer(key, at) && self.values.remove(key).is_some() {
                changed.push(key.clone());
            }
        }
        changed
    }

    /// An older offset says nothing about a key.
    fn is_newer(&self, key: &str, at: Option<Position>) -> bool {
        self.values.get(key).is_none_or(|held| position(held) <= at)
    }
}

fn position(event: &Event) -> Option<Position> {
    event.place.as_ref().map(|place| place.position)
}

#[cfg(test)]
mod tests {
    use meridian_core::vocabulary::{Body, Epoch, Prev};

    use super::*;
    use crate::update::{Gap, Place};

    fn event(passed: i64, kind: EventKind, key: &str, evicts: &[&str]) -> Update {
        let position = Position { epoch: Epoch(1), passed };
        let place = Some(Place { stream: "1.global.1.3".into(), position, prev: Prev::None });
        let evicts = evicts.iter().map(|key| (*key).to_owned()).collect();
        let body = Body { kind, key: Some(key.to_owned()), evicts, ..Body::default() };
        Update::Event(Event { place, time_ms: 0, id: None, body })
    }

    #[test]
    fn for_each_key_the_highest_offset_counts() {
        let mut map = LiveMap::default();
        let (set, remove) = (EventKind::Publish, EventKind::Remove);
        assert_eq!(map.apply(&event(1, set, "a", &[])), ["a"]);
        assert_eq!(map.apply(&event(5, set, "b", &["a"])), ["b", "a"]);
        assert_eq!(map.apply(&event(4, remove, "b", &[])), [""; 0], "older than what is there");
        assert_eq!((map.get("a"), map.len()), (None, 1));
        assert_eq!(map.apply(&event(6, remove, "b", &[])), ["b"]);
        assert!(map.is_empty());
    }

    #[test]
    fn a_gap_empties_it() {
        let mut map = LiveMap::default();
        map.apply(&event(1, EventKind::Publish, "a", &[]));
        let text = String::new;
        map.apply(&Update::Gap(Gap { reason: text(), from: text(), cursor: text() }));
        assert!(map.is_empty());
    }
}
