//! The modes that an operator puts a node or one of its namespaces in when not everything can be had. Names
//! only: what a mode means is decided where it matters.

use std::fmt;
use std::str::FromStr;

/// How much of its service a node gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// All of it.
    #[default]
    Normal,
    /// All of it, and clients are told that something may be late or missing.
    Degraded,
    /// Clients leave their connections and poll the channels that may be polled.
    PollingOnly,
    /// Nothing is published.
    ReadOnly,
}

/// The text is no mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be `normal`, `degraded`, `polling-only` or `read-only`")]
pub struct ModeError;

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::Normal, Self::Degraded, Self::PollingOnly, Self::ReadOnly];

    /// The name in configuration, messages and headers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Degraded => "degraded",
            Self::PollingOnly => "polling-only",
            Self::ReadOnly => "read-only",
        }
    }
}

impl FromStr for Mode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        Self::ALL.into_iter().find(|mode| mode.name() == text).ok_or(ModeError)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
