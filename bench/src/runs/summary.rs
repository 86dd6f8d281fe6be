//! What several turns of one subject say together. Pure.

use anyhow::Result;
use serde::Serialize;

use super::subject::Turn;
use crate::report::{Table, count, duration_us, kib, spread};
use crate::stats::{Latencies, Percentiles, Spread};

/// The figures of one subject.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Summary {
    pub(super) shape: String,
    pub(super) subject: &'static str,
    pub(super) deliveries_per_s: f64,
    pub(super) latency: Percentiles,
    pub(super) cpu_us_per_delivery: Spread,
    pub(super) rss_bytes_per_connection: f64,
    /// CPU per delivery against the plain floor, round by round.
    pub(super) ratio: Option<Spread>,
    /// Against the floor with TLS.
    pub(super) ratio_tls: Option<Spread>,
    pub(super) missing: u64,
    pub(super) failed: u64,
}

impl Summary {
    pub(super) fn of(
        shape: &str,
        subject: &'static str,
        turns: &[Turn],
        rss_bytes_per_connection: f64,
    ) -> Self {
        let mut latencies = Latencies::new();
        turns.iter().for_each(|turn| latencies.add(&turn.latencies));
        let rates = turns.iter().map(|turn| turn.deliveries as f64 / f64::from(turn.seconds));
        Self {
            shape: shape.to_owned(),
            subject,
            deliveries_per_s: Spread::of(rates).median,
            latency: latencies.percentiles(),
            cpu_us_per_delivery: Spread::of(turns.iter().map(Turn::cpu_us_per_delivery)),
            rss_bytes_per_connection,
            ratio: None,
            ratio_tls: None,
            missing: turns.iter().map(|turn| turn.missing).sum(),
            failed: turns.iter().map(|turn| turn.failed).sum(),
        }
    }
}

/// CPU per delivery of the same rounds, one against the other.
pub(super) fn ratio(turns: &[Turn], floor: &[Turn]) -> Result<Spread> {
    let each = |turns: &[Turn]| turns.iter().map(Turn::cpu_us_per_delivery).collect::<Vec<_>>();
    Spread::of_ratios(&each(turns), &each(floor))
}

/// One row a summary.
pub(super) fn table(summaries: &[Summary]) -> Table {
    let mut table = Table::new(&[
        "shape",
        "server",
        "deliveries/s",
        "p50",
        "p99",
        "p99.9",
        "CPU µs/delivery",
        "RSS/connection",
        "× floor (min / median / max)",
        "× TLS floor",
        "missing",
    ]);
    for summary in summaries {
        table.row([
            summary.shape.clone(),
            summary.subject.to_owned(),
            count(summary.deliveries_per_s),
            duration_us(summary.latency.p50_us),
            duration_us(summary.latency.p99_us),
            duration_us(summary.latency.p999_us),
            format!("{:.2}", summary.cpu_us_per_delivery.median),
            kib(summary.rss_bytes_per_connection),
            spread(summary.ratio),
            spread(summary.ratio_tls),
            count((summary.missing + summary.failed) as f64),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(deliveries: u64, cpu_us: u64) -> Turn {
        Turn { seconds: 2, deliveries, cpu_us, ..Turn::default() }
    }

    #[test]
    fn a_summary_takes_medians_and_compares_the_same_rounds() {
        let turns = [turn(200, 1200), turn(200, 2400), turn(200, 1100)];
        let floor = [turn(200, 1000), turn(200, 2000), turn(200, 1000)];
        let mut summary = Summary::of("s", "meridian", &turns, 0.0);
        summary.ratio = Some(ratio(&turns, &floor).unwrap());
        assert_eq!(summary.deliveries_per_s, 100.0);
        assert!((summary.cpu_us_per_delivery.median - 6.0).abs() < 1e-9);
        assert!((summary.ratio.unwrap().max - 1.2).abs() < 1e-9);
        assert!(table(&[summary]).render().contains("1.10 / 1.20 / 1.20"));
    }
}
