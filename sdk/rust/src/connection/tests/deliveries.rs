//! Subscriptions over drops, breaks, slow readers and refusals; and a random schedule of all of them
//! against a model of the server.

use std::time::Duration;

use meridian_core::protocol::{Code, Command, GapPush, Message, ReplyError, Subscribed};
use meridian_core::vocabulary::{Body, Epoch, Position};
use proptest::prelude::*;

use super::harness::{Harness, STREAM, Subscribing, answer};
use crate::connection::Input;
use crate::error::{Lost, SubscribeError};
use crate::update::{Start, Update};

#[test]
fn resumes_from_the_last_event_and_drops_duplicates() {
    let mut harness = Harness::online();
    let mut subscribing = harness.subscribed("a:b", 5);
    let opened = subscribing.answer.try_recv().unwrap().unwrap();
    assert_eq!(opened.cursor.as_deref(), Some("1.global.1.3.5"));
    harness.events("a:b", &[(7, 5), (9, 7)]);
    harness.reconnect();
    assert_eq!(harness.answer_subscribe("a:b", 9).as_deref(), Some("1.global.1.3.9"));
    harness.events("a:b", &[(9, 7), (12, 9)]);
    assert_eq!(subscribing.offsets(), [7, 9, 12]);
}

#[test]
fn each_start_is_asked_for_until_a_position_is_known() {
    for (start, cursor, last, acked) in [
        (Start::Now, None, None, false),
        (Start::Cursor("1.global.1.3.4".into()), Some("1.global.1.3.4"), None, false),
        (Start::Last(20), None, Some(20), false),
        (Start::Acked, None, None, true),
    ] {
        let mut harness = Harness::online();
        let _subscribing = harness.subscribe("a:b", start);
        harness.reconnect();
        let Command::Subscribe(sent) = harness.only_sent().command else { panic!("subscribe") };
        assert_eq!((sent.cursor.as_deref(), sent.last, sent.acked), (cursor, last, acked));
    }
}

#[test]
fn a_broken_chain_is_read_again_from_the_position() {
    let mut harness = Harness::online();
    let mut subscribing = harness.subscribed("a:b", 5);
    harness.events("a:b", &[(9, 7)]);
    harness.events("a:b", &[(10, 9)]);
    harness.answer_unsubscribe("a:b");
    assert_eq!(harness.answer_subscribe("a:b", 5).as_deref(), Some("1.global.1.3.5"));
    harness.events("a:b", &[(7, 5), (9, 7), (10, 9)]);
    assert_eq!(subscribing.offsets(), [7, 9, 10]);
}

#[test]
fn a_chain_that_stays_broken_is_not_asked_for_in_a_loop() {
    let mut harness = Harness::online();
    let _subscribing = harness.subscribed("a:b", 5);
    harness.events("a:b", &[(9, 7)]);
    harness.answer_unsubscribe("a:b");
    harness.answer_subscribe("a:b", 5);
    harness.events("a:b", &[(9, 7)]);
    harness.answer_unsubscribe("a:b");
    assert!(harness.sent.is_empty(), "it waits");
    harness.pass(Duration::from_secs(1));
    harness.answer_subscribe("a:b", 5);
}

#[test]
fn a_gap_moves_the_position_and_is_told() {
    let mut harness = Harness::online();
    let mut subscribing = harness.subscribed("a:b", 5);
    harness.message(Message::Gap(gap(20)));
    harness.events("a:b", &[(25, 20)]);
    let Some(Update::Gap(gap)) = subscribing.take() else { panic!("a gap") };
    assert_eq!((gap.reason.as_str(), gap.cursor.as_str()), ("retention", "1.global.1.3.20"));
    assert_eq!(subscribing.offsets(), [25]);
}

#[tokio::test]
async fn a_reader_that_stalls_is_bounded_and_loses_nothing() {
    let mut harness = Harness::online();
    let mut subscribing = harness.subscribed("a:b", 0);
    harness.events("a:b", &[(1, 0), (2, 1), (3, 2), (4, 3), (5, 4), (6, 5)]);
    harness.answer_unsubscribe("a:b");
    assert!(harness.sent.is_empty(), "it waits for the reader");
    assert_eq!(subscribing.offsets(), [1, 2, 3, 4]);
    harness.attend().await;
    assert_eq!(harness.answer_subscribe("a:b", 4).as_deref(), Some("1.global.1.3.4"));
    harness.events("a:b", &[(5, 4), (6, 5)]);
    assert_eq!(subscribing.offsets(), [5, 6]);
}

