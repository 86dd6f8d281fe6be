//! How fast each partition got to its end, out of samples of where the stores stand. Pure.

use serde::Serialize;

/// One partition's or one store's way: when it last stood at nothing, when it was first seen at the end.
#[derive(Debug, Clone, Copy, Default)]
struct Way {
    begun_ns: Option<u64>,
    ended_ns: Option<u64>,
}

/// What the samples said so far.
#[derive(Debug)]
pub(super) struct Progress {
    ends: Vec<u64>,
    applied: Vec<Way>,
    stored: Vec<Way>,
}

/// Events a second.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Paces {
    /// All partitions, until the last event was in Redis.
    pub(super) applied_per_s: f64,
    /// The same until it was in Postgres too.
    pub(super) stored_per_s: f64,
    /// Each partition by itself, until its last event was in Redis.
    pub(super) partitions_per_s: Vec<f64>,
}

impl Way {
    fn saw(&mut self, now_ns: u64, count: u64, end: u64) {
        if count == 0 {
            self.begun_ns = Some(now_ns);
        }
        if count >= end && self.ended_ns.is_none() {
            self.ended_ns = Some(now_ns);
        }
    }
}

impl Progress {
    /// Of partitions with so many records each.
    pub(super) fn new(ends: Vec<u64>) -> Self {
        let ways = vec![Way::default(); ends.len()];
        Self { ends, applied: ways.clone(), stored: ways }
    }

    /// Takes a sample of what is in Redis.
    pub(super) fn applied(&mut self, now_ns: u64, counts: &[u64]) {
        for ((way, count), end) in self.applied.iter_mut().zip(counts).zip(&self.ends) {
            way.saw(now_ns, *count, *end);
        }
    }

    /// Takes a sample of what is in Postgres.
    pub(super) fn stored(&mut self, now_ns: u64, counts: &[u64]) {
        for ((way, count), end) in self.stored.iter_mut().zip(counts).zip(&self.ends) {
            way.saw(now_ns, *count, *end);
        }
    }

    pub(super) fn all_applied(&self) -> bool {
        self.applied.iter().all(|way| way.ended_ns.is_some())
    }

    pub(super) fn all_stored(&self) -> bool {
        self.stored.iter().all(|way| way.ended_ns.is_some())
    }

    /// Once all is stored; `None` before, and where no sample saw the beginning.
    pub(super) fn paces(&self) -> Option<Paces> {
        let total: u64 = self.ends.iter().sum();
        let begun = self.busy(&self.applied).map(|(way, _)| way.begun_ns).min()??;
        let last = |ways| self.busy(ways).map(|(way, _)| way.ended_ns).max()?;
        let all_ended = self.all_applied() && self.all_stored();
        let (applied, stored) = (last(&self.applied)?, last(&self.stored)?);
        let each = |(way, end): (&Way, u64)| Some(pace(end, way.begun_ns?, way.ended_ns?));
        let partitions: Option<Vec<f64>> = self.busy(&self.applied).map(each).collect();
        all_ended.then_some(Paces {
            applied_per_s: pace(total, begun, applied),
            stored_per_s: pace(total, begun, stored),
            partitions_per_s: partitions?,
        })
    }

    /// Those that have records.
    fn busy<'a>(&'a self, ways: &'a [Way]) -> impl Iterator<Item = (&'a Way, u64)> {
        ways.iter().zip(self.ends.iter().copied()).filter(|(_, end)| *end > 0)
    }
}

fn pace(events: u64, begun_ns: u64, ended_ns: u64) -> f64 {
    events as f64 * 1e9 / ended_ns.saturating_sub(begun_ns).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn paces_count_from_the_last_sample_at_nothing_to_the_first_at_the_end() {
        let mut progress = Progress::new(vec![100, 300, 0]);
        progress.applied(0, &[0, 0, 0]);
        progress.applied(S, &[0, 0, 0]);
        progress.applied(2 * S, &[100, 0, 0]);
        progress.applied(3 * S, &[100, 200, 0]);
        progress.applied(5 * S, &[100, 300, 0]);
        assert!(progress.all_applied() && progress.paces().is_none(), "nothing is stored");
        progress.stored(4 * S, &[100, 100, 0]);
        progress.stored(9 * S, &[100, 300, 0]);
        progress.stored(11 * S, &[100, 300, 0]);
        let paces = Paces {
            applied_per_s: 100.0,
            stored_per_s: 50.0,
            partitions_per_s: vec![100.0, 100.0],
        };
        assert_eq!(progress.paces(), Some(paces));
    }

    #[test]
    fn what_had_begun_before_the_first_sample_has_no_pace() {
        let mut progress = Progress::new(vec![10]);
        progress.applied(S, &[5]);
        progress.applied(2 * S, &[10]);
        progress.stored(2 * S, &[10]);
        assert_eq!(progress.paces(), None);
    }
}
