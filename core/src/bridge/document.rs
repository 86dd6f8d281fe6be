//! A payload read as JSON, value by value. Numbers and texts stay as they were written: no digit is lost
//! on the way through.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Pointer;
use crate::protocol::check_payload;

/// A valid JSON text.
#[derive(Debug, Clone, Copy)]
pub struct Document<'a>(&'a RawValue);

/// A name in an object; a newtype, as a borrowed one can't hold escapes.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Document<'a> {
    /// `None`: it is not one JSON value in UTF-8, or it nests deeper than an event's payload may.
    pub fn parse(payload: &'a [u8]) -> Option<Self> {
        check_payload("application/json", payload).ok()?;
        serde_json::from_slice(payload).ok().map(Self)
    }

    /// As it was written.
    pub fn text(self) -> &'a str {
        self.0.get()
    }

    /// The value that a pointer names.
    pub fn at(self, pointer: &Pointer) -> Option<Self> {
        pointer.tokens().iter().try_fold(self, |value, token| value.step(token))
    }

    /// The members of an object; of a name that stands twice, the last one.
    pub fn members(self) -> Option<BTreeMap<String, Self>> {
        self.0.get().starts_with('{').then_some(())?;
        let members: BTreeMap<Name<'a>, &'a RawValue> = serde_json::from_str(self.0.get()).ok()?;
        Some(members.into_iter().map(|(name, value)| (name.0.into_owned(), Self(value))).collect())
    }

    /// The elements of an array.
    pub fn elements(self) -> Option<Vec<Self>> {
        self.0.get().starts_with('[').then_some(())?;
        let elements: Vec<&'a RawValue> = serde_json::from_str(self.0.get()).ok()?;
        Some(elements.into_iter().map(Self).collect())
    }

    /// Texts, numbers, `true` and `false` as a text; nothing else has one.
    pub fn scalar(self) -> Option<Cow<'a, str>> {
        match self.0.get().as_bytes().first()? {
            b'"' => serde_json::from_str::<Name<'a>>(self.0.get()).ok().map(|text| text.0),
            b'{' | b'[' | b'n' => None,
            _ => Some(Cow::Borrowed(self.0.get())),
        }
    }

    /// Whether it is `null`.
    pub fn is_null(self) -> bool {
        self.0.get() == "null"
    }

    fn step(self, token: &str) -> Option<Self> {
        if let Some(mut members) = self.members() {
            return members.remove(token);
        }
        let index = token.parse::<usize>().ok().filter(|index| index.to_string() == token)?;
        self.elements()?.into_iter().nth(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        r#"{"a":{"b/c":[1.50,"x\u00e9",true,null,{}]},"n":123456789012345678901,"d":1,"d":2}"#;

    fn at(pointer: &str) -> Option<Document<'static>> {
        Document::parse(TEXT.as_bytes()).unwrap().at(&Pointer::parse(pointer).unwrap())
    }

    #[test]
    fn pointers_find_values_as_they_were_written() {
        let text = |pointer| at(pointer).map(Document::text);
        assert_eq!(text("/n"), Some("123456789012345678901"));
        assert_eq!(text("/a/b~1c/0"), Some("1.50"));
        assert_eq!(text("/d"), Some("2"));
        assert_eq!(text(""), Some(TEXT));
        for missing in ["/x", "/a/b~1c/5", "/a/b~1c/00", "/n/0", "/a/b~1c/-"] {
            assert_eq!(text(missing), None, "{missing}");
        }
    }

    #[test]
    fn only_scalars_have_a_text() {
        let scalar = |pointer| at(pointer).unwrap().scalar().map(Cow::into_owned);
        assert_eq!(scalar("/a/b~1c/1").as_deref(), Some("xé"));
        assert_eq!(scalar("/a/b~1c/2").as_deref(), Some("true"));
        assert_eq!((scalar("/a/b~1c/3"), scalar("/a/b~1c/4"), scalar("/a")), (None, None, None));
        assert!(at("/a/b~1c/3").unwrap().is_null());
    }

    #[test]
    fn what_is_no_json_is_no_document() {
        for bad in [&b"{"[..], b"", b"{} {}", b"\xff", "[".repeat(200).as_bytes()] {
            assert!(Document::parse(bad).is_none());
        }
    }
}
