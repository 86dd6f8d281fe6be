//! Reading a tree into typed values. Owns the collecting of faults, the noticing of unknown keys and the list
//! of all keys with their defaults. A fault yields the default, so that reading goes on and all
//! faults are told at once.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use toml::{Table, Value};

use super::fault::Fault;
use super::source::Source;

/// A key that exists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KnownKey {
    /// Its path; `auth.keys[]` for an element, `namespaces.NAME` for a namespace.
    pub path: String,
    /// The default as text; empty for a key that has none.
    pub default: String,
}

pub(super) struct Reader<'s> {
    source: &'s Source,
    pub(super) faults: Vec<Fault>,
    pub(super) known: Vec<KnownKey>,
}

/// One table on the way down.
pub(super) struct Section<'r, 's> {
    reader: &'r mut Reader<'s>,
    table: Option<&'s Table>,
    path: String,
    asked: BTreeSet<&'static str>,
}

/// A value, and whether it stands in an environment variable, where everything is text.
struct Found<'s> {
    value: &'s Value,
    text: Option<&'s str>,
}

impl<'s> Reader<'s> {
    pub(super) fn new(source: &'s Source, faults: Vec<Fault>) -> Self {
        Self { source, faults, known: Vec::new() }
    }

    pub(super) fn root<T>(&mut self, read: impl FnOnce(&mut Section<'_, 's>) -> T) -> T {
        let table = Some(&self.source.root);
        Section { reader: self, table, path: String::new(), asked: BTreeSet::new() }.scope(read)
    }
}

