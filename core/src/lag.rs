//! How far a region is behind its log: of each partition in records and time, and whether it is all so
//! far that the region counts as being rebuilt. Pure: looks at no store and no clock.

use std::collections::VecDeque;
use std::time::Duration;

use crate::vocabulary::Offset;

/// Ends that a partition remembers: beyond, every second one is forgotten, and new ones are noted half as
/// often.
const MAX_SEEN: usize = 256;
/// Looks in a row that must agree before a region counts as something else.
const AGREEING: u32 = 2;

/// How far a partition is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// Records of the log that are not worked off.
    pub records: u64,
    /// How long the oldest of them has been in the log, in milliseconds. `None`: nobody can tell yet.
    pub ms: Option<u64>,
}

impl Lag {
    /// Not behind at all.
    pub const NONE: Self = Self { records: 0, ms: Some(0) };
}

/// Follows one partition's lag, by what is seen of it now and then.
///
/// A record is as old as the look that first saw an end behind it. For what was there before the first
/// look, the log's time of a record tells, once it is known.
#[derive(Debug, Clone, Default)]
pub struct PartitionLag {
    /// When, and the end that was seen; both rise, and each end lies above `next`.
    seen: VecDeque<(u64, Offset)>,
    /// The least time between two of them.
    spacing_ms: u64,
    end: Offset,
    /// The first end that was seen: when records below it came was not seen.
    unseen: Option<Offset>,
    next: Offset,
    /// The log's time of a record at or before `next`.
    known_ms: Option<u64>,
}

impl PartitionLag {
    /// A look: where the log ends, and the first record that is not worked off.
    pub fn look(&mut self, now_ms: u64, end: Offset, next: Offset) -> Lag {
        self.unseen.get_or_insert(end);
        // Both are told by different parties, and each is true of some moment before now.
        self.next = self.next.max(next);
        self.end = self.end.max(end);
        while self.seen.front().is_some_and(|(_, end)| *end <= self.next) {
            self.seen.pop_front();
        }
        if self.end > self.next {
            self.note(now_ms);
        }
        self.lag(now_ms)
    }

    /// The log's time of the record at `at`, or of the first one there is behind it.
    pub fn learn(&mut self, at: Offset, time_ms: u64) {
        if at <= self.next {
            self.known_ms = self.known_ms.max(Some(time_ms));
        }
    }

    /// Between the next record and `end` there is nothing but a hole.
    pub fn skip(&mut self, end: Offset) {
        self.next = self.next.max(end);
    }

    /// The next record to be worked off.
    pub fn next(&self) -> Offset {
        self.next
    }

    fn note(&mut self, now_ms: u64) {
        match self.seen.back() {
            None => self.spacing_ms = 0,
            Some((when, end)) if self.end == *end || now_ms < when + self.spacing_ms => return,
            Some(_) => {}
        }
        self.seen.push_back((now_ms, self.end));
        if self.seen.len() > MAX_SEEN {
            let mut keep = false;
            self.seen.retain(|_| {
                keep = !keep;
                keep
            });
            let (first, last) = (self.seen[0].0, now_ms);
            self.spacing_ms = (last - first) / (MAX_SEEN / 2) as u64;
        }
    }

    fn lag(&self, now_ms: u64) -> Lag {
        let Some((since, _)) = self.seen.front() else { return Lag::NONE };
        let since = match self.unseen {
            Some(unseen) if self.next < unseen => self.known_ms,
            _ => Some(*since),
        };
        let ms = since.map(|since| now_ms.saturating_sub(since));
        Lag { records: self.end.0 - self.next.0, ms }
    }
}

/// From when on a region counts as being rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Its oldest record is older than this.
    pub after: Duration,
}

/// Whether a region is being rebuilt: so far behind that a client with a choice is better off
/// elsewhere. Leaves that state at a quarter of what it takes to enter it, so that it does not flap.
#[derive(Debug, Clone)]
pub struct Rebuilding {
    rules: Rules,
    /// `None` until enough is known to decide, which the first look may.
    state: Option<bool>,
    disagreeing: u32,
}

impl Rebuilding {
    pub fn new(rules: Rules) -> Self {
        Self { rules, state: None, disagreeing: 0 }
    }

