//! Results as a table for people and as JSON for programs.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::stats::Spread;

/// A table; every row has as many cells as there are columns.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    columns: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &[&'static str]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// As Markdown, columns aligned, ready for the README.
    pub(crate) fn render(&self) -> String {
        let width = |at: usize| {
            let cells =
                self.rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
            cells.chain([self.columns[at].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut out = String::new();
        let heads: Vec<String> = self.columns.iter().map(|head| (*head).to_owned()).collect();
        line(&mut out, &heads, &widths);
        let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        line(&mut out, &rules, &widths);
        for row in &self.rows {
            line(&mut out, row, &widths);
        }
        out
    }
}

fn line(out: &mut String, cells: &[String], widths: &[usize]) {
    for (cell, width) in cells.iter().zip(widths) {
        let _ = write!(out, "| {cell:<width$} ");
    }
    out.push_str("|\n");
}

/// Prints the table, and writes the figures where wanted.
pub(crate) fn publish(table: &Table, figures: &impl Serialize, json: Option<&Path>) -> Result<()> {
    println!("{}", table.render());
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(figures)?;
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// Says on stderr what is going on.
pub(crate) fn progress(text: impl std::fmt::Display) {
    eprintln!("… {text}");
}

/// `min / median / max`.
pub(crate) fn spread(spread: Option<Spread>) -> String {
    match spread {
        Some(Spread { min, median, max }) => format!("{min:.2} / {median:.2} / {max:.2}"),
        None => "–".to_owned(),
    }
}

/// Microseconds, or milliseconds where they are many.
pub(crate) fn duration_us(us: f64) -> String {
    match us {
        us if us < 10.0 => format!("{us:.2} µs"),
        us if us < 1000.0 => format!("{us:.0} µs"),
        us => format!("{:.2} ms", us / 1000.0),
    }
}

/// A whole number with separators.
pub(crate) fn count(number: f64) -> String {
    let digits = format!("{:.0}", number.max(0.0));
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes as KiB.
pub(crate) fn kib(bytes: f64) -> String {
    format!("{:.1} KiB", bytes / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_markdown() {
        let mut table = Table::new(&["a", "long head"]);
        table.row(["µµµ".to_owned(), "x".to_owned()]);
        assert_eq!(
            table.render(),
            "| a   | long head |\n| --- | --------- |\n| µµµ | x         |\n"
        );
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(count(1_234_567.4), "1,234,567");
        assert_eq!(count(12.0), "12");
        assert_eq!(duration_us(5.321), "5.32 µs");
        assert_eq!(duration_us(1234.0), "1.23 ms");
        assert_eq!(kib(5120.0), "5.0 KiB");
        assert_eq!(spread(Some(Spread { min: 1.0, median: 1.1, max: 1.25 })), "1.00 / 1.10 / 1.25");
    }
}
