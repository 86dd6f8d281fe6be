//! Filters: which records of a source become events. `SELECTOR`, `!SELECTOR`, `SELECTOR == TEXT` or
//! `SELECTOR != TEXT`; all conditions must hold.

use super::{Document, Selected, Selector, SelectorError};
use crate::seams::SourceRecord;

/// Conditions that must all hold; none, and every record passes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter(Vec<Condition>);

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    selector: Selector,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Present,
    Absent,
    Is(String),
    /// Holds where there is nothing, too.
    IsNot(String),
}

/// The text is no condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a condition is `SELECTOR`, `!SELECTOR`, `SELECTOR == TEXT` or `SELECTOR != TEXT`")]
pub struct ConditionError(#[from] SelectorError);

impl Condition {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, ConditionError> {
        let (selector, test) = if let Some((selector, text)) = text.split_once("==") {
            (selector, Test::Is(text.trim().to_owned()))
        } else if let Some((selector, text)) = text.split_once("!=") {
            (selector, Test::IsNot(text.trim().to_owned()))
        } else if let Some(selector) = text.trim().strip_prefix('!') {
            (selector, Test::Absent)
        } else {
            (text, Test::Present)
        };
        Ok(Self { selector: Selector::parse(selector.trim())?, test })
    }

    fn holds(&self, record: &SourceRecord, document: Option<Document<'_>>) -> bool {
        let found = self.selector.select(record, document);
        match &self.test {
            Test::Present => found != Selected::Missing,
            Test::Absent => found == Selected::Missing,
            Test::Is(text) => matches!(found, Selected::Text(found) if found == *text),
            Test::IsNot(text) => !matches!(found, Selected::Text(found) if found == *text),
        }
    }
}

impl Filter {
    pub fn new(conditions: Vec<Condition>) -> Self {
        Self(conditions)
    }

    /// Whether it needs the payload as JSON.
    pub fn reads_payload(&self) -> bool {
        self.0.iter().any(|condition| condition.selector.reads_payload())
    }

    /// Whether the record becomes an event.
    pub fn passes(&self, record: &SourceRecord, document: Option<Document<'_>>) -> bool {
        self.0.iter().all(|condition| condition.holds(record, document))
    }
}

#[cfg(test)]
mod tests {
    use super::super::route::tests::record;
    use super::*;

    #[test]
    fn all_conditions_must_hold() {
        let payload = r#"{"type":"created","n":3,"gone":null,"o":{}}"#;
        let record = record("k1", payload);
        let document = Document::parse(payload.as_bytes());
        for (conditions, passes) in [
            (&[][..], true),
            (&["/type == created"], true),
            (&["/type==deleted"], false),
            (&["/n == 3", "/o", "!/gone", "key == k1"], true),
            (&["/n == 3", "/gone"], false),
            (&["/absent != x", "/type != x"], true),
            (&["header:kind != created"], false),
            (&["!header:other"], true),
        ] {
            let parsed = conditions.iter().map(|text| Condition::parse(text).unwrap()).collect();
            assert_eq!(Filter::new(parsed).passes(&record, document), passes, "{conditions:?}");
        }
        for bad in ["", "type == x", "== x", "!"] {
            assert!(Condition::parse(bad).is_err(), "{bad}");
        }
    }
}
