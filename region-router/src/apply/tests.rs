//! The apply step against its rules, one by one.

mod model;

use bytes::Bytes;
use meridian_core::seams::LogRecord;
use meridian_core::vocabulary::{
    Channel, EventId, EventKind, LogName, Offset, Partition, Scope, SourceMark, SourceName,
    SourcePartition, SourcePlace, Tenant,
};

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
        marks: SourceMarks::default(),
        heads: Heads::new(2),
        feeds: Feeds::default(),
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
    /// Source partition, generation and offset, of a bridge.
    mark: Option<(u8, u8, u8)>,
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
        Self { channel, id, after_ms: 0, hole: 0, content: Content::Plain, mark: None }
    }

    fn of_bridge(channel: u8, mark: (u8, u8, u8)) -> Self {
        Self { mark: Some(mark), ..Self::plain(channel, 0) }
    }

    fn stored(&self) -> Bytes {
        let body = match self.content {
            Content::NewerBody => Bytes::from_static(b"\x02from tomorrow"),
            Content::DamagedBody => Bytes::from_static(b"\x01\xff"),
            Content::NoEnvelope => return Bytes::from_static(b"?"),
            Content::Plain => Body { data: Bytes::from(vec![self.id]), ..Body::default() }.encode(),
        };
        let key = channel(self.channel);
        let (scope, id) = match self.mark {
            None => (
                Scope::of_token("meridian", "ann"),
                EventId::parse(&format!("id{}", self.id)).unwrap(),
            ),
            Some(mark) => (source_mark(mark).scope(), source_mark(mark).id()),
        };
        Record { key, scope, id, epoch: Epoch(1), body }.encode()
    }
}

fn source_mark((partition, generation, offset): (u8, u8, u8)) -> SourceMark {
    let source = SourceName::parse("orders").unwrap();
    let (generation, offset) = (generation.into(), offset.into());
    SourceMark {
        of: SourcePartition { source, partition: partition.into() },
        at: SourcePlace { generation, offset, index: 0 },
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
        let mut filling = Filling::new(stream(), RULES, SourceMarks::default());
        let log = log_of(written);
        let full = log.iter().position(|r| filling.take(r).unwrap() == Fills::Full);
        assert_eq!(full, Some(filled));
        let Filled { rows, window, .. } = filling.finish();
        assert_eq!((rows.len(), window.len()), (filled, filled));
    }
}

/// [A bridge that was down for longer than W and D begins at its last commit.]
#[test]
fn a_bridges_repeat_is_dropped_at_any_age() {
    let plain = |id| Written { after_ms: 21, ..Written::plain(2, id) };
    let written = [
        Written::of_bridge(1, (0, 1, 7)),
        plain(1),
        plain(2),
        plain(3),
        plain(4),
        plain(5),
        Written::of_bridge(1, (0, 1, 7)),
        Written::of_bridge(1, (0, 1, 6)),
        Written::of_bridge(3, (0, 1, 8)),
        Written::of_bridge(1, (0, 2, 7)),
        Written::of_bridge(1, (0, 1, 9)),
    ];
    let kept: Vec<bool> = run(&mut fresh(), &log_of(&written))
        .iter()
        .map(|decision| matches!(decision, Decision::Kept(_)))
        .collect();
    assert_eq!(kept[6..], [false, false, true, true, false]);
}

#[test]
fn records_that_only_fill_the_window_raise_marks() {
    let mut filling = Filling::new(stream(), RULES, SourceMarks::default());
    for incoming in log_of(&[Written::of_bridge(1, (0, 1, 7)), Written::of_bridge(1, (0, 1, 8))]) {
        filling.take(&incoming).unwrap();
    }
    let mut marks = filling.finish().marks;
    assert!(marks.pass(&source_mark((0, 1, 8))));
    assert_eq!(marks.take_raised().len(), 1);
}