/// The reader may have caught up before the connection was lost: then nobody would call again.
#[test]
fn a_reader_that_caught_up_while_its_leave_was_under_way_goes_on_after_a_drop() {
    let mut harness = Harness::online();
    let mut subscribing = harness.subscribed("a:b", 0);
    harness.events("a:b", &[(1, 0), (2, 1), (3, 2), (4, 3), (5, 4)]);
    assert_eq!(subscribing.offsets(), [1, 2, 3, 4]);
    harness.sent.clear();
    harness.reconnect();
    assert_eq!(harness.answer_subscribe("a:b", 4).as_deref(), Some("1.global.1.3.4"));
    harness.events("a:b", &[(5, 4)]);
    assert_eq!(subscribing.offsets(), [5]);
}

#[test]
fn ephemeral_events_that_do_not_fit_are_counted() {
    let mut harness = Harness::online();
    let mut subscribing = harness.subscribe("a:b", Start::Now);
    let id = harness.only_sent().id;
    let ephemeral = Subscribed { class: "ephemeral".to_owned(), at: None, ..answer("a:b", 0) };
    harness.message(Message::Subscribed(id, ephemeral));
    let view = |_| meridian_core::protocol::EventView {
        at: None,
        time_ms: 0,
        id: None,
        body: Body::default(),
    };
    let events = (0..6).map(view).collect();
    harness.message(Message::Events { channel: "a:b".into(), stream: None, epoch: None, events });
    harness.message(Message::Skipped { channel: "a:b".into(), count: 3 });
    for _ in 0..4 {
        assert!(matches!(subscribing.take(), Some(Update::Event(_))));
    }
    assert_eq!(subscribing.take(), Some(Update::Skipped(5)));
}

#[tokio::test]
async fn dropping_the_reader_unsubscribes_and_the_channel_is_free_again() {
    let mut harness = Harness::online();
    let first = harness.subscribed("a:b", 5);
    let mut second = harness.subscribe("a:b", Start::Now);
    assert!(matches!(second.answer.try_recv(), Ok(Err(SubscribeError::AlreadySubscribed))));
    drop(first);
    let mut third = harness.subscribe("a:b", Start::Last(1));
    harness.attend().await;
    harness.events("a:b", &[(6, 5)]);
    harness.answer_unsubscribe("a:b");
    harness.answer_subscribe("a:b", 7);
    harness.events("a:b", &[(8, 7)]);
    assert_eq!(third.offsets(), [8]);
}

#[test]
fn the_servers_end_is_told_with_its_reason() {
    let mut harness = Harness::online();
    let mut subscribing = harness.subscribed("a:b", 5);
    harness.events("a:b", &[(6, 5)]);
    let (channel, code) = ("a:b".to_owned(), "forbidden".to_owned());
    harness.message(Message::Unsubscribed {
        id: None,
        channel,
        code,
        action: meridian_core::protocol::Action::Stop,
    });
    assert!(matches!(subscribing.take(), Some(Update::Event(_))));
    assert!(matches!(subscribing.take(), Some(Update::Ended(why)) if why.code == "forbidden"));
    assert_eq!(subscribing.reader.take(), Ok(None));
}

#[test]
fn a_stopped_lane_is_resumed() {
    let mut harness = Harness::online();
    let _subscribing = harness.subscribed("a:b", 5);
    let (channel, code) = ("a:b".to_owned(), "lane_stopped".to_owned());
    harness.message(Message::Unsubscribed {
        id: None,
        channel,
        code,
        action: meridian_core::protocol::Action::Resume,
    });
    harness.pass(Duration::from_secs(1));
    assert_eq!(harness.answer_subscribe("a:b", 5).as_deref(), Some("1.global.1.3.5"));
}

#[test]
fn refusals_are_final_or_for_now() {
    let mut harness = Harness::online();
    let mut subscribing = harness.subscribe("a:b", Start::Now);
    let id = harness.only_sent().id;
    harness.error(id, ReplyError::of(Code::AuthoriserUnavailable).retry_after(2000));
    harness.pass(Duration::from_millis(1999));
    assert!(harness.sent.is_empty());
    harness.pass(Duration::from_secs(1));
    let id = harness.only_sent().id;
    harness.error(id, ReplyError::of(Code::Forbidden));
    assert!(matches!(subscribing.answer.try_recv(), Ok(Err(SubscribeError::Refused(_)))));
}

#[test]
fn a_subscription_that_the_server_made_is_taken_over() {
    let mut harness = Harness::online();
    let mut subscribing = harness.subscribe("a:b", Start::Cursor("1.global.1.3.4".into()));
    harness.message(Message::Subscribed(None, answer("a:b", 9)));
    let id = harness.only_sent().id;
    harness.error(id, ReplyError::of(Code::AlreadySubscribed));
    harness.answer_unsubscribe("a:b");
    harness.answer_subscribe("a:b", 4);
    harness.events("a:b", &[(5, 4)]);
    assert_eq!(subscribing.offsets(), [5]);
}

