//! Being sent elsewhere: by a drain, a full node, a zone; what is not followed.

use std::time::Duration;

use meridian_core::protocol::{Code, Command, Message, Place, Redirect, ReplyError};

use super::harness::{Harness, STREAM, WEBSOCKET, config, policy};
use crate::connection::{Config, Health, Input, Policy, Reason, State};
use crate::error::Lost;
use crate::transport::Address;
use crate::update::Start;

const EU: &str = "https://eu";
const US: &str = "https://us";
const AP: &str = "https://ap";

fn place(url: &str) -> Place {
    let region = url.strip_prefix("https://").map(str::to_owned);
    Place { url: url.to_owned(), region }
}

impl Harness {
    fn in_eu() -> Self {
        let mut harness = Self::new(Config { regions: policy(&[EU, US, AP]), ..config() });
        harness.well(&[(EU, 20), (US, 90), (AP, 150)]);
        harness.connect();
        harness.pass(Duration::from_secs(1));
        harness
    }

    fn well(&mut self, well: &[(&str, u64)]) {
        for address in std::mem::take(&mut self.probes) {
            let near = well.iter().find(|(url, _)| address.base_url() == *url);
            let health = near.and_then(|(_, ms)| {
                Health::read(br#"{"state":"serving"}"#, Duration::from_millis(*ms))
            });
            self.handle(Input::Probed(address, health));
        }
    }

    fn sent_to(&mut self, url: &str, after_ms: u64) {
        let reason = "drain".to_owned();
        let redirect = Redirect { place: place(url), reason, after_ms, deadline_ms: None };
        self.message(Message::Redirect(redirect));
    }

    /// Lets seconds pass in which the server is heard.
    fn pass_alive(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.pass(Duration::from_secs(1));
            self.message(Message::Ping);
            self.sent.clear();
        }
    }

    fn arrived(&self) -> (&str, Reason, u64) {
        let region = self.regions.last().unwrap();
        (&region.url, region.reason, region.moves.redirect)
    }

    fn ignored(&self) -> u64 {
        self.regions.last().unwrap().redirects_ignored
    }
}

#[test]
fn a_client_that_is_sent_moves_at_its_moment_and_says_so() {
    let mut harness = Harness::in_eu();
    let mut subscribing = harness.subscribed("a:b", 5);
    harness.sent_to(US, 5_000);
    harness.pass(Duration::from_millis(4_999));
    assert!(harness.dials.is_empty(), "not before");
    harness.pass(Duration::from_millis(1));
    harness.events("a:b", &[(6, 5)]);
    assert!(matches!(harness.state, State::Connected(_)));
    harness.connect();
    assert_eq!(harness.connect.redirected.as_deref(), Some("drain"));
    assert_eq!(harness.connect.reconnect, None, "nothing ended");
    assert_eq!(harness.answer_subscribe("a:b", 6), Some(format!("{STREAM}.6")));
    harness.events("a:b", &[(7, 6)]);
    assert_eq!(subscribing.offsets(), [6, 7]);
    assert_eq!(harness.arrived(), (US, Reason::Redirect, 1));
    harness.reconnect();
    assert_eq!(harness.connect.redirected, None, "a reconnect is none");
}

#[test]
fn two_a_minute_are_followed_and_the_rest_is_counted() {
    let mut harness = Harness::in_eu();
    for url in [US, AP] {
        harness.sent_to(url, 0);
        harness.sent_to(url, 0);
        harness.connect();
        harness.sent_to(url, 0);
    }
    assert_eq!(harness.ignored(), 0, "the same one again is none");
    harness.sent_to(EU, 0);
    assert!(harness.dials.is_empty());
    assert_eq!((harness.arrived(), harness.ignored()), ((AP, Reason::Redirect, 2), 1));
    harness.pass_alive(59);
    harness.sent_to(US, 0);
    assert!(harness.dials.is_empty());
    harness.pass_alive(2);
    harness.sent_to(US, 0);
    harness.connect();
    assert_eq!(harness.arrived(), (US, Reason::Redirect, 3));
}

#[test]
fn an_address_that_is_no_known_region_is_never_dialed() {
    let mut harness = Harness::in_eu();
    for url in ["https://evil", "https://us.evil", "http://us.evil", "nowhere", ""] {
        harness.sent_to(url, 0);
    }
    assert!(harness.dials.is_empty() && harness.probes.is_empty());
    assert_eq!(harness.ignored(), 5);
    // The name leads to the address that is known, whatever address stands beside it.
    let place = Place { url: "https://evil".to_owned(), region: Some(US.to_owned()) };
    let reason = "drain".to_owned();
    harness.message(Message::Redirect(Redirect { place, reason, after_ms: 0, deadline_ms: None }));
    harness.connect();
    assert_eq!(harness.dialed, [EU, US]);
}

