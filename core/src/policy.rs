//! Policies: what a namespace promises, and who may do what on its channels. Pure decisions.

use std::collections::{BTreeMap, BTreeSet};

use crate::vocabulary::{Channel, LogName, Namespace};

/// How events of a namespace are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryClass {
    /// Ordered, gap-checked, replayable.
    Strict,
    /// Never stored, no cursor.
    Ephemeral,
    /// Replayable and keyed; a slow reader gets the newest value per key.
    Feed,
}

/// How much of a channel's past is kept. Whatever bound is met first removes the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    pub events: u64,
    pub bytes: u64,
    pub age_ms: u64,
}

/// How much of a feed's current values is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedBounds {
    pub keys: u64,
    pub bytes: u64,
}

/// Who may do something. A token passes if any rule holds; no rule, nobody.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Any valid token of the tenant.
    Tenant,
    User(String),
    Role(String),
    Permission(String),
    /// The channel's name is the token's user (`$user:{id}`).
    Owner,
    /// A channel grant in the token names it.
    Granted,
}

/// What a namespace promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub class: DeliveryClass,
    pub zone: LogName,
    pub retention: Retention,
    pub feed: FeedBounds,
    pub event_bytes: usize,
    pub subscribe: BTreeSet<Rule>,
    pub publish: BTreeSet<Rule>,
}

/// All namespaces of a node. A channel of a namespace that is not listed may not be used.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    by_namespace: BTreeMap<Namespace, Policy>,
}

impl Policies {
    pub fn new(by_namespace: BTreeMap<Namespace, Policy>) -> Self {
        Self { by_namespace }
    }

    /// The policy that a channel's namespace picks. Allocates nothing.
    pub fn of(&self, channel: &Channel) -> Option<&Policy> {
        self.by_namespace.get(channel.namespace())
    }

    /// Every namespace with its policy.
    pub fn iter(&self) -> impl Iterator<Item = (&Namespace, &Policy)> {
        self.by_namespace.iter()
    }
}

impl Default for Policy {
    /// `strict`, 10,000 events or 64 MiB or 7 days a channel, 64 KiB an event, nobody allowed.
    fn default() -> Self {
        Self {
            class: DeliveryClass::Strict,
            zone: LogName::parse("global").expect("invariant: a literal within the grammar"),
            retention: Retention { events: 10_000, bytes: 64 << 20, age_ms: 7 * 86_400_000 },
            feed: FeedBounds { keys: 10_000, bytes: 16 << 20 },
            event_bytes: 64 * 1024,
            subscribe: BTreeSet::new(),
            publish: BTreeSet::new(),
        }
    }
}
