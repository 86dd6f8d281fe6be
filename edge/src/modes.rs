//! The modes that stand on a node, its own and those of single namespaces. Owns which one counts; what it
//! means is decided by who publishes, answers polls or tells clients. Read without a lock: each publish asks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};

use meridian_core::mode::Mode;
use meridian_core::policy::Policies;
use meridian_core::protocol::ModePush;
use meridian_core::vocabulary::{Channel, Namespace};

/// A namespace without a mode of its own.
const NONE: u8 = u8::MAX;

/// A node's modes.
#[derive(Debug)]
pub(crate) struct Modes {
    node: AtomicU8,
    namespaces: BTreeMap<Namespace, AtomicU8>,
}

/// The node has no such namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoSuchNamespace;

impl Modes {
    /// Those that the configuration names.
    pub(crate) fn new(node: Mode, policies: &Policies) -> Self {
        let namespaces = policies
            .iter()
            .map(|(name, policy)| (name.clone(), AtomicU8::new(number(policy.mode))))
            .collect();
        Self { node: AtomicU8::new(number(Some(node))), namespaces }
    }

    /// The mode that counts for a channel: its namespace's own before the node's.
    pub(crate) fn of(&self, channel: &Channel) -> Mode {
        let own = self.namespaces.get(channel.namespace()).and_then(read);
        own.unwrap_or_else(|| self.node())
    }

    pub(crate) fn node(&self) -> Mode {
        read(&self.node).unwrap_or_default()
    }

    pub(crate) fn put_node(&self, mode: Mode) {
        self.node.store(number(Some(mode)), Ordering::Relaxed);
    }

    /// `None`: the node's counts again.
    pub(crate) fn put(&self, namespace: &str, mode: Option<Mode>) -> Result<(), NoSuchNamespace> {
        let found = self.namespaces.iter().find(|(name, _)| name.as_str() == namespace);
        found.ok_or(NoSuchNamespace)?.1.store(number(mode), Ordering::Relaxed);
        Ok(())
    }

    /// Whether there is nothing to tell.
    pub(crate) fn all_normal(&self) -> bool {
        let normal = |mode: &AtomicU8| read(mode).is_none_or(|mode| mode == Mode::Normal);
        normal(&self.node) && self.namespaces.values().all(normal)
    }

    /// What clients are told.
    pub(crate) fn push(&self, after_ms: u64) -> ModePush {
        let own = |(name, mode): (&Namespace, &AtomicU8)| {
            Some((name.as_str().to_owned(), read(mode)?.name().to_owned()))
        };
        ModePush {
            mode: self.node().name().to_owned(),
            namespaces: self.namespaces.iter().filter_map(own).collect(),
            after_ms,
        }
    }
}

fn number(mode: Option<Mode>) -> u8 {
    let place = Mode::ALL.iter().position(|known| Some(*known) == mode);
    place.and_then(|place| u8::try_from(place).ok()).unwrap_or(NONE)
}

fn read(mode: &AtomicU8) -> Option<Mode> {
    Mode::ALL.get(usize::from(mode.load(Ordering::Relaxed))).copied()
}

#[cfg(test)]
mod tests {
    use meridian_core::policy::Policy;

    use super::*;

    #[test]
    fn a_namespaces_own_mode_stands_before_the_nodes() {
        let namespace = |name: &str| Namespace::parse(name).unwrap();
        let policies = BTreeMap::from([
            (namespace("room"), Policy::default()),
            (namespace("board"), Policy { mode: Some(Mode::ReadOnly), ..Policy::default() }),
        ]);
        let modes = Modes::new(Mode::Normal, &Policies::new(policies));
        let of = |channel: &str| modes.of(&Channel::parse(channel).unwrap());
        assert_eq!((of("room:a"), of("board:a")), (Mode::Normal, Mode::ReadOnly));
        modes.put_node(Mode::PollingOnly);
        assert_eq!((of("room:a"), of("board:a")), (Mode::PollingOnly, Mode::ReadOnly));
        let told = modes.push(7);
        assert_eq!((told.mode.as_str(), told.after_ms), ("polling-only", 7));
        assert_eq!(told.namespaces, BTreeMap::from([("board".into(), "read-only".into())]));
        assert!(!modes.all_normal());
        assert_eq!(modes.put("board", None), Ok(()));
        assert_eq!(of("board:a"), Mode::PollingOnly);
        modes.put_node(Mode::Normal);
        assert!(modes.all_normal());
        assert_eq!(modes.put("nowhere", Some(Mode::Degraded)), Err(NoSuchNamespace));
    }
}
