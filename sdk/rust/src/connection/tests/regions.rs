//! Moves between regions: which connection serves, what is told, what is asked when.

use std::time::Duration;

use meridian_core::protocol::{Code, Message, ReplyError};

use super::harness::{Harness, STREAM, WEBSOCKET, config, policy};
use crate::connection::{Config, Health, Input, Moves, Reason, State};
use crate::error::Lost;
use crate::transport::Address;

const EU: &str = "https://eu";
const US: &str = "https://us";
const GONE: Lost = Lost::TimedOut;

impl Harness {
    fn with_regions() -> Self {
        Self::new(Config { regions: policy(&[EU, US]), ..config() })
    }

    /// Answers the probes sent: the round trip of each region that is well.
    fn answer(&mut self, well: &[(&str, u64)]) {
        for address in std::mem::take(&mut self.probes) {
            let near = well.iter().find(|(url, _)| address.base_url() == *url);
            let health = near.and_then(|(_, ms)| {
                Health::read(br#"{"state":"serving"}"#, Duration::from_millis(*ms))
            });
            self.handle(Input::Probed(address, health));
        }
    }

    /// A client in a home that was found the nearest.
    fn at_home() -> Self {
        let mut harness = Self::with_regions();
        assert!(harness.dials.is_empty(), "it probes first");
        harness.answer(&[(EU, 20), (US, 90)]);
        harness.connect();
        harness.pass(Duration::from_secs(15));
        harness
    }

    /// Home fails, and the client is elsewhere.
    fn away() -> Self {
        let mut harness = Self::at_home();
        harness.handle(Input::Lost(GONE));
        harness.pass(Duration::from_secs(1));
        harness.dials.clear();
        harness.handle(Input::DialFailed(GONE));
        harness.pass(Duration::from_secs(1));
        harness.answer(&[(US, 90)]);
        harness.connect();
        harness
    }

    /// Lets time pass until the machine dials, the server being heard and these regions being well.
    fn until_dial(&mut self, well: &[(&str, u64)]) {
        for _ in 0..1000 {
            if !self.dials.is_empty() {
                return;
            }
            self.pass(Duration::from_millis(500));
            self.message(Message::Ping);
            self.sent.clear();
            self.answer(well);
        }
        panic!("it never dials");
    }

    fn last_region(&self) -> (&str, Reason) {
        let region = self.regions.last().unwrap();
        (&region.url, region.reason)
    }
}

#[test]
fn one_region_is_never_probed() {
    let mut harness = Harness::online();
    harness.reconnect();
    harness.pass(Duration::from_secs(5));
    assert!(harness.probes.is_empty());
    assert_eq!(harness.regions.len(), 1);
}

#[test]
fn the_nearest_is_dialed_and_is_home() {
    let mut harness = Harness::with_regions();
    assert_eq!(harness.probes, policy(&[EU, US]).addresses);
    harness.answer(&[(EU, 150), (US, 90)]);
    harness.connect();
    assert_eq!(harness.last_region(), (US, Reason::Start));
    harness.pass(Duration::from_secs(15));
    assert!(harness.probes.is_empty(), "it is not away");
}

#[test]
fn silence_of_all_leads_home() {
    let mut harness = Harness::with_regions();
    harness.pass(Duration::from_millis(1499));
    assert!(harness.dials.is_empty());
    harness.pass(Duration::from_millis(1));
    harness.connect();
    assert_eq!(harness.last_region(), (EU, Reason::Start));
}

#[test]
fn a_second_failure_in_a_row_leads_elsewhere() {
    let harness = Harness::away();
    assert_eq!(harness.dialed, [EU, EU, US]);
    assert_eq!(harness.last_region(), (US, Reason::Failure));
    assert_eq!(harness.connect.reconnect.as_deref(), Some("heartbeat"), "of the one that was lost");
}

#[test]
fn an_unanswered_connect_counts_as_a_failure() {
    let mut harness = Harness::with_regions();
    harness.answer(&[(EU, 20), (US, 90)]);
    for _ in 0..2 {
        harness.handle(Input::Dialed(WEBSOCKET));
        harness.pass(Duration::from_secs(11));
    }
    assert_eq!(harness.probes, policy(&[US]).addresses);
}

#[test]
fn home_is_gone_back_to_beside_the_running_connection() {
    let mut harness = Harness::away();
    let mut subscribing = harness.subscribed("a:b", 5);
    harness.until_dial(&[(EU, 20)]);
    assert!(matches!(harness.state, State::Connected(_)));
    harness.events("a:b", &[(6, 5)]);
    harness.connect();
    assert_eq!(harness.connect.reconnect, None, "nothing ended");
    assert_eq!(harness.answer_subscribe("a:b", 6), Some(format!("{STREAM}.6")));
    harness.events("a:b", &[(7, 6)]);
    assert_eq!(subscribing.offsets(), [6, 7]);
    assert_eq!(harness.last_region(), (EU, Reason::Home));
    let moves = harness.regions.last().unwrap().moves;
    assert_eq!(moves, Moves { failure: 1, home: 1, redirect: 0 });
}

#[test]
fn a_move_that_fails_leaves_the_connection_and_home_alone() {
    let mut harness = Harness::away();
    harness.until_dial(&[(EU, 20)]);
    harness.dials.clear();
    harness.handle(Input::DialFailed(GONE));
    assert!(matches!(harness.state, State::Connected(_)));
    harness.probes.clear();
    harness.sent.clear();
    harness.pass(Duration::from_secs(14));
    assert!(harness.dials.is_empty() && harness.probes.is_empty());
    assert_eq!(harness.hangups, 0);
}

#[test]
fn a_drain_during_a_move_makes_it_a_must() {
    let mut harness = Harness::away();
    harness.until_dial(&[(EU, 20)]);
    harness.message(Message::Drain { after_ms: 0, deadline_ms: 60_000 });
    harness.dials.clear();
    harness.handle(Input::DialFailed(GONE));
    harness.pass(Duration::from_secs(1));
    harness.connect();
    assert_eq!(harness.dialed.last().map(String::as_str), Some(US));
}

#[test]
fn a_connection_lost_during_a_move_waits_for_its_outcome() {
    let mut harness = Harness::away();
    harness.until_dial(&[(EU, 20)]);
    harness.handle(Input::Lost(GONE));
    harness.connect();
    assert_eq!(harness.last_region(), (EU, Reason::Home));
}

#[test]
fn drain_and_the_clients_own_faults_change_no_region() {
    let mut harness = Harness::at_home();
    for code in [Code::Draining, Code::SlowReader, Code::Draining, Code::TokenExpired] {
        harness.message(Message::Drain { after_ms: 0, deadline_ms: 10 });
        harness.pass(Duration::ZERO);
        harness.connect();
        harness
            .handle(Input::Lost(Lost::Closed { number: code.number().into(), reason: "".into() }));
        if harness.machine.is_ended() {
            break;
        }
        harness.pass(Duration::from_secs(25));
        harness.connect();
    }
    assert!(harness.dialed.iter().all(|url| url == EU), "{:?}", harness.dialed);
    assert!(harness.probes.is_empty());
}

#[test]
fn nodes_that_are_full_send_clients_elsewhere() {
    let mut harness = Harness::with_regions();
    harness.answer(&[(EU, 20), (US, 90)]);
    for _ in 0..2 {
        harness.handle(Input::Dialed(WEBSOCKET));
        let id = harness.sent.remove(0).id;
        harness.error(id, ReplyError::of(Code::TooManySessions));
        harness.pass(Duration::from_secs(2));
    }
    assert_eq!(harness.probes, [Address::parse(US).unwrap()]);
}
