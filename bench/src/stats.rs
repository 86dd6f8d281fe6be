//! Numbers about numbers: latencies that travel between processes, spreads and ratios. Pure.

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

const MAX_NS: u64 = 120_000_000_000;
const MIN_NS: u64 = 1_000;

/// Latencies in nanoseconds, to three digits.
#[derive(Debug)]
pub(crate) struct Latencies(Histogram<u64>);

/// Latencies on their way between processes: values and how often each was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Buckets(Vec<(u64, u64)>);

/// The usual points of a distribution, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
}

/// Least, middle and greatest of several measurements.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        Self(
            Histogram::new_with_bounds(MIN_NS, MAX_NS, 3)
                .expect("invariant: the bounds are constants that the histogram takes"),
        )
    }

    /// Counts a latency; one beyond the bounds counts as the bound.
    pub(crate) fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    pub(crate) fn clear(&mut self) {
        self.0.reset();
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    pub(crate) fn buckets(&self) -> Buckets {
        let seen = self.0.iter_recorded();
        Buckets(seen.map(|v| (v.value_iterated_to(), v.count_at_value())).collect())
    }

    pub(crate) fn add(&mut self, buckets: &Buckets) {
        for (value, count) in &buckets.0 {
            self.0.saturating_record_n(*value, *count);
        }
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1000.0;
        Percentiles { p50_us: at(0.5), p99_us: at(0.99), p999_us: at(0.999) }
    }
}

impl Spread {
    /// Of at least one value; of none, all zero.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (values.first(), values.last()) else {
            return Self::default();
        };
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => (values[middle - 1] + values[middle]) / 2.0,
            _ => values[middle],
        };
        Self { min: *min, median, max: *max }
    }

    /// Of the ratios of the same rounds: what slows a whole round down cancels out.
    pub(crate) fn of_ratios(values: &[f64], floors: &[f64]) -> Result<Self> {
        ensure!(values.len() == floors.len(), "rounds of both are needed");
        ensure!(
            floors.iter().all(|floor| *floor > 0.0),
            "the floor used no CPU: rounds are too short"
        );
        Ok(Self::of(values.iter().zip(floors).map(|(value, floor)| value / floor)))
    }
}

/// What of `total` falls on each of `count`; zero of none.
pub(crate) fn per(total: f64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { total / count as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Spread { min: 1.0, median: 2.0, max: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0]).median, 2.5);
        assert_eq!(Spread::of([]), Spread::default());
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let ratios = Spread::of_ratios(&[6.0, 12.0, 5.5], &[5.0, 10.0, 5.0]).unwrap();
        assert!((ratios.median - 1.2).abs() < 1e-9 && (ratios.min - 1.1).abs() < 1e-9);
        assert!(Spread::of_ratios(&[1.0], &[]).is_err());
        assert!(Spread::of_ratios(&[1.0], &[0.0]).is_err());
    }

    #[test]
    fn latencies_survive_the_way_between_processes() {
        let mut one = Latencies::new();
        (1..=1000u64).for_each(|n| one.record(n * 10_000));
        one.record(u64::MAX);
        let text = serde_json::to_string(&one.buckets()).unwrap();
        let mut other = Latencies::new();
        other.add(&serde_json::from_str(&text).unwrap());
        assert_eq!(other.count(), 1001);
        assert_eq!(other.percentiles(), one.percentiles());
        assert!((one.percentiles().p50_us - 5010.0).abs() < 10.0);
    }

    #[test]
    fn shares_of_none_are_nothing() {
        assert_eq!(per(10.0, 4), 2.5);
        assert_eq!(per(10.0, 0), 0.0);
    }
}
