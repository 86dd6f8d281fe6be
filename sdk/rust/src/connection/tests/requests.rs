//! Publishes and other commands over drops, refusals and time.

use std::time::Duration;

use meridian_core::protocol::{Action, Code, Command, Message, Published, ReplyError};
use tokio::sync::oneshot;

use super::harness::{Harness, config};
use crate::connection::{Ask, Input};
use crate::error::{Lost, RequestError};
use crate::publish::Publish;

type Answer = oneshot::Receiver<Result<Message, RequestError>>;

#[test]
fn a_publish_without_an_answer_is_sent_again_with_the_same_id_and_its_age() {
    let mut harness = Harness::online();
    let mut answer = harness.publish("p1");
    assert_eq!(harness.sent_publish().1.age_ms, 0);
    harness.pass(Duration::from_secs(2));
    harness.reconnect();
    let (id, item) = harness.sent_publish();
    assert_eq!(item.id.as_deref(), Some("p1"));
    assert!(item.age_ms >= 22_000, "{}", item.age_ms);
    harness.message(Message::Published { id, cursor: Some("1.global.1.3.9".to_owned()) });
    assert!(matches!(answer.try_recv(), Ok(Ok(Message::Published { .. }))));
}

#[test]
fn a_publish_made_offline_goes_out_in_order_with_age_zero() {
    let mut harness = Harness::new(config());
    let _answers = [harness.publish("p1"), harness.publish("p2")];
    harness.pass(Duration::from_secs(1));
    harness.connect();
    let sent: Vec<_> = harness
        .sent
        .iter()
        .map(|frame| match &frame.command {
            Command::Publish(item) => (item.id.as_deref().unwrap_or_default(), item.age_ms),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sent, [("p1", 0), ("p2", 0)]);
}

#[test]
fn retry_waits_as_long_as_the_server_says() {
    let mut harness = Harness::online();
    let mut answer = harness.publish("p1");
    let (id, _) = harness.sent_publish();
    harness.error(id, ReplyError::of(Code::Overloaded).retry_after(3000));
    harness.pass(Duration::from_millis(2999));
    assert!(harness.sent.is_empty() && answer.try_recv().is_err());
    harness.pass(Duration::from_millis(1));
    let (id, item) = harness.sent_publish();
    assert_eq!((item.id.as_deref(), item.age_ms), (Some("p1"), 3000));
    harness.message(Message::Published { id, cursor: None });
    assert!(answer.try_recv().is_ok());
}

#[test]
fn stop_is_final() {
    let mut harness = Harness::online();
    let mut answer = harness.publish("p1");
    let (id, _) = harness.sent_publish();
    harness.error(id, ReplyError::of(Code::Forbidden));
    match answer.try_recv() {
        Ok(Err(error)) => {
            assert_eq!((error.action(), error.code()), (Action::Stop, Some(Code::Forbidden)));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn time_runs_out_with_the_truth_about_the_outcome() {
    let mut harness = Harness::online();
    let mut sent = harness.publish("p1");
    harness.handle(Input::Lost(Lost::TimedOut));
    let mut unsent = harness.publish("p2");
    harness.dials.clear();
    harness.pass(Duration::from_secs(31));
    assert!(matches!(sent.try_recv(), Ok(Err(RequestError::OutcomeUnknown))));
    assert!(matches!(unsent.try_recv(), Ok(Err(RequestError::NotSent))));
}

#[test]
fn a_refused_retry_says_nothing_of_the_attempt_that_was_lost() {
    let refused_in_the_end = |harness: &mut Harness, id| {
        harness.error(id, ReplyError::of(Code::LogUnavailable).retry_after(60_000));
    };
    let mut harness = Harness::online();
    let mut answer = harness.publish("p1");
    harness.reconnect();
    let (id, _) = harness.sent_publish();
    refused_in_the_end(&mut harness, id);
    assert!(matches!(answer.try_recv(), Ok(Err(RequestError::OutcomeUnknown))));

    let mut harness = Harness::online();
    let mut answer = harness.publish("p1");
    let (id, _) = harness.sent_publish();
    harness.error(id, ReplyError::of(Code::OutcomeUnknown));
    harness.pass(Duration::from_secs(1));
    let (id, _) = harness.sent_publish();
    refused_in_the_end(&mut harness, id);
    assert!(matches!(answer.try_recv(), Ok(Err(RequestError::OutcomeUnknown))));
}

#[test]
fn a_batch_that_was_lost_once_knows_of_no_event_that_it_was_not_stored() {
    let batch = |harness: &mut Harness| {
        let (reply, answer) = oneshot::channel();
        let events = vec![Publish::json("a:b", "1").into(), Publish::json("a:b", "2").into()];
        let command = Command::PublishBatch { events };
        harness.handle(Input::Ask(Ask::Request { command, reply }));
        answer
    };
    let results = || {
        let refused = Published::Refused(ReplyError::of(Code::NotStored));
        vec![Published::Stored { cursor: None }, refused]
    };
    let code_of_second = |harness: &mut Harness, mut answer: Answer| {
        let id = harness.sent.pop().unwrap().id;
        harness.message(Message::PublishedBatch { id, results: results() });
        match answer.try_recv() {
            Ok(Ok(Message::PublishedBatch { results, .. })) => match &results[..] {
                [Published::Stored { .. }, Published::Refused(error)] => error.known_code(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    };
    let mut harness = Harness::online();
    let answer = batch(&mut harness);
    assert_eq!(code_of_second(&mut harness, answer), Some(Code::NotStored));
    let answer = batch(&mut harness);
    harness.sent.clear();
    harness.reconnect();
    assert_eq!(code_of_second(&mut harness, answer), Some(Code::OutcomeUnknown));
}

#[test]
fn an_answer_of_an_earlier_connection_is_nobodys() {
    let mut harness = Harness::online();
    let mut answer = harness.publish("p1");
    let (old, _) = harness.sent_publish();
    harness.reconnect();
    harness.message(Message::Published { id: old, cursor: None });
    assert!(answer.try_recv().is_err());
}

#[test]
fn an_error_that_says_reconnect_does_so_and_keeps_the_publish() {
    let mut harness = Harness::online();
    let _answer = harness.publish("p1");
    let (id, _) = harness.sent_publish();
    harness.error(id, ReplyError::of(Code::Internal));
    assert_eq!(harness.hangups, 1);
    harness.pass(Duration::from_secs(1));
    harness.connect();
    harness.pass(Duration::from_secs(1));
    assert_eq!(harness.sent_publish().1.id.as_deref(), Some("p1"));
}

#[test]
fn pings_are_for_one_connection() {
    let ping = |harness: &mut Harness| {
        let (reply, answer) = oneshot::channel();
        harness.handle(Input::Ask(Ask::Request { command: Command::Ping, reply }));
        answer
    };
    let mut harness = Harness::online();
    let mut answer = ping(&mut harness);
    harness.handle(Input::Lost(Lost::TimedOut));
    assert!(matches!(answer.try_recv(), Ok(Err(RequestError::OutcomeUnknown))));
    let mut answer = ping(&mut harness);
    assert!(matches!(answer.try_recv(), Ok(Err(RequestError::NotSent))));
}

#[test]
fn close_ends_what_waits() {
    let mut harness = Harness::online();
    let mut answer = harness.publish("p1");
    harness.handle(Input::Ask(Ask::Close));
    assert!(harness.machine.is_ended());
    assert!(matches!(answer.try_recv(), Ok(Err(RequestError::Closed))));
    let mut late = harness.publish("p2");
    assert!(matches!(late.try_recv(), Ok(Err(RequestError::Closed))));
}
