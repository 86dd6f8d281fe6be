//! Selectors: where in a record a text is found. `key`, `header:NAME`, or a JSON pointer into the payload.

use std::borrow::Cow;
use std::fmt;

use super::{Document, Pointer, PointerError};
use crate::seams::SourceRecord;

/// Where a text is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    Key,
    Header(String),
    Payload(Pointer),
}

/// The text is no selector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    #[error("must be `key`, `header:NAME` or a JSON pointer, which begins with `/`")]
    Unknown,
    #[error(transparent)]
    Pointer(#[from] PointerError),
}

/// What a selector finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selected<'a> {
    Text(Cow<'a, str>),
    /// It is not there, or `null`.
    Missing,
    /// It is there, and no text: an object, an array, bytes.
    NoText,
}

impl Selector {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        match text.split_once(':') {
            _ if text == "key" => Ok(Self::Key),
            _ if text.starts_with('/') => Ok(Self::Payload(Pointer::parse(text)?)),
            Some(("header", name)) if !name.is_empty() => Ok(Self::Header(name.to_owned())),
            _ => Err(SelectorError::Unknown),
        }
    }

    /// Whether it needs the payload as JSON.
    pub fn reads_payload(&self) -> bool {
        matches!(self, Self::Payload(_))
    }

    /// What it finds; of a header that stands several times, the last one.
    pub fn select<'a>(
        &self,
        record: &'a SourceRecord,
        document: Option<Document<'a>>,
    ) -> Selected<'a> {
        match self {
            Self::Key => text(record.key.as_deref()),
            Self::Header(name) => text(record.header(name)),
            Self::Payload(pointer) => match document.and_then(|document| document.at(pointer)) {
                Some(value) if !value.is_null() => {
                    value.scalar().map_or(Selected::NoText, Selected::Text)
                }
                _ => Selected::Missing,
            },
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => f.write_str("key"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Payload(pointer) => write!(f, "{pointer}"),
        }
    }
}

fn text(bytes: Option<&[u8]>) -> Selected<'_> {
    match bytes.map(std::str::from_utf8) {
        None => Selected::Missing,
        Some(Ok(text)) => Selected::Text(Cow::Borrowed(text)),
        Some(Err(_)) => Selected::NoText,
    }
}