fn gap(passed: i64) -> GapPush {
    GapPush {
        channel: "a:b".into(),
        reason: "retention".into(),
        from: "1.global.1.3.5".into(),
        stream: STREAM.into(),
        position: Position { epoch: Epoch(1), passed },
    }
}

/// One step of a schedule.
#[derive(Debug, Clone, Copy)]
enum Step {
    Publish,
    /// The server sends so many events from its position.
    Deliver(u8),
    /// The server passes over an event without a word, as a broken one would.
    Swallow,
    /// The server sends an event again.
    Repeat,
    Drop,
    Read(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Publish),
        4 => (1u8..6).prop_map(Step::Deliver),
        1 => Just(Step::Swallow),
        1 => Just(Step::Repeat),
        1 => Just(Step::Drop),
        4 => (1u8..4).prop_map(Step::Read),
    ]
}

/// A server with one channel of events at every second offset, and at most one subscription.
#[derive(Default)]
struct Model {
    log: u64,
    position: Option<usize>,
}

impl Model {
    /// Works off what the client sent.
    fn serve(&mut self, harness: &mut Harness) {
        for frame in std::mem::take(&mut harness.sent) {
            match frame.command {
                Command::Subscribe(subscribe) => {
                    let passed = subscribe
                        .cursor
                        .map_or(-1, |cursor| cursor.rsplit('.').next().unwrap().parse().unwrap());
                    self.position = Some(usize::try_from((passed + 1) / 2).unwrap());
                    harness.message(Message::Subscribed(frame.id, answer("a:b", passed)));
                }
                Command::Unsubscribe { channel } => {
                    self.position = None;
                    let code = "requested".to_owned();
                    harness.message(Message::Unsubscribed {
                        id: frame.id,
                        channel,
                        code,
                        action: meridian_core::protocol::Action::Stop,
                    });
                }
                Command::Ping => harness.message(Message::Pong { id: frame.id }),
                _ => {}
            }
        }
    }

    fn deliver(&mut self, harness: &mut Harness) {
        if let Some(position) = self.position.filter(|position| (*position as u64) < self.log) {
            let offset = position as u64 * 2 + 1;
            harness.events("a:b", &[(offset, offset as i64 - 2)]);
            self.position = Some(position + 1);
        }
        self.serve(harness);
    }
}

fn run(
    step: Step,
    model: &mut Model,
    harness: &mut Harness,
    subscribing: &mut Subscribing,
    got: &mut Vec<i64>,
) {
    match step {
        Step::Publish => model.log += 1,
        Step::Deliver(count) => (0..count).for_each(|_| model.deliver(harness)),
        Step::Swallow => model.position = model.position.map(|at| at + 1),
        Step::Repeat => {
            let back = model.position.map(|at| at.saturating_sub(2));
            let ahead = std::mem::replace(&mut model.position, back);
            model.deliver(harness);
            model.position = model.position.and(ahead.max(model.position));
        }
        Step::Drop => {
            model.position = None;
            harness.handle(Input::Lost(Lost::TimedOut));
            harness.sent.clear();
            harness.pass(Duration::from_secs(20));
            harness.connect();
        }
        Step::Read(count) => {
            for _ in 0..count {
                got.extend(subscribing.take().map(offset));
            }
            harness.handle(Input::Attention(vec![0]));
        }
    }
    model.serve(harness);
}

fn offset(update: Update) -> i64 {
    match update {
        Update::Event(event) => event.place.unwrap().position.passed,
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn any_schedule_gives_every_event_once_and_in_order(steps in proptest::collection::vec(step(), 0..80)) {
        let mut harness = Harness::online();
        let mut model = Model::default();
        let mut subscribing = harness.subscribe("a:b", Start::Now);
        model.serve(&mut harness);
        let mut got = Vec::new();
        for step in steps {
            run(step, &mut model, &mut harness, &mut subscribing, &mut got);
        }
        // One more event, so that a swallowed one is noticed; then everything is read.
        model.log += 1;
        for _ in 0..model.log + 10 {
            run(Step::Drop, &mut model, &mut harness, &mut subscribing, &mut got);
            run(Step::Deliver(4), &mut model, &mut harness, &mut subscribing, &mut got);
            run(Step::Read(8), &mut model, &mut harness, &mut subscribing, &mut got);
        }
        let all: Vec<i64> = (0..model.log as i64).map(|n| n * 2 + 1).collect();
        prop_assert_eq!(got, all);
    }
}
