//! What the turns of router and bare loop say together. Pure, but for the printing.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::progress::Paces;
use super::takeover::Takeovers;
use crate::report::{self, Table, count, spread};
use crate::stats::Spread;

/// What one turn gave.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Turn {
    pub(super) paces: Paces,
    pub(super) cpu_us_per_event: f64,
}

/// All of a run.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Figures {
    pub(super) router: Vec<Turn>,
    pub(super) floor: Vec<Turn>,
    pub(super) takeovers: Option<Takeovers>,
}

impl Figures {
    pub(super) fn publish(&self, json: Option<&Path>) -> Result<()> {
        report::publish(&self.table(), self, json)?;
        for (what, of) in RATIOS {
            let of_all = |turns: &[Turn]| turns.iter().map(of).collect::<Vec<f64>>();
            let ratio = Spread::of_ratios(&of_all(&self.router), &of_all(&self.floor))?;
            println!("{what}, router / bare loop (min / median / max): {}", spread(Some(ratio)));
        }
        if let Some(takeovers) = &self.takeovers {
            let of = |times: &[f64]| spread(Some(Spread::of(times.iter().copied())));
            println!(
                "takeover with {} rows in the window, ms (min / median / max): {}; the claim alone: {}",
                count(takeovers.window_rows as f64),
                of(&takeovers.takeover_ms),
                of(&takeovers.claim_ms)
            );
        }
        Ok(())
    }

    fn table(&self) -> Table {
        let mut table = Table::new(&[
            "",
            "applied/s (min / median / max)",
            "stored/s",
            "applied/s of a partition",
            "CPU µs/event",
        ]);
        for (name, turns) in [("router", &self.router), ("bare loop", &self.floor)] {
            let partitions = turns.iter().flat_map(|turn| turn.paces.partitions_per_s.clone());
            table.row([
                name.to_owned(),
                counts(turns.iter().map(applied)),
                counts(turns.iter().map(stored)),
                counts(partitions),
                spread(Some(Spread::of(turns.iter().map(|turn| turn.cpu_us_per_event)))),
            ]);
        }
        table
    }
}

/// A number of a turn.
type Number = fn(&Turn) -> f64;

/// What is compared, round by round.
const RATIOS: [(&str, Number); 2] = [("applied/s", applied), ("stored/s", stored)];

fn applied(turn: &Turn) -> f64 {
    turn.paces.applied_per_s
}

fn stored(turn: &Turn) -> f64 {
    turn.paces.stored_per_s
}

/// `min / median / max` of large numbers.
fn counts(values: impl IntoIterator<Item = f64>) -> String {
    let Spread { min, median, max } = Spread::of(values);
    format!("{} / {} / {}", count(min), count(median), count(max))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(applied_per_s: f64, partitions_per_s: &[f64]) -> Turn {
        let partitions_per_s = partitions_per_s.to_vec();
        let paces = Paces { applied_per_s, stored_per_s: applied_per_s / 2.0, partitions_per_s };
        Turn { paces, cpu_us_per_event: 3.0 }
    }

    #[test]
    fn the_table_has_each_partition_of_each_turn() {
        let turns = vec![turn(20_000.0, &[1_000.0, 5_000.0]), turn(10_000.0, &[3_000.0, 4_000.0])];
        let figures = Figures { router: turns.clone(), floor: turns, takeovers: None };
        let table = figures.table().render();
        assert!(table.contains("10,000 / 15,000 / 20,000"), "{table}");
        assert!(table.contains("5,000 / 7,500 / 10,000"), "{table}");
        assert!(table.contains("1,000 / 3,500 / 5,000"), "{table}");
        assert!(table.contains("3.00 / 3.00 / 3.00"), "{table}");
    }
}
