//! Where a configuration's text comes from: a TOML file, overlaid by environment variables. Owns their
//! merging into one tree; knows no key and judges no value.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::fault::Fault;

const PREFIX: &str = "MERIDIAN__";

/// The merged tree, before anything in it is judged.
#[derive(Default)]
pub(super) struct Source {
    pub(super) root: Table,
    /// What relative paths are relative to.
    pub(super) base: PathBuf,
    /// The variables by the path that each sets.
    variables: BTreeMap<String, Variable>,
}

pub(super) struct Variable {
    pub(super) name: String,
    pub(super) text: String,
}

impl Source {
    /// Merges a file's text and the environment. Variables that don't begin with `MERIDIAN__` are ignored.
    pub(super) fn merge(
        text: &str,
        base: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> (Self, Vec<Fault>) {
        let mut faults = Vec::new();
        let root = text.parse().unwrap_or_else(|error| {
            faults.push(syntax_fault(text, &error));
            Table::new()
        });
        let mut source = Self { root, base: base.to_owned(), variables: BTreeMap::new() };
        let mut variables: Vec<_> = environment.into_iter().collect();
        // A section's variable comes before those of its members, which then refine it.
        variables.sort();
        for (name, text) in variables {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            let path: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
            match insert(&mut source.root, &path, structured(&text)) {
                Some(key) => {
                    source.variables.insert(key, Variable { name, text });
                }
                None => faults.push(Fault::new(
                    name,
                    "this environment variable names no key; sections and keys are joined by `__`, \
                     as in MERIDIAN__LIMITS__SESSIONS",
                )),
            }
        }
        (source, faults)
    }

    /// The variable that set the value at a path.
    pub(super) fn variable(&self, path: &str) -> Option<&Variable> {
        self.variables.get(path)
    }
}

/// The place and the parser's words, but not the line itself, which may hold a secret.
fn syntax_fault(text: &str, error: &toml::de::Error) -> Fault {
    let at = error.span().map_or(0, |span| span.start);
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
    let first = error.message().lines().next().unwrap_or("not valid TOML");
    Fault::new("", format!("line {line}, column {column}: not valid TOML: {first}"))
}

/// A variable's value: lists and tables in TOML's notation, all else as text.
fn structured(text: &str) -> Value {
    let parsed = || text.parse::<Value>().ok();
    match text.trim_start().starts_with(['[', '{']).then(parsed).flatten() {
        Some(value @ (Value::Array(_) | Value::Table(_))) => value,
        _ => Value::String(text.to_owned()),
    }
}

/// Sets the value at a path, making tables on the way; returns the path as faults name it.
fn insert(root: &mut Table, path: &[String], value: Value) -> Option<String> {
    let (last, sections) = path.split_last()?;
    if path.iter().any(String::is_empty) {
        return None;
    }
    let mut key = String::new();
    let mut table = root;
    let mut sections = sections.iter().peekable();
    while let Some(section) = sections.next() {
        push_member(&mut key, section);
        let next = table.entry(section.as_str()).or_insert_with(|| Value::Table(Table::new()));
        table = match next {
            Value::Table(table) => table,
            Value::Array(elements) => {
                let index: usize = sections.next()?.parse().ok()?;
                key.push_str(&format!("[{index}]"));
                elements.get_mut(index)?.as_table_mut()?
            }
            _ => return None,
        };
    }
    push_member(&mut key, last);
    table.insert(last.clone(), value);
    Some(key)
}

fn push_member(path: &mut String, member: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(member);
}
