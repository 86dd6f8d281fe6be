//! Policies: what a namespace promises, and who may do what on its channels. Pure decisions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use crate::mode::Mode;
use crate::vocabulary::{Channel, LogName, Namespace};

pub use crate::vocabulary::FeedBounds;

/// Headers of an event, at most.
pub const HEADERS_MOST: usize = 16;
/// Their names and values together, in bytes.
pub const HEADER_BYTES_MOST: usize = 4096;
/// A feed event's key, in bytes.
pub const EVENT_KEY_BYTES_MOST: usize = 255;
/// A W3C traceparent, in bytes.
pub const TRACE_BYTES_MOST: usize = 256;
/// A payload's media type, in bytes.
pub const CONTENT_TYPE_BYTES_MOST: usize = 128;
/// What a payload is, unless something else is said.
pub const MEDIA_TYPE_JSON: &str = "application/json";

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

/// The text is no rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be `tenant`, `owner`, `granted`, `user:ID`, `role:NAME` or `permission:NAME`")]
pub struct RuleError;

/// What a namespace promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub class: DeliveryClass,
    pub zone: LogName,
    pub retention: Retention,
    pub feed: FeedBounds,
    pub event_bytes: usize,
    /// How often one client may poll a channel, in milliseconds; 0: never.
    pub polling_ms: u64,
    /// In which mode it begins; `None`: in the node's.
    pub mode: Option<Mode>,
    pub subscribe: BTreeSet<Rule>,
    pub publish: BTreeSet<Rule>,
}

/// All namespaces of a node. A channel of a namespace that is not listed may not be used.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    by_namespace: BTreeMap<Namespace, Policy>,
}

impl Policies {
    pub const fn new(by_namespace: BTreeMap<Namespace, Policy>) -> Self {
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

/// The notation of the configuration.
impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        match text.split_once(':') {
            None if text == "tenant" => Ok(Self::Tenant),
            None if text == "owner" => Ok(Self::Owner),
            None if text == "granted" => Ok(Self::Granted),
            None | Some((_, "")) => Err(RuleError),
            Some(("user", user)) => Ok(Self::User(user.to_owned())),
            Some(("role", role)) => Ok(Self::Role(role.to_owned())),
            Some(("permission", permission)) => Ok(Self::Permission(permission.to_owned())),
            Some(_) => Err(RuleError),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant => f.write_str("tenant"),
            Self::User(user) => write!(f, "user:{user}"),
            Self::Role(role) => write!(f, "role:{role}"),
            Self::Permission(permission) => write!(f, "permission:{permission}"),
            Self::Owner => f.write_str("owner"),
            Self::Granted => f.write_str("granted"),
        }
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
            polling_ms: 0,
            mode: None,
            subscribe: BTreeSet::new(),
            publish: BTreeSet::new(),
        }
    }
}
