//! What a link follows, by the names of shard channels. Owns the table that tells what a message is;
//! knows no connection.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use meridian_core::policy::{DeliveryClass, Policies};
use meridian_core::seams::Delivery;
use meridian_core::vocabulary::{ChannelKey, Stream};

use crate::encoding::{DecodeError, decode_ephemeral, decode_event};
use crate::keys::Layout;

/// What the messages of a shard channel are.
#[derive(Debug, Clone)]
pub(super) enum Target {
    Events { key: ChannelKey, stream: Stream },
    Ephemeral { key: ChannelKey },
}

/// A shard channel to follow.
#[derive(Debug, Clone)]
pub(super) struct Name {
    pub(super) text: String,
    /// Its beginning, with the hash tag: what shares it can be subscribed in one command.
    pub(super) base: Arc<str>,
    pub(super) target: Target,
}

/// Which shard channels carry what a channel's followers want.
#[derive(Clone)]
pub(crate) struct Wanted {
    layout: Layout,
    policies: Arc<Policies>,
}

/// The shard channels that one connection is to be subscribed to.
#[derive(Default)]
pub(super) struct Followed(Mutex<HashMap<String, (Arc<str>, Target)>>);

impl Wanted {
    pub(crate) fn new(layout: Layout, policies: Arc<Policies>) -> Self {
        Self { layout, policies }
    }

    /// Events, ephemeral events, or both where no policy tells.
    pub(super) fn names(&self, key: &ChannelKey, stream: &Stream) -> impl Iterator<Item = Name> {
        let class = self.policies.of(&key.channel).map(|policy| policy.class);
        let events = (class != Some(DeliveryClass::Ephemeral)).then(|| {
            let keys = self.layout.partition(stream);
            let target = Target::Events { key: key.clone(), stream: stream.clone() };
            Name { text: keys.events(key), base: keys.base().into(), target }
        });
        let stored = matches!(class, Some(DeliveryClass::Strict | DeliveryClass::Feed));
        let ephemeral = (!stored).then(|| {
            let target = Target::Ephemeral { key: key.clone() };
            let base = self.layout.ephemeral_base(key).into();
            Name { text: self.layout.ephemeral(key), base, target }
        });
        events.into_iter().chain(ephemeral)
    }
}

impl Name {
    /// Which of `parts` connections follows it.
    pub(super) fn part(&self, parts: usize) -> usize {
        let mut hasher = DefaultHasher::new();
        self.base.hash(&mut hasher);
        (hasher.finish() % parts as u64) as usize
    }
}

impl Target {
    fn read(&self, message: &Bytes) -> Result<Delivery, DecodeError> {
        match self {
            Self::Events { key, stream } => {
                decode_event(key, stream, message).map(|event| Delivery::Event(Arc::new(event)))
            }
            Self::Ephemeral { key } => {
                decode_ephemeral(key, message).map(|event| Delivery::Ephemeral(Arc::new(event)))
            }
        }
    }
}

impl Followed {
    /// Adds names; answers those that were not there.
    pub(super) fn add(&self, names: Vec<Name>) -> Vec<Name> {
        let mut all = self.lock();
        let mut new = Vec::new();
        for name in names {
            if !all.contains_key(&name.text) {
                all.insert(name.text.clone(), (name.base.clone(), name.target.clone()));
                new.push(name);
            }
        }
        new
    }

    /// Removes names; answers those that were there.
    pub(super) fn remove(&self, names: Vec<Name>) -> Vec<Name> {
        let mut all = self.lock();
        names.into_iter().filter(|name| all.remove(&name.text).is_some()).collect()
    }

    /// All names by their beginnings.
    pub(super) fn by_base(&self) -> BTreeMap<Arc<str>, Vec<String>> {
        let mut by_base = BTreeMap::<Arc<str>, Vec<String>>::new();
        for (text, (base, _)) in &*self.lock() {
            by_base.entry(base.clone()).or_default().push(text.clone());
        }
        by_base
    }

    /// Each beginning once.
    pub(super) fn bases(&self) -> Vec<Arc<str>> {
        let all = self.lock();
        let mut bases: Vec<Arc<str>> = all.values().map(|(base, _)| base.clone()).collect();
        bases.sort_unstable();
        bases.dedup();
        bases
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// What a message is; nothing if it is of a channel that is not followed any more.
    pub(super) fn read(
        &self,
        name: &str,
        message: &Bytes,
    ) -> Option<Result<Delivery, DecodeError>> {
        let target = self.lock().get(name)?.1.clone();
        Some(target.read(message))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Arc<str>, Target)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use meridian_core::policy::Policy;
    use meridian_core::seams::conformance::{channel, stream};
    use meridian_core::vocabulary::Namespace;

    use super::*;

    fn names(class: Option<DeliveryClass>) -> Vec<String> {
        let policy = class.map(|class| {
            (Namespace::parse("rooms").unwrap(), Policy { class, ..Policy::default() })
        });
        let policies = Policies::new(BTreeMap::from_iter(policy));
        let wanted = Wanted::new(Layout::new("mrd"), Arc::new(policies));
        wanted.names(&channel("a"), &stream(1, 0)).map(|name| name.text).collect()
    }

    #[test]
    fn the_class_tells_what_is_followed() {
        let (events, ephemeral) = ("mrd:{global.1.0}:e:suite/rooms:a", ":x:suite/rooms:a");
        assert_eq!(names(Some(DeliveryClass::Strict)), [events]);
        assert_eq!(names(Some(DeliveryClass::Feed)), [events]);
        let only = names(Some(DeliveryClass::Ephemeral));
        assert!(only.len() == 1 && only[0].ends_with(ephemeral), "{only:?}");
        let both = names(None);
        assert!(both[0] == events && both[1].ends_with(ephemeral), "{both:?}");
    }

    #[test]
    fn names_are_followed_once() {
        let wanted = Wanted::new(Layout::new("mrd"), Arc::default());
        let names = || wanted.names(&channel("a"), &stream(1, 0)).collect::<Vec<_>>();
        let followed = Followed::default();
        assert_eq!(followed.add(names()).len(), 2);
        assert_eq!(followed.add(names()).len(), 0);
        assert_eq!(followed.bases().len(), 2);
        assert_eq!(followed.remove(names()).len(), 2);
        assert_eq!(followed.remove(names()).len(), 0);
        assert!(followed.is_empty());
    }
}