    /// Judges by all partitions' lags as of one look.
    pub fn judge<'a>(&mut self, lags: impl IntoIterator<Item = &'a Lag>) -> bool {
        let after_ms = self.rules.after.as_millis() as u64;
        let bound_ms = if self.state == Some(true) { after_ms / 4 } else { after_ms };
        let (mut late, mut unknown) = (false, false);
        for lag in lags {
            late |= lag.ms.is_some_and(|ms| ms > bound_ms);
            unknown |= lag.ms.is_none();
        }
        let state = match self.state {
            None if unknown && !late => return false,
            None => *self.state.insert(late),
            Some(state) => state,
        };
        late |= state && unknown;
        self.disagreeing = if late == state { 0 } else { self.disagreeing + 1 };
        if self.disagreeing == AGREEING {
            self.disagreeing = 0;
            self.state = Some(late);
        }
        self.state == Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lag(records: u64, ms: u64) -> Lag {
        Lag { records, ms: Some(ms) }
    }

    #[test]
    fn a_record_is_as_old_as_the_look_that_saw_it_first() {
        let mut partition = PartitionLag::default();
        let mut look = |now, end, next| partition.look(now, Offset(end), Offset(next));
        assert_eq!(look(1_000, 10, 10), Lag::NONE);
        // An idle partition: the age of its last record does not count.
        assert_eq!(look(900_000, 10, 10), Lag::NONE);
        assert_eq!(look(901_000, 12, 10), lag(2, 0));
        assert_eq!(look(902_000, 20, 10), lag(10, 1_000));
        assert_eq!(look(903_000, 20, 11), lag(9, 2_000));
        assert_eq!(look(904_000, 20, 12), lag(8, 2_000), "the first of those seen at 902");
        assert_eq!(look(905_000, 20, 20), Lag::NONE);
        // The routers may be ahead of what is known of the end.
        assert_eq!(look(906_000, 20, 25), Lag::NONE);
        assert_eq!(look(907_000, 26, 20), lag(1, 0), "neither goes back");
    }

    #[test]
    fn what_was_there_before_the_first_look_is_as_old_as_the_log_says() {
        let mut partition = PartitionLag::default();
        let unknown = |records| Lag { records, ms: None };
        assert_eq!(partition.look(10_000, Offset(100), Offset(40)), unknown(60));
        partition.learn(Offset(40), 2_000);
        assert_eq!(partition.look(11_000, Offset(110), Offset(40)), lag(70, 9_000));
        assert_eq!(partition.look(12_000, Offset(110), Offset(60)), lag(50, 10_000));
        partition.learn(Offset(60), 7_000);
        partition.learn(Offset(99), 9_999);
        partition.learn(Offset(50), 3_000);
        assert_eq!(partition.look(13_000, Offset(110), Offset(60)), lag(50, 6_000));
        // From here on it was seen itself.
        assert_eq!(partition.look(14_000, Offset(110), Offset(100)), lag(10, 3_000));
        assert_eq!(partition.look(15_000, Offset(110), Offset(110)), Lag::NONE);
    }

    #[test]
    fn a_hole_at_the_end_is_no_lag() {
        let mut partition = PartitionLag::default();
        partition.look(1, Offset(5), Offset(3));
        partition.skip(Offset(5));
        assert_eq!(partition.look(2, Offset(5), Offset(3)), Lag::NONE);
    }

    #[test]
    fn a_long_outage_is_remembered_in_bounded_memory() {
        let mut partition = PartitionLag::default();
        partition.look(0, Offset(0), Offset(0));
        for second in 1..=100_000 {
            let now = partition.look(second * 1_000, Offset(second), Offset(0));
            assert_eq!(now, lag(second, (second - 1) * 1_000));
            assert!(partition.seen.len() <= MAX_SEEN + 1);
        }
        let half = partition.look(100_000_000, Offset(100_000), Offset(50_000)).ms.unwrap();
        assert!(half.abs_diff(50_000_000) < 1_000_000, "{half}");
        let (end, one) = (Offset(100_001), Offset(100_000));
        assert_eq!(partition.look(100_001_000, end, one), lag(1, 0), "none is left that was noted");
    }

    #[test]
    fn it_enters_late_leaves_early_and_takes_no_single_look_for_it() {
        let mut region = Rebuilding::new(Rules { after: Duration::from_secs(60) });
        let mut judge = |ms: &[u64]| {
            let lags: Vec<Lag> = ms.iter().map(|ms| lag(1, *ms)).collect();
            region.judge(&lags)
        };
        assert!(!judge(&[0, 60_000]));
        assert!(!judge(&[60_001, 0]));
        assert!(!judge(&[0, 0]), "it was over at once");
        assert!(!judge(&[60_001, 0]));
        assert!(judge(&[60_001, 0]));
        for _ in 0..3 {
            assert!(judge(&[15_001, 0]));
        }
        assert!(judge(&[15_000, 0]));
        assert!(judge(&[15_001, 0]));
        assert!(judge(&[15_000, 0]));
        assert!(!judge(&[15_000, 0]));
        assert!(!judge(&[60_000, 0]));
    }

    #[test]
    fn the_first_look_that_can_decides() {
        let (unknown, late) = (Lag { records: 3, ms: None }, lag(3, 60_001));
        let mut region = Rebuilding::new(Rules { after: Duration::from_secs(60) });
        assert!(!region.judge(&[unknown]));
        assert!(region.judge(&[unknown, late]));
        // Not over before everything is known to be.
        for _ in 0..3 {
            assert!(region.judge(&[unknown, Lag::NONE]));
        }
        assert!(region.judge(&[Lag::NONE]));
        assert!(!region.judge(&[Lag::NONE]));
        let mut region = Rebuilding::new(Rules { after: Duration::from_secs(60) });
        assert!(!region.judge(&[unknown]));
        assert!(!region.judge(&[Lag::NONE]));
        assert!(!region.judge(&[late]), "decided before");
    }
}
