//! Tokens, dials, drain, heartbeat, ends.

use std::time::Duration;

use meridian_core::protocol::{Code, Command, Message, ModePush, ReplyError};

use super::harness::{HEARTBEAT, Harness, WEBSOCKET, config};
use crate::connection::{Config, Input, State};
use crate::error::Lost;
use crate::transport::{Choice, Transport};

#[test]
fn a_lost_connection_is_opened_again_after_a_growing_delay() {
    let mut harness = Harness::new(config());
    let mut delays = Vec::new();
    for _ in 0..8 {
        assert_eq!(harness.dials.len(), 1);
        harness.dials.clear();
        harness.handle(Input::DialFailed(Lost::TimedOut));
        let State::Waiting { delay, .. } = harness.state else { panic!("it waits") };
        delays.push(delay);
        harness.pass(delay);
    }
    assert!(delays[0] <= Duration::from_millis(250) && delays[7] >= Duration::from_secs(10));
    assert!(delays[7] <= Duration::from_secs(20));
}

#[test]
fn what_worked_is_tried_alone() {
    let mut harness = Harness::new(config());
    assert_eq!(harness.dials, [Choice::Auto]);
    harness.connect();
    harness.handle(Input::Lost(Lost::TimedOut));
    harness.pass(Duration::from_secs(1));
    assert_eq!(harness.dials, [Choice::Only(Transport::WebSocket)]);
    harness.dials.clear();
    harness.handle(Input::DialFailed(Lost::TimedOut));
    harness.pass(Duration::from_secs(1));
    assert_eq!(harness.dials, [Choice::Auto], "and forgotten once it fails");
}

#[test]
fn drain_moves_to_a_new_connection_while_the_old_one_serves() {
    let mut harness = Harness::online();
    let mut subscribing = harness.subscribed("a:b", 5);
    harness.message(Message::Drain { after_ms: 2300, deadline_ms: 20_000 });
    harness.pass(Duration::from_millis(2299));
    assert!(harness.dials.is_empty());
    harness.pass(Duration::from_millis(1));
    assert_eq!(harness.dials.len(), 1);
    harness.events("a:b", &[(6, 5)]);
    harness.connect();
    assert_eq!(harness.answer_subscribe("a:b", 6).as_deref(), Some("1.global.1.3.6"));
    harness.events("a:b", &[(7, 6)]);
    assert_eq!(subscribing.offsets(), [6, 7]);
}

#[test]
fn modes_are_told_and_a_new_session_that_is_told_none_ends_them() {
    let mut harness = Harness::online();
    assert_eq!(harness.modes, None);
    let namespaces = [("board".to_owned(), "read-only".to_owned())].into();
    let modes = ModePush { mode: "normal".into(), namespaces, after_ms: 10 };
    harness.message(Message::Mode(modes.clone()));
    assert_eq!(harness.modes, Some(modes));
    harness.reconnect();
    assert_eq!(harness.modes, None);
}

#[test]
fn a_node_that_goes_before_the_new_one_answers_changes_nothing() {
    let mut harness = Harness::online();
    harness.message(Message::Drain { after_ms: 0, deadline_ms: 10 });
    harness.pass(Duration::ZERO);
    harness.handle(Input::Lost(Lost::Closed { number: 4050, reason: "draining".into() }));
    harness.connect();
}

#[test]
fn a_failed_move_is_tried_again() {
    let mut harness = Harness::online();
    harness.message(Message::Drain { after_ms: 0, deadline_ms: 60_000 });
    harness.pass(Duration::ZERO);
    harness.dials.clear();
    harness.handle(Input::DialFailed(Lost::TimedOut));
    assert!(matches!(harness.state, State::Connected(_)));
    harness.pass(Duration::from_secs(1));
    harness.connect();
}

/// A client whose node drains, and whose new connection has been asked.
fn greeting() -> (Harness, super::harness::Subscribing, Option<u64>) {
    let mut harness = Harness::online();
    let subscribing = harness.subscribed("a:b", 5);
    harness.message(Message::Drain { after_ms: 0, deadline_ms: 60_000 });
    harness.pass(Duration::ZERO);
    harness.dials.clear();
    harness.handle(Input::Dialed(WEBSOCKET));
    let id = harness.only_sent().id;
    (harness, subscribing, id)
}

#[test]
fn a_new_connection_that_is_refused_costs_the_old_one_nothing() {
    let (mut harness, mut subscribing, id) = greeting();
    harness.error(id, ReplyError::of(Code::TooManySessions));
    assert_eq!((harness.dismissed, harness.hangups, harness.switches), (1, 0, 1));
    assert!(matches!(harness.state, State::Connected(_)));
    harness.events("a:b", &[(6, 5)]);
    assert_eq!(subscribing.offsets(), [6]);
    harness.pass(Duration::from_secs(1));
    harness.connect();
    assert_eq!(harness.switches, 2);
}

#[test]
fn a_new_connection_that_says_nothing_costs_the_old_one_nothing() {
    for loses in [true, false] {
        let (mut harness, mut subscribing, _) = greeting();
        if loses {
            harness.handle(Input::GreetingLost(Lost::TimedOut));
        } else {
            harness.pass(Duration::from_secs(10));
        }
        assert!(matches!(harness.state, State::Connected(_)));
        harness.events("a:b", &[(6, 5)]);
        assert_eq!(subscribing.offsets(), [6]);
    }
}

