//! The apply step against a naive model of the rules, with random takeovers, crashes and batches.

use std::collections::HashMap;

use meridian_core::seams::RecordKey;
use meridian_core::vocabulary::EventKind;
use proptest::prelude::*;

use super::*;

/// What is to be compared of a decision.
type Told = Option<(Prev, Position, EventKind)>;

/// The rules as delivery.md words them, with no window but the log itself.
fn naive(log: &[Incoming]) -> Vec<Told> {
    let mut heads = HashMap::new();
    let mut last_kept = at(-1);
    let mut told = Vec::new();
    for (n, incoming) in log.iter().enumerate() {
        let same = |before: &&Incoming| {
            let name = |r: &Record| (r.key.clone(), r.scope.clone(), r.id.clone());
            let names = (before.record.as_ref().map(name), incoming.record.as_ref().map(name));
            names.0 == names.1 && incoming.time_ms - before.time_ms <= RULES.ms
        };
        let first = n.saturating_sub(RULES.records as usize);
        let Some(record) = incoming.record.as_ref() else {
            told.push(None);
            continue;
        };
        let reached = |before: &Incoming| match (&before.mark, &incoming.mark) {
            (Some(before), Some(mark)) => before.of == mark.of && before.at >= mark.at,
            _ => false,
        };
        if log[first..n].iter().any(|before| same(&before)) || log[..n].iter().any(reached) {
            told.push(None);
            continue;
        }
        let here = at(incoming.offset.0 as i64);
        let prev = heads.insert(record.key.clone(), here).map_or(Prev::None, Prev::At);
        let kind = Body::decode(&record.body).map_or(EventKind::Unreadable, |body| body.kind);
        told.push(Some((prev, std::mem::replace(&mut last_kept, here), kind)));
    }
    told
}

/// What befalls a region's router.
#[derive(Debug, Clone, Copy)]
enum Step {
    Apply(usize),
    /// Stores so many of the applied records.
    Store(usize),
    /// The router dies, or another takes over: what is not stored is applied again.
    TakeOver,
}

/// A region: a state, and what its history would hold.
struct Region {
    state: State,
    /// How many records are stored.
    stored: usize,
    applied: usize,
    rows: Vec<WindowRow>,
    told: Vec<Option<Told>>,
}

impl Region {
    fn new(records: usize) -> Self {
        let (rows, told) = (Vec::new(), vec![None; records]);
        Self { state: fresh(), stored: 0, applied: 0, rows, told }
    }

    /// Heads, as far as they are stored.
    fn head(&self, log: &[Incoming], key: &ChannelKey) -> Prev {
        let stored = log[..self.stored].iter().zip(&self.told).rev();
        let mut kept = stored.filter(|(_, told)| matches!(told, Some(Some(_))));
        let head = kept.find(|(incoming, _)| incoming.channel() == Some(key));
        head.map_or(Prev::None, |(incoming, _)| Prev::At(at(incoming.offset.0 as i64)))
    }

    /// What the batches up to here raised.
    fn marks(&self, log: &[Incoming]) -> SourceMarks {
        let mut marks = SourceMarks::default();
        let stored = log[..self.stored].iter().filter_map(|incoming| incoming.mark.as_ref());
        stored.for_each(|mark| _ = marks.pass(mark));
        SourceMarks::restore(marks.take_raised())
    }

    fn settled(&self, log: &[Incoming]) -> Position {
        self.stored.checked_sub(1).map_or(at(-1), |n| at(log[n].offset.0 as i64))
    }

    fn take(&mut self, log: &[Incoming], step: Step) {
        match step {
            Step::Apply(records) => self.apply(log, records),
            Step::Store(records) => {
                let stored = (self.stored + records).min(self.applied);
                self.rows.extend(log[self.stored..stored].iter().map(Incoming::row));
                self.stored = stored;
            }
            Step::TakeOver => self.take_over(log),
        }
    }

    fn apply(&mut self, log: &[Incoming], records: usize) {
        let batch = &log[self.applied..(self.applied + records).min(log.len())];
        for key in self.state.missing_heads(batch, self.settled(log)) {
            let head = self.head(log, &key);
            self.state.learn(key, head).unwrap();
        }
        for incoming in batch {
            let told = match self.state.step(incoming) {
                Decision::Kept(a) => Some((a.event.prev, a.last_kept_before, a.event.body.kind)),
                _ => None,
            };
            let before = self.told[self.applied].replace(told);
            assert!(before.is_none_or(|before| before == told), "applied again, decided otherwise");
            self.applied += 1;
        }
    }

    fn take_over(&mut self, log: &[Incoming]) {
        let newest = self.rows.len().saturating_sub(RULES.records as usize);
        let kept = log[..self.stored].iter().zip(&self.told);
        let last_kept = kept.rev().find(|(_, told)| matches!(told, Some(Some(_))));
        self.state = State::new(Start {
            position: self.settled(log),
            last_kept: last_kept.map_or(at(-1), |(r, _)| at(r.offset.0 as i64)),
            window: Window::restore(RULES, &self.rows[newest..]),
            marks: self.marks(log),
            ..fresh().0
        });
        self.applied = self.stored;
    }

    fn finish(mut self, log: &[Incoming]) -> Vec<Told> {
        self.apply(log, log.len());
        self.told.into_iter().map(Option::unwrap).collect()
    }
}

fn written() -> impl Strategy<Value = Written> {
    let content = prop_oneof![
        8 => Just(Content::Plain),
        1 => Just(Content::NewerBody),
        1 => Just(Content::DamagedBody),
        1 => Just(Content::NoEnvelope),
    ];
    let after_ms = prop_oneof![Just(0), 0..12_u64, Just(20_u64), Just(21_u64)];
    let hole = prop_oneof![9 => Just(0), 1 => 1..5_u64];
    let mark = proptest::option::weighted(0.4, (0..2_u8, 1..3_u8, 0..6_u8));
    (0..4_u8, 0..4_u8, after_ms, hole, content, mark).prop_map(
        |(channel, id, after_ms, hole, content, mark)| Written {
            channel,
            id,
            after_ms,
            hole,
            content,
            mark,
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..6_usize).prop_map(Step::Apply),
        3 => (1..9_usize).prop_map(Step::Store),
        1 => Just(Step::TakeOver),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn every_region_and_every_router_decides_alike(
        records in proptest::collection::vec(written(), 0..80), here in steps(), there in steps(),
    ) {
        let log = log_of(&records);
        let model = naive(&log);
        for steps in [here, there] {
            let mut region = Region::new(log.len());
            for step in steps {
                region.take(&log, step);
            }
            prop_assert_eq!(&region.finish(&log), &model);
        }
    }

    #[test]
    fn the_key_is_the_tuple(a in written(), b in written()) {
        let keys: Vec<RecordKey> = log_of(&[a.clone(), b.clone()]).iter().map(|r| r.key).collect();
        if a.content != Content::NoEnvelope && b.content != Content::NoEnvelope {
            let name = |w: &Written| (w.channel, w.mark, w.mark.is_none().then_some(w.id));
            prop_assert_eq!(keys[0] == keys[1], name(&a) == name(&b));
        }
    }
}
