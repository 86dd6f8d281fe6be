//! Grants: the channels that a token itself names. Owns the grammar of their patterns. A grant never
//! allows anything by itself: a namespace's policy has to list the rule `granted`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::vocabulary::{Channel, NameError};

/// What someone wants to do on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    Subscribe,
    Publish,
}

/// A set of actions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Actions(u8);

/// Actions on the channels that a pattern covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub pattern: Pattern,
    pub actions: Actions,
}

/// A channel, or all channels that begin alike (`flights:*`, `flights:SF*`). The namespace is always
/// spelled out, so a grant never reaches into another namespace's policy.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// The text without the trailing `*`.
    text: Arc<str>,
    wildcard: bool,
}

/// Why a pattern was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It, or what stands before its `*`, is no channel.
    #[error("a grant names a channel, or ends in `*` after a namespace (`flights:*`)")]
    Channel(#[source] NameError),
    /// It is not `PATTERN=ACTION[,ACTION]`.
    #[error("a grant looks like `flights:*=subscribe,publish`")]
    Shape,
    /// An action that does not exist.
    #[error("an action is `subscribe` or `publish`")]
    Action,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 2] = [Self::Subscribe, Self::Publish];

    /// The name in tokens and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Publish => "publish",
        }
    }
}

impl Actions {
    /// No action.
    pub const NONE: Self = Self(0);

    /// Whether the action is in the set.
    pub fn contains(self, action: Action) -> bool {
        self.0 & bit(action) != 0
    }

    /// The set with the action in it.
    pub fn with(self, action: Action) -> Self {
        Self(self.0 | bit(action))
    }

    /// Whether no action is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The actions in the set.
    pub fn iter(self) -> impl Iterator<Item = Action> {
        Action::ALL.into_iter().filter(move |action| self.contains(*action))
    }
}

impl Grant {
    /// Whether the grant allows the action on the channel.
    pub fn allows(&self, action: Action, channel: &Channel) -> bool {
        self.actions.contains(action) && self.pattern.covers(channel)
    }
}

impl Pattern {
    /// Checks the grammar.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let Some(prefix) = text.strip_suffix('*') else {
            Channel::parse(text)?;
            return Ok(Self { text: Arc::from(text), wildcard: false });
        };
        // What the `*` stands for has one byte at least, so a channel within the grammar must be able
        // to follow; any byte that is allowed in a name shows that.
        Channel::parse(&format!("{prefix}x"))?;
        Ok(Self { text: Arc::from(prefix), wildcard: true })
    }

    /// The pattern of one channel.
    pub fn channel(channel: &Channel) -> Self {
        Self { text: Arc::from(channel.as_str()), wildcard: false }
    }

    /// Whether the channel is the pattern's, or one of them.
    pub fn covers(&self, channel: &Channel) -> bool {
        let channel = channel.as_str();
        if self.wildcard { channel.starts_with(&*self.text) } else { channel == &*self.text }
    }
}

fn bit(action: Action) -> u8 {
    1 << action as u8
}

impl FromIterator<Action> for Actions {
    fn from_iter<I: IntoIterator<Item = Action>>(actions: I) -> Self {
        actions.into_iter().fold(Self::NONE, Self::with)
    }
}

impl FromStr for Action {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::ALL.into_iter().find(|action| action.as_str() == text).ok_or(PatternError::Action)
    }
}

/// `flights:*=subscribe,publish`.
impl FromStr for Grant {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let (pattern, actions) = text.rsplit_once('=').ok_or(PatternError::Shape)?;
        Ok(Self {
            pattern: Pattern::parse(pattern).map_err(PatternError::Channel)?,
            actions: actions.split(',').map(str::parse).collect::<Result<_, _>>()?,
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.text, if self.wildcard { "*" } else { "" })
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