#[test]
fn the_old_connection_serves_until_the_new_one_is_there() {
    let (mut harness, mut subscribing, _) = greeting();
    let mut published = harness.publish("p");
    let (_, first) = harness.sent_publish();
    harness.events("a:b", &[(6, 5)]);
    harness.handle(Input::Greeted(harness.welcome()));
    let mut sent = std::mem::take(&mut harness.sent);
    let again = sent.pop().map(|frame| frame.command);
    assert_eq!(again, Some(Command::Publish(first)), "it was not answered");
    harness.sent = sent;
    assert_eq!(harness.answer_subscribe("a:b", 6).as_deref(), Some("1.global.1.3.6"));
    assert_eq!(subscribing.offsets(), [6]);
    assert!(published.try_recv().is_err(), "not yet");
}

/// A named subscriber's old session is told to stop as soon as the new one is there.
#[test]
fn an_old_connection_that_ends_meanwhile_ends_nothing() {
    for number in [4046, 4050, 1006] {
        let (mut harness, _subscribing, _) = greeting();
        harness.handle(Input::Lost(Lost::Closed { number, reason: String::new() }));
        assert!(!harness.machine.is_ended(), "{number}");
        harness.handle(Input::Greeted(harness.welcome()));
        assert!(matches!(harness.state, State::Connected(_)), "{number}");
        assert_eq!(harness.answer_subscribe("a:b", 5).as_deref(), Some("1.global.1.3.5"));
    }
}

#[test]
fn heartbeats_are_answered_and_silence_is_asked_about() {
    let mut harness = Harness::online();
    harness.message(Message::Ping);
    assert_eq!(harness.only_sent().command, Command::Pong);
    harness.pass(HEARTBEAT);
    let ping = harness.only_sent();
    assert_eq!(ping.command, Command::Ping, "so that the server hears this side");
    harness.message(Message::Pong { id: ping.id });
    harness.pass(HEARTBEAT * 2);
    assert_eq!(harness.hangups, 1, "nothing came, not even the answer");
    assert!(!matches!(harness.state, State::Connected(_)));
}

#[test]
fn an_unanswered_connect_is_given_up() {
    let mut harness = Harness::new(config());
    harness.handle(Input::Dialed(WEBSOCKET));
    harness.pass(Duration::from_secs(10));
    assert_eq!(harness.dismissed, 1);
    assert!(matches!(harness.state, State::Waiting { .. } | State::Connecting));
}

#[test]
fn codes_that_say_stop_end_the_client() {
    for (number, ends) in [(4046, true), (4012, true), (4045, false), (4050, false), (1006, false)]
    {
        let mut harness = Harness::online();
        let mut subscribing = harness.subscribed("a:b", 5);
        harness.handle(Input::Lost(Lost::Closed { number, reason: String::new() }));
        assert_eq!(harness.machine.is_ended(), ends, "{number}");
        assert_eq!(subscribing.reader.take().is_ok(), ends, "{number}");
    }
}

#[test]
fn a_refused_token_is_the_end_without_a_source_and_a_question_with_one() {
    let refuse = |harness: &mut Harness| {
        harness.handle(Input::Dialed(WEBSOCKET));
        let id = harness.only_sent().id;
        harness.error(id, ReplyError::of(Code::Unauthenticated));
    };
    let mut harness = Harness::new(config());
    refuse(&mut harness);
    assert!(matches!(&harness.state, State::Closed(Some(Lost::Refused(_)))));

    let mut harness = Harness::new(Config { has_token_source: true, ..config() });
    for _ in 0..2 {
        refuse(&mut harness);
        harness.pass(Duration::from_secs(1));
        assert_eq!(std::mem::take(&mut harness.fetches), 1);
        harness.handle(Input::Token(Ok("another".to_owned())));
    }
    refuse(&mut harness);
    assert!(matches!(&harness.state, State::Closed(Some(Lost::Refused(_)))));
}

#[test]
fn a_token_is_fetched_before_the_first_dial_and_renewed_before_it_expires() {
    let mut harness = Harness::new(Config { token: None, has_token_source: true, ..config() });
    assert_eq!((harness.fetches, harness.dials.len()), (1, 0));
    harness.handle(Input::Token(Ok("first".to_owned())));
    harness.connect();
    harness.message(Message::Refreshed { id: None, expires_in_ms: Some(10_000) });
    harness.pass(Duration::from_secs(9));
    assert_eq!(harness.fetches, 2);
    harness.handle(Input::Token(Ok("second".to_owned())));
    assert_eq!(harness.only_sent().command, Command::Refresh { token: "second".to_owned() });
}

#[test]
fn a_busy_node_is_given_the_time_it_asks_for() {
    let mut harness = Harness::new(config());
    harness.handle(Input::Dialed(WEBSOCKET));
    let id = harness.only_sent().id;
    harness.error(id, ReplyError::of(Code::TooManySessions).retry_after(7000));
    assert!(
        matches!(harness.state, State::Waiting { delay, .. } if delay >= Duration::from_secs(7))
    );
}

#[test]
fn connect_tells_the_operators_why_it_comes_again_and_over_what() {
    let fallback = |harness: &Harness| harness.connect.fallback.as_ref().map(|f| f.reason.clone());
    let mut harness = Harness::online();
    assert_eq!(
        (harness.connect.reconnect.as_deref(), fallback(&harness).as_deref()),
        (None, Some("timeout"))
    );
    harness.handle(Input::Lost(Lost::Closed { number: 1006, reason: String::new() }));
    harness.pass(Duration::from_secs(1));
    harness.connect();
    assert_eq!(harness.connect.reconnect.as_deref(), Some("network"));
    harness.message(Message::Drain { after_ms: 0, deadline_ms: 10 });
    harness.pass(Duration::ZERO);
    harness.connect();
    assert_eq!(harness.connect.reconnect.as_deref(), Some("drain"));
}
