//! Payload scoping: only what is named leaves. A name below an array means each of its elements.

use std::collections::BTreeMap;

use super::{Document, Pointer};

/// The fields of a payload that may leave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fields {
    /// The value leaves whole.
    whole: bool,
    members: BTreeMap<String, Fields>,
}

impl Fields {
    /// Those that the pointers name; the empty pointer is the whole payload.
    pub fn new<'p>(pointers: impl IntoIterator<Item = &'p Pointer>) -> Self {
        let mut fields = Self::default();
        for pointer in pointers {
            let end = pointer.tokens().iter().fold(&mut fields, |fields, token| {
                fields.members.entry(token.clone()).or_default()
            });
            end.whole = true;
        }
        fields
    }

    /// Whether everything leaves.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// The payload with nothing but these fields: objects keep the named members, arrays all their
    /// elements, each scoped. A scalar where members were named does not leave.
    pub fn scope(&self, document: Document<'_>) -> String {
        let mut out = String::new();
        if !self.write(document, &mut out) {
            out.push_str("{}");
        }
        out
    }

    /// `false`: nothing of the value leaves.
    fn write(&self, value: Document<'_>, out: &mut String) -> bool {
        if self.whole {
            out.push_str(value.text());
            return true;
        }
        if let Some(members) = value.members() {
            self.write_members(&members, out);
            return true;
        }
        let Some(elements) = value.elements() else { return false };
        out.push('[');
        let mut comma = "";
        for element in elements {
            let start = out.len();
            out.push_str(comma);
            if self.write(element, out) { comma = "," } else { out.truncate(start) }
        }
        out.push(']');
        true
    }

    fn write_members(&self, members: &BTreeMap<String, Document<'_>>, out: &mut String) {
        out.push('{');
        let mut comma = "";
        for (name, fields) in &self.members {
            let Some(value) = members.get(name) else { continue };
            let start = out.len();
            out.push_str(comma);
            out.push_str(&serde_json::Value::from(name.as_str()).to_string());
            out.push(':');
            if fields.write(*value, out) { comma = "," } else { out.truncate(start) }
        }
        out.push('}');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scope(fields: &[&str], payload: &str) -> String {
        let pointers: Vec<_> = fields.iter().map(|text| Pointer::parse(text).unwrap()).collect();
        Fields::new(&pointers).scope(Document::parse(payload.as_bytes()).unwrap())
    }

    #[test]
    fn only_what_is_named_leaves() {
        let payload = r#"{"id":10000000000000000000001,"card":"4111","to":{"name":"x","street":"y"},
            "lines":[{"sku":"a","cost":1.10},{"cost":2},7,{"sku":"b"}],"k\"":1}"#;
        for (fields, expected) in [
            (&["/id"][..], r#"{"id":10000000000000000000001}"#),
            (&["/to/name", "/absent", "/card/x"], r#"{"to":{"name":"x"}}"#),
            (&["/lines/sku"], r#"{"lines":[{"sku":"a"},{},{"sku":"b"}]}"#),
            (&["/to", "/to/name"], r#"{"to":{"name":"x","street":"y"}}"#),
            (&["/k\""], r#"{"k\"":1}"#),
            (&[], "{}"),
            (&[""], payload),
        ] {
            assert_eq!(scope(fields, payload), expected, "{fields:?}");
        }
        assert_eq!(scope(&["/a"], "[{\"a\":1,\"b\":2}]"), "[{\"a\":1}]");
        assert_eq!(scope(&["/a"], "\"secret\""), "{}");
    }

    proptest! {
        /// Whatever the document: no value that is not named is in what leaves.
        #[test]
        fn nothing_else_leaves(
            names in proptest::collection::btree_set("[a-e]", 0..5),
            named in proptest::collection::vec("[a-e]", 0..3),
            nested: bool,
        ) {
            let member = |name: &String| format!("\"{name}\":\"value-{name}\"");
            let inner: Vec<String> = names.iter().map(member).collect();
            let object = format!("{{{}}}", inner.join(","));
            let (payload, prefix) = match nested {
                true => (format!("{{\"x\":[{object}]}}"), "/x/"),
                false => (object, "/"),
            };
            let fields: Vec<String> = named.iter().map(|name| format!("{prefix}{name}")).collect();
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            let out = scope(&fields, &payload);
            prop_assert!(Document::parse(out.as_bytes()).is_some());
            for name in &names {
                let left = out.contains(&format!("value-{name}"));
                prop_assert_eq!(left, named.contains(name), "{} of {}", name, out);
            }
        }
    }
}
