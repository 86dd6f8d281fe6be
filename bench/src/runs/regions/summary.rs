//! What the turns over one link say together. Pure, but for the printing.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::report::{self, Table, count, duration_us, spread};
use crate::stats::{Buckets, Latencies, Percentiles, Spread};

/// What one turn gave.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Turn {
    /// From the making to the last reader.
    pub(super) latencies: Buckets,
    /// From the far router's receipt to its client; empty of the bare consumer.
    pub(super) from_router: Buckets,
    pub(super) missing: u64,
    pub(super) failed: u64,
}

/// All turns over one link.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Figures {
    pub(super) loss_percent: f64,
    pub(super) round_trip_ms: f64,
    pub(super) meridian: Vec<Turn>,
    pub(super) bare: Vec<Turn>,
}

/// A row of the table, and the JSON.
#[derive(Debug, Clone, Serialize)]
struct Row {
    loss_percent: f64,
    round_trip_ms: f64,
    what: &'static str,
    all: Percentiles,
    /// Each turn's p99, in milliseconds.
    p99_ms: Spread,
    missing: u64,
    failed: u64,
}

pub(super) fn publish(all: &[Figures], json: Option<&Path>) -> Result<()> {
    let rows: Vec<Row> = all.iter().flat_map(Figures::rows).collect();
    report::publish(&table(&rows), &rows, json)?;
    for figures in all {
        for (what, of) in RATIOS {
            let of_all = |turns: &[Turn]| turns.iter().map(of).collect::<Vec<f64>>();
            let ratio = Spread::of_ratios(&of_all(&figures.meridian), &of_all(&figures.bare))?;
            println!(
                "{what} end to end, Meridian / bare consumer at {} % loss (min / median / max): {}",
                figures.loss_percent,
                spread(Some(ratio))
            );
        }
    }
    Ok(())
}

/// A number of a turn.
type Number = fn(&Turn) -> f64;

/// What is compared, round by round.
const RATIOS: [(&str, Number); 2] = [
    ("p50", |turn| percentiles(&turn.latencies).p50_us),
    ("p99", |turn| percentiles(&turn.latencies).p99_us),
];

impl Figures {
    fn rows(&self) -> Vec<Row> {
        let row = |what, turns: &[Turn], of: fn(&Turn) -> &Buckets| Row {
            loss_percent: self.loss_percent,
            round_trip_ms: self.round_trip_ms,
            what,
            all: together(turns.iter().map(of)),
            p99_ms: Spread::of(turns.iter().map(|turn| percentiles(of(turn)).p99_us / 1000.0)),
            missing: turns.iter().map(|turn| turn.missing).sum(),
            failed: turns.iter().map(|turn| turn.failed).sum(),
        };
        vec![
            row("router's receipt to client", &self.meridian, |turn| &turn.from_router),
            row("publish to client", &self.meridian, |turn| &turn.latencies),
            row("bare producer to consumer", &self.bare, |turn| &turn.latencies),
        ]
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        "loss",
        "round trip",
        "",
        "p50",
        "p99",
        "p99.9",
        "p99 of each turn, ms (min / median / max)",
        "missing",
    ]);
    for row in rows {
        table.row([
            format!("{} %", row.loss_percent),
            format!("{:.1} ms", row.round_trip_ms),
            row.what.to_owned(),
            duration_us(row.all.p50_us),
            duration_us(row.all.p99_us),
            duration_us(row.all.p999_us),
            spread(Some(row.p99_ms)),
            count((row.missing + row.failed) as f64),
        ]);
    }
    table
}

fn percentiles(buckets: &Buckets) -> Percentiles {
    together([buckets])
}

fn together<'a>(all: impl IntoIterator<Item = &'a Buckets>) -> Percentiles {
    let mut latencies = Latencies::new();
    all.into_iter().for_each(|buckets| latencies.add(buckets));
    latencies.percentiles()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(ms: u64, from_router_ms: u64) -> Turn {
        let of = |ms: u64| {
            let mut latencies = Latencies::new();
            latencies.record(ms * 1_000_000);
            latencies.buckets()
        };
        Turn { latencies: of(ms), from_router: of(from_router_ms), missing: 1, failed: 0 }
    }

    #[test]
    fn each_distance_has_its_row() {
        let (meridian, bare) = (vec![turn(100, 4), turn(120, 6)], vec![turn(80, 0)]);
        let rows = Figures { loss_percent: 1.0, round_trip_ms: 80.2, meridian, bare }.rows();
        let medians: Vec<f64> = rows.iter().map(|row| row.p99_ms.median.round()).collect();
        assert_eq!(medians, [5.0, 110.0, 80.0]);
        assert_eq!(rows.iter().map(|row| row.missing).collect::<Vec<_>>(), [2, 2, 1]);
        let table = table(&rows).render();
        assert!(table.contains("| 1 %  | 80.2 ms"), "{table}");
    }
}
