//! The current keys of a partition's feeds: what each event evicts. Never holds a value.

use std::collections::HashMap;

use meridian_core::feed::{CurrentKey, CurrentKeys};
use meridian_core::vocabulary::{Body, ChannelKey, Position};

/// The feeds of a partition, each with its current keys.
#[derive(Debug, Default)]
pub struct Feeds(HashMap<ChannelKey, CurrentKeys>);

impl Feeds {
    /// What the history holds at the checkpoint.
    pub fn restore(stored: Vec<(ChannelKey, CurrentKey)>) -> Self {
        let mut by_channel: HashMap<ChannelKey, Vec<CurrentKey>> = HashMap::new();
        for (channel, key) in stored {
            by_channel.entry(channel).or_default().push(key);
        }
        let feeds = by_channel.into_iter();
        Self(feeds.map(|(channel, keys)| (channel, CurrentKeys::restore(keys))).collect())
    }

    /// Takes the next event of a channel; answers the keys that leave because of it.
    pub(super) fn apply(&mut self, channel: &ChannelKey, at: Position, body: &Body) -> Vec<String> {
        if meridian_core::feed::change(body).is_none() {
            return Vec::new();
        }
        if let Some(keys) = self.0.get_mut(channel) {
            let evicted = keys.apply(at, body);
            if keys.is_empty() {
                self.0.remove(channel);
            }
            return evicted;
        }
        let mut keys = CurrentKeys::default();
        let evicted = keys.apply(at, body);
        if !keys.is_empty() {
            self.0.insert(channel.clone(), keys);
        }
        evicted
    }
}
