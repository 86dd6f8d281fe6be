//! The apply step against its rules, and against a naive model of them.

use std::collections::HashMap;

use bytes::Bytes;
use meridian_core::seams::{LogRecord, RecordKey};
use meridian_core::vocabulary::{
    Channel, EventId, EventKind, LogName, Offset, Partition, Scope, Tenant,
};
use proptest::prelude::*;

use super::*;

const RULES: WindowRules = WindowRules { records: 4, ms: 20 };

fn stream() -> Stream {
    Stream { log: LogName::parse("global").unwrap(), epoch: Epoch(1), partition: Partition(0) }
}

fn channel(n: u8) -> ChannelKey {
    ChannelKey {
        tenant: Tenant::parse("demo").unwrap(),
        channel: Channel::parse(&format!("n:{n}")).unwrap(),
    }
}

fn at(offset: i64) -> Position {
    Position { epoch: Epoch(1), passed: offset }
}

fn fresh() -> State {
    State::new(Start {
        stream: stream(),
        position: at(-1),
        last_kept: at(-1),
        window: Window::new(RULES),
        heads: Heads::new(2),
    })
}

/// What a test writes into a log.
#[derive(Debug, Clone)]
struct Written {
    channel: u8,
    id: u8,
    after_ms: u64,
    hole: u64,
    content: Content,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Content {
    Plain,
    NewerBody,
    DamagedBody,
    NoEnvelope,
}

impl Written {
    fn plain(channel: u8, id: u8) -> Self {
        Self { channel, id, after_ms: 0, hole: 0, content: Content::Plain }
    }