#[test]
fn a_client_that_may_learn_regions_asks_for_one_that_it_does_not_know() {
    let regions = Policy { discover: true, ..policy(&[EU]) };
    let mut harness = Harness::new(Config { regions, ..config() });
    harness.connect();
    harness.sent_to(US, 0);
    assert_eq!(harness.probes, [Address::parse(EU).unwrap()]);
    harness.probes.clear();
    let told = br#"{"state":"serving","regions":[{"name":"us","url":"https://us"}]}"#;
    let health = Health::read(told, Duration::from_millis(20));
    harness.handle(Input::Probed(Address::parse(EU).unwrap(), health));
    harness.connect();
    assert_eq!(harness.arrived(), (US, Reason::Redirect, 1));
}

#[test]
fn a_full_node_sends_on_who_has_not_been_served_yet() {
    let mut harness = Harness::new(Config { regions: policy(&[EU, US]), ..config() });
    harness.well(&[(EU, 20), (US, 90)]);
    harness.dials.clear();
    harness.handle(Input::Dialed(WEBSOCKET));
    let id = harness.only_sent().id;
    harness.error(id, ReplyError::of(Code::TooManySessions).elsewhere(vec![place(US)]));
    harness.pass(Duration::from_secs(1));
    harness.connect();
    assert_eq!(harness.dialed, [EU, US]);
    assert_eq!(harness.connect.redirected.as_deref(), Some("overload"));
    assert_eq!(harness.arrived(), (US, Reason::Redirect, 1));
}

#[test]
fn a_drain_or_a_loss_before_the_moment_leads_there_as_well() {
    for is_drain in [true, false] {
        let mut harness = Harness::in_eu();
        harness.sent_to(US, 50_000);
        if is_drain {
            harness.message(Message::Drain { after_ms: 500, deadline_ms: 5_000 });
        } else {
            harness.handle(Input::Lost(Lost::TimedOut));
        }
        harness.pass(Duration::from_secs(1));
        harness.connect();
        assert_eq!(harness.arrived(), (US, Reason::Redirect, 1));
        assert_eq!(harness.connect.redirected.as_deref(), Some("drain"));
    }
}

#[test]
fn a_redirect_to_a_region_that_is_down_leaves_the_connection_as_it_is() {
    let mut harness = Harness::in_eu();
    harness.sent_to(US, 0);
    harness.dials.clear();
    harness.handle(Input::DialFailed(Lost::TimedOut));
    harness.pass(Duration::from_secs(10));
    assert!(harness.dials.is_empty());
    assert!(matches!(harness.state, State::Connected(_)));
}

/// Refuses the one subscribe sent, since the channel is in this region.
fn refuse(harness: &mut Harness, url: &str) {
    let frame = harness.only_sent();
    assert!(matches!(frame.command, Command::Subscribe(_)), "{frame:?}");
    let error = ReplyError::of(Code::WrongRegion).elsewhere(vec![place(url)]);
    harness.error(frame.id, error);
}

#[test]
fn a_zone_that_is_elsewhere_is_gone_to_and_is_home() {
    let mut harness = Harness::in_eu();
    let mut subscribing = harness.subscribe("zone:x", Start::Now);
    refuse(&mut harness, US);
    assert!(subscribing.answer.try_recv().is_err(), "not answered yet");
    harness.connect();
    assert_eq!(harness.connect.redirected.as_deref(), Some("zone"));
    harness.pass(Duration::from_secs(1));
    harness.answer_subscribe("zone:x", 5);
    assert!(subscribing.answer.try_recv().unwrap().is_ok());
    for _ in 0..20 {
        harness.pass(Duration::from_secs(15));
        harness.message(Message::Ping);
    }
    assert!(harness.probes.is_empty() && harness.dials.is_empty(), "it is not away");
}

#[test]
fn a_zone_of_unknown_regions_refuses_the_subscription() {
    let mut harness = Harness::in_eu();
    let mut subscribing = harness.subscribe("zone:x", Start::Now);
    refuse(&mut harness, "https://mars");
    assert!(subscribing.answer.try_recv().unwrap().is_err());
    assert!(harness.dials.is_empty());
}