impl<'s> Section<'_, 's> {
    /// Whether the file or the environment has the key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// The path of one of the section's keys.
    pub(super) fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// What relative paths are relative to.
    pub(super) fn base(&self) -> PathBuf {
        self.reader.source.base.clone()
    }

    /// Reports a fault of one of the section's keys.
    pub(super) fn fault(&mut self, key: &str, message: impl Display) {
        let path = self.path(key);
        let message = match self.reader.source.variable(&path) {
            Some(variable) => format!("{message} (set by {})", variable.name),
            None => message.to_string(),
        };
        self.reader.faults.push(Fault::new(path, message));
    }

    pub(super) fn number(
        &mut self,
        key: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> u64 {
        let Some(found) = self.find(key, default) else { return default };
        let number = match (found.text, found.value) {
            (Some(text), _) => text.trim().parse().ok(),
            (None, Value::Integer(number)) => Some(*number),
            _ => None,
        };
        let within = number.and_then(|n| u64::try_from(n).ok()).filter(|n| range.contains(n));
        within.unwrap_or_else(|| {
            let (low, high) = range.into_inner();
            self.fault(key, format!("must be a whole number from {low} to {high}"));
            default
        })
    }

    pub(super) fn size(
        &mut self,
        key: &'static str,
        default: usize,
        range: RangeInclusive<usize>,
    ) -> usize {
        let (low, high) = range.into_inner();
        self.number(key, default as u64, low as u64..=high as u64) as usize
    }

    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        let Some(found) = self.find(key, default) else { return default };
        let flag = match (found.text, found.value) {
            (Some(text), _) => text.trim().parse().ok(),
            (None, Value::Boolean(flag)) => Some(*flag),
            _ => None,
        };
        flag.unwrap_or_else(|| {
            self.fault(key, "must be true or false");
            default
        })
    }

    /// A text without a default.
    pub(super) fn text(&mut self, key: &'static str) -> Option<&'s str> {
        self.text_or(key, "")
    }

    /// A text that is parsed, without a default.
    pub(super) fn optional<T, E: Display>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(key)?;
        self.judge(key, parse(text))
    }

    /// A text that is parsed; `default` is one that parses.
    pub(super) fn parsed<T, E: Display>(
        &mut self,
        key: &'static str,
        default: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> T {
        let given = self.text_or(key, default).map(&parse);
        given.and_then(|given| self.judge(key, given)).unwrap_or_else(|| {
            let default = parse(default).ok();
            default.expect("invariant: a key's default is one of its values")
        })
    }

    /// A list of texts, each parsed; empty by default. In the environment they may be divided by commas.
    pub(super) fn list<T, E: Display>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let Some(found) = self.find(key, "[]") else { return Vec::new() };
        let texts: Option<Vec<&str>> = match (found.value, found.text) {
            (Value::Array(elements), _) => elements.iter().map(Value::as_str).collect(),
            (_, Some(text)) => {
                Some(text.split(',').map(str::trim).filter(|text| !text.is_empty()).collect())
            }
            _ => None,
        };
        let Some(texts) = texts else {
            self.fault(key, "must be a list of texts");
            return Vec::new();
        };
        let parsed = texts.into_iter().map(|text| parse(text).map_err(|e| (text, e)));
        let (good, bad): (Vec<_>, Vec<_>) = parsed.partition(Result::is_ok);
        for (text, error) in bad.into_iter().filter_map(Result::err) {
            self.fault(key, format!("`{}`: {error}", text.escape_debug()));
        }
        good.into_iter().filter_map(Result::ok).collect()
    }

    /// A table below this one; absent, it is read as an empty one.
    pub(super) fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_, 's>) -> T,
    ) -> T {
        self.asked.insert(key);
        let table = self.table.and_then(|table| table.get(key));
        let path = self.path(key);
        self.descend(table, path, read)
    }

    /// A list of tables.
    pub(super) fn sections<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Section<'_, 's>) -> T,
    ) -> Vec<T> {
        self.asked.insert(key);
        let path = self.path(key);
        let elements = match self.table.and_then(|table| table.get(key)) {
            None => return Vec::new(),
            Some(Value::Array(elements)) => elements,
            Some(_) => {
                self.fault(key, format!("must be a list of tables (`[[{path}]]`)"));
                return Vec::new();
            }
        };
        let elements = elements.iter().enumerate();
        elements.map(|(i, v)| self.descend(Some(v), format!("{path}[{i}]"), &mut read)).collect()
    }

    /// Tables under names of the user's choosing.
    pub(super) fn named<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&str, &mut Section<'_, 's>) -> T,
    ) -> Vec<T> {
        self.asked.insert(key);
        let members = match self.table.and_then(|table| table.get(key)) {
            None => return Vec::new(),
            Some(Value::Table(members)) => members,
            Some(_) => {
                self.fault(key, "must be a table");
                return Vec::new();
            }
        };
        let path = self.path(key);
        let mut read_one = |(name, value): (&'s String, &'s Value)| {
            self.descend(Some(value), format!("{path}.{name}"), |section| read(name, section))
        };
        members.iter().map(&mut read_one).collect()
    }

    fn descend<T>(
        &mut self,
        value: Option<&'s Value>,
        path: String,
        read: impl FnOnce(&mut Section<'_, 's>) -> T,
    ) -> T {
        if value.is_some_and(|value| !value.is_table()) {
            self.reader.faults.push(Fault::new(path.clone(), "must be a table"));
        }
        let table = value.and_then(Value::as_table);
        Section { reader: self.reader, table, path, asked: BTreeSet::new() }.scope(read)
    }

    /// Reads, then reports the keys that nobody asked for.
    fn scope<T>(mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let value = read(&mut self);
        let unknown: Vec<&str> = self.table.map_or_else(Vec::new, |table| {
            table.keys().map(String::as_str).filter(|key| !self.asked.contains(key)).collect()
        });
        for key in unknown {
            let message = unknown_key(key, &self.asked);
            self.fault(key, message);
        }
        value
    }

    fn text_or(&mut self, key: &'static str, default: &str) -> Option<&'s str> {
        let found = self.find(key, default)?;
        let text = found.text.or(found.value.as_str());
        if text.is_none() {
            self.fault(key, "must be a text");
        }
        text
    }

    fn find(&mut self, key: &'static str, default: impl Display) -> Option<Found<'s>> {
        self.asked.insert(key);
        let path = self.path(key);
        self.reader.known.push(KnownKey { path: path.clone(), default: default.to_string() });
        let value = self.table?.get(key)?;
        let variable = self.reader.source.variable(&path);
        Some(Found { value, text: variable.map(|variable| variable.text.as_str()) })
    }

    fn judge<T, E: Display>(&mut self, key: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.fault(key, error)).ok()
    }
}

fn unknown_key(key: &str, known: &BTreeSet<&'static str>) -> String {
    let distance = |other: &&&str| strsim::damerau_levenshtein(key, other);
    let nearest =
        known.iter().min_by_key(distance).filter(|other| distance(other) <= 1 + key.len() / 4);
    match nearest {
        Some(nearest) => format!("unknown key; did you mean `{nearest}`?"),
        None => {
            let known: Vec<&str> = known.iter().copied().collect();
            format!("unknown key; known here: {}", known.join(", "))
        }
    }
}
