//! Short validated names. Each is cheap to clone and has one grammar, checked where it enters.

use std::fmt;
use std::sync::Arc;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty where something is required.
    #[error("{what} is empty")]
    Empty { what: &'static str },
    /// More bytes than the limit.
    #[error("{what} is longer than {limit} bytes")]
    TooLong { what: &'static str, limit: usize },
    /// A byte outside the grammar.
    #[error("{what} contains a character that is not allowed")]
    BadCharacter { what: &'static str },
    /// The shape is wrong (for a channel: no namespace).
    #[error("{what} must look like {expected}")]
    BadShape { what: &'static str, expected: &'static str },
}

pub(super) fn check(
    text: &str,
    what: &'static str,
    limit: usize,
    allowed: fn(u8) -> bool,
) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { what });
    }
    if text.len() > limit {
        return Err(NameError::TooLong { what, limit });
    }
    if !text.bytes().all(allowed) {
        return Err(NameError::BadCharacter { what });
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $limit:literal, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(Arc<str>);

        impl $type {
            /// The longest allowed, in bytes.
            pub const MAX_BYTES: usize = $limit;

            /// Checks the grammar.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                check(text, $what, $limit, $allowed)?;
                Ok(Self(Arc::from(text)))
            }

            /// The text as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

fn plain(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')
}

fn lower(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'
}

fn no_control(b: u8) -> bool {
    b >= 0x20 && b != 0x7f
}

name!(
    /// The isolation boundary; every token names one.
    Tenant, "tenant", 64, plain
);
name!(
    /// A log (a zone's topic), such as `global`.
    LogName, "log name", 32, lower
);
name!(
    /// The user of a token (`sub`): any text without control characters.
    UserId, "user", 200, no_control
);
name!(
    /// The device of a token.
    DeviceId, "device", 64, no_control
);
name!(
    /// The publisher's name for an event; with channel and scope it identifies the event.
    EventId, "event id", 64, no_control
);
name!(
    /// What a bridge reads: a route's name.
    SourceName, "source", 64, plain
);
name!(
    /// The name under which a user's acknowledged positions are kept.
    SubscriberName, "subscriber", 64, no_control
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar_is_enforced() {
        assert!(Tenant::parse("acme-1.eu").is_ok());
        assert_eq!(Tenant::parse(""), Err(NameError::Empty { what: "tenant" }));
        assert!(Tenant::parse("a b").is_err());
        assert!(Tenant::parse(&"x".repeat(65)).is_err());
        assert!(LogName::parse("Global").is_err());
        assert!(UserId::parse("auth0|5f7é").is_ok());
        assert!(UserId::parse("a\nb").is_err());
    }
}