    fn stored(&self) -> Bytes {
        let body = match self.content {
            Content::NewerBody => Bytes::from_static(b"\x02from tomorrow"),
            Content::DamagedBody => Bytes::from_static(b"\x01\xff"),
            Content::NoEnvelope => return Bytes::from_static(b"?"),
            Content::Plain => Body { data: Bytes::from(vec![self.id]), ..Body::default() }.encode(),
        };
        let (key, scope) = (channel(self.channel), Scope::of_token("meridian", "ann"));
        let id = EventId::parse(&format!("id{}", self.id)).unwrap();
        Record { key, scope, id, epoch: Epoch(1), body }.encode()
    }
}

fn log_of(written: &[Written]) -> Vec<Incoming> {
    let (mut offset, mut time_ms) = (0, 1_000);
    let mut log = Vec::new();
    for record in written {
        offset += record.hole;
        time_ms += record.after_ms;
        let stored = record.stored();
        log.push(Incoming::decode(LogRecord { offset: Offset(offset), time_ms, stored }));
        offset += 1;
    }
    log
}

/// Learns every missing head as `none` and steps.
fn run(state: &mut State, log: &[Incoming]) -> Vec<Decision> {
    for key in state.missing_heads(log, at(-1)) {
        state.learn(key, Prev::None).unwrap();
    }
    log.iter().map(|incoming| state.step(incoming)).collect()
}

fn kept(decision: &Decision) -> &Applied {
    match decision {
        Decision::Kept(applied) => applied,
        other => panic!("not kept: {other:?}"),
    }
}

#[test]
fn each_event_names_its_channels_and_its_partitions_last_one() {
    let log = log_of(&[Written::plain(1, 1), Written::plain(2, 2), Written::plain(1, 3)]);
    let decisions = run(&mut fresh(), &log);
    let chain: Vec<_> =
        decisions.iter().map(kept).map(|a| (a.event.prev, a.last_kept_before)).collect();
    let expected = [(Prev::None, at(-1)), (Prev::None, at(0)), (Prev::At(at(0)), at(1))];
    assert_eq!(chain, expected);
}

#[test]
fn a_repeat_is_dropped_and_breaks_no_chain() {
    let log = log_of(&[Written::plain(1, 1), Written::plain(1, 1), Written::plain(1, 2)]);
    let decisions = run(&mut fresh(), &log);
    assert!(matches!(decisions[1], Decision::Duplicate));
    let last = kept(&decisions[2]);
    assert_eq!((last.event.prev, last.last_kept_before), (Prev::At(at(0)), at(0)));
}

#[test]
fn the_edges_of_w_and_d_are_exact() {
    let between = |n: u8| (0..n).map(|id| Written::plain(2, 10 + id));
    for (records, kept) in [(3, false), (4, true)] {
        let mut written = vec![Written::plain(1, 1)];
        written.extend(between(records));
        written.push(Written::plain(1, 1));
        let last = run(&mut fresh(), &log_of(&written)).pop().unwrap();
        assert_eq!(matches!(last, Decision::Kept(_)), kept, "{records} records between");
    }
    for (after_ms, kept) in [(20, false), (21, true)] {
        let written = [Written::plain(1, 1), Written { after_ms, ..Written::plain(1, 1) }];
        let last = run(&mut fresh(), &log_of(&written)).pop().unwrap();
        assert_eq!(matches!(last, Decision::Kept(_)), kept, "{after_ms} ms later");
    }
}

#[test]
fn holes_in_the_offsets_do_not_count_in_w() {
    let written = [Written::plain(1, 1), Written { hole: 1000, ..Written::plain(1, 1) }];
    assert!(matches!(run(&mut fresh(), &log_of(&written))[1], Decision::Duplicate));
}

#[test]
fn a_body_that_cannot_be_read_keeps_its_place() {
    for content in [Content::NewerBody, Content::DamagedBody] {
        let written = [
            Written::plain(1, 1),
            Written { content, ..Written::plain(1, 2) },
            Written::plain(1, 3),
        ];
        let decisions = run(&mut fresh(), &log_of(&written));
        let unreadable = &kept(&decisions[1]).event;
        assert_eq!(
            (unreadable.body.kind, unreadable.prev),
            (EventKind::Unreadable, Prev::At(at(0)))
        );
        assert_eq!(kept(&decisions[2]).event.prev, Prev::At(at(1)));
    }
}

#[test]
fn a_record_without_an_envelope_belongs_to_no_channel_and_stops_nothing() {
    let broken = Written { content: Content::NoEnvelope, ..Written::plain(1, 1) };
    let written = [Written::plain(1, 1), broken.clone(), broken, Written::plain(1, 2)];
    let mut state = fresh();
    let decisions = run(&mut state, &log_of(&written));
    assert!(matches!(decisions[1], Decision::NoEnvelope));
    assert!(matches!(decisions[2], Decision::NoEnvelope));
    assert_eq!(kept(&decisions[3]).event.prev, Prev::At(at(0)));
    assert_eq!(kept(&decisions[3]).last_kept_before, at(0));
    assert_eq!(state.window().len(), 4);
}

#[test]
fn another_epochs_stamp_halts_and_changes_nothing() {
    let log = log_of(&[Written::plain(1, 1)]);
    let mut foreign = log[0].clone();
    foreign.record.as_mut().unwrap().epoch = Epoch(2);
    let mut state = fresh();
    let Decision::Foreign(found) = state.step(&foreign) else { panic!("followed") };
    assert_eq!(found, ForeignEpoch { at: at(0), stamped: Epoch(2) });
    assert_eq!((state.position(), state.window().len()), (at(-1), 0));
}

#[test]
fn a_head_that_no_store_tells_is_unknown_once() {
    let log = log_of(&[Written::plain(1, 1), Written::plain(1, 2)]);
    let mut state = fresh();
    state.missing_heads(&log, at(-1));
    assert_eq!(kept(&state.step(&log[0])).event.prev, Prev::Unknown);
    assert_eq!(kept(&state.step(&log[1])).event.prev, Prev::At(at(0)));
}

/// [A zombie asks a history that its successor has gone on in: the head that it gets would become the
/// `prev` of an older event.]
#[test]
fn a_head_from_the_future_stops_a_zombie() {
    let mut state = fresh();
    assert_eq!(state.learn(channel(1), Prev::At(at(0))), Err(Overtaken));
}

#[test]
fn a_truncated_log_fills_the_window_first() {
    let plain = |after_ms, id| Written { after_ms, ..Written::plain(1, id) };
    let by_count: Vec<_> = (0..6).map(|id| plain(0, id)).collect();
    let by_time = [plain(0, 1), plain(20, 2), plain(1, 3)];
    for (written, filled) in [(&by_count[..], 4), (&by_time[..], 2)] {
        let mut filling = Filling::new(stream(), RULES);
        let log = log_of(written);
        let full = log.iter().position(|r| filling.take(r).unwrap() == Fills::Full);
        assert_eq!(full, Some(filled));
        let (rows, window) = filling.finish();
        assert_eq!((rows.len(), window.len()), (filled, filled));
    }
}

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
        if log[first..n].iter().any(|before| same(&before)) {
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
    (0..4_u8, 0..4_u8, after_ms, hole, content).prop_map(
        |(channel, id, after_ms, hole, content)| Written { channel, id, after_ms, hole, content },
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
            prop_assert_eq!(keys[0] == keys[1], (a.channel, a.id) == (b.channel, b.id));
        }
    }
}
