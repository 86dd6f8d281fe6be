//! Templates: a text with `{selector}` in it. What they make has one reading only: a value never holds
//! the character that ends its place.

use std::fmt::{self, Write as _};

use super::{Document, Poison, Selected, Selector, SelectorError};
use crate::seams::SourceRecord;

/// A text with places to fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Value(Selector),
}

/// The text is no template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("a `{{` without its `}}`, or the other way round")]
    Unbalanced,
    #[error("something must stand between two `{{…}}`, or nobody can tell where one value ends")]
    Adjacent,
    #[error(transparent)]
    Selector(#[from] SelectorError),
}

impl Template {
    /// Reads `orders:{/customer/id}.{header:region}`.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let (literal, after) = rest.split_once('{').unwrap_or((rest, ""));
            if literal.contains('}') {
                return Err(TemplateError::Unbalanced);
            }
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            } else if matches!(parts.last(), Some(Part::Value(_))) {
                return Err(TemplateError::Adjacent);
            }
            if literal.len() == rest.len() {
                break;
            }
            let (selector, after) = after.split_once('}').ok_or(TemplateError::Unbalanced)?;
            parts.push(Part::Value(Selector::parse(selector)?));
            rest = after;
        }
        Ok(Self { parts })
    }

    /// What stands before the first value; the whole text, if there is none.
    pub fn prefix(&self) -> &str {
        match self.parts.first() {
            Some(Part::Literal(literal)) => literal,
            _ => "",
        }
    }

    /// Whether it makes the same text of each record.
    pub fn is_fixed(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Literal(_)))
    }

    /// Whether it needs the payload as JSON.
    pub fn reads_payload(&self) -> bool {
        let reads = |part: &Part| matches!(part, Part::Value(selector) if selector.reads_payload());
        self.parts.iter().any(reads)
    }

    /// The text that it makes of a record.
    pub fn render(
        &self,
        record: &SourceRecord,
        document: Option<Document<'_>>,
    ) -> Result<String, Poison> {
        let mut out = String::new();
        for (n, part) in self.parts.iter().enumerate() {
            match part {
                Part::Literal(literal) => out.push_str(literal),
                Part::Value(selector) => {
                    let value = match selector.select(record, document) {
                        Selected::Text(text) if !text.is_empty() => text,
                        Selected::Text(_) | Selected::Missing => {
                            return Err(Poison::Missing(selector.to_string()));
                        }
                        Selected::NoText => return Err(Poison::NoText(selector.to_string())),
                    };
                    if self.end_of(n).is_some_and(|end| value.contains(end)) {
                        return Err(Poison::Ambiguous(selector.to_string()));
                    }
                    out.push_str(&value);
                }
            }
        }
        Ok(out)
    }

    /// The character behind a part.
    fn end_of(&self, part: usize) -> Option<char> {
        match self.parts.get(part + 1) {
            Some(Part::Literal(literal)) => literal.chars().next(),
            _ => None,
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Literal(literal) => f.write_str(literal),
            Part::Value(selector) => {
                f.write_char('{')?;
                write!(f, "{selector}")?;
                f.write_char('}')
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::route::tests::record;
    use super::*;

    fn render(template: &str, payload: &str) -> Result<String, Poison> {
        let record = record("k1", payload);
        let document = Document::parse(payload.as_bytes());
        Template::parse(template).unwrap().render(&record, document)
    }

    #[test]
    fn values_take_their_places() {
        let payload = r#"{"c":{"id":42},"r":"eu"}"#;
        assert_eq!(render("orders:{/c/id}.{/r}", payload).unwrap(), "orders:42.eu");
        assert_eq!(render("orders:{key}", payload).unwrap(), "orders:k1");
        assert_eq!(render("{header:kind}:x", payload).unwrap(), "created:x");
        assert_eq!(render("orders:all", payload).unwrap(), "orders:all");
    }

    #[test]
    fn what_makes_no_text_is_poison() {
        let payload = r#"{"o":{},"n":null,"e":"","d":"a.b"}"#;
        let missing = |at: &str| Err(Poison::Missing(at.to_owned()));
        assert_eq!(render("a:{/x}", payload), missing("/x"));
        assert_eq!(render("a:{/n}", payload), missing("/n"));
        assert_eq!(render("a:{/e}", payload), missing("/e"));
        assert_eq!(render("a:{header:none}", payload), missing("header:none"));
        assert_eq!(render("a:{/o}", payload), Err(Poison::NoText("/o".to_owned())));
    }

    /// [Two customers of one channel: `a.b` with `c`, and `a` with `b.c`.]
    #[test]
    fn no_value_reaches_into_the_next_place() {
        let payload = r#"{"a":"a.b","c":"c"}"#;
        assert_eq!(render("x:{/a}.{/c}", payload), Err(Poison::Ambiguous("/a".to_owned())));
        assert_eq!(render("x:{/c}.{/a}", payload).unwrap(), "x:c.a.b", "the last one may");
    }

    #[test]
    fn bad_templates_are_refused() {
        for (bad, why) in [
            ("a{key", TemplateError::Unbalanced),
            ("a}b", TemplateError::Unbalanced),
            ("{key}{/a}", TemplateError::Adjacent),
            ("{}", TemplateError::Selector(SelectorError::Unknown)),
            ("{keys}", TemplateError::Selector(SelectorError::Unknown)),
            ("{header:}", TemplateError::Selector(SelectorError::Unknown)),
        ] {
            assert_eq!(Template::parse(bad), Err(why), "{bad}");
        }
        for good in ["", "a", "a:{key}", "{header:a b}-{/x~1y}"] {
            assert_eq!(Template::parse(good).unwrap().to_string(), good);
        }
    }
}
