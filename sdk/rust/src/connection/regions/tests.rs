//! Decisions about regions, of one client and of a thousand.

use std::time::{Duration, Instant};

use meridian_core::protocol::Place as Named;
use rand::Rng as _;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use super::*;

const HOME: &str = "https://eu";
const OTHER: &str = "https://us";
const CLIENTS: usize = 1000;

fn address(url: &str) -> Address {
    Address::parse(url).unwrap()
}

fn policy(urls: &[&str], spread: Duration) -> Policy {
    Policy {
        addresses: urls.iter().map(|url| address(url)).collect(),
        discover: false,
        home_probe: Duration::from_secs(30),
        home_spread: spread,
    }
}

fn well(round_trip_ms: u64) -> Health {
    Health::read(br#"{"state":"serving"}"#, Duration::from_millis(round_trip_ms)).unwrap()
}

/// One client; dials take no time, and home is down for a while.
struct Simulated {
    regions: Regions,
    now: Instant,
    down: std::ops::Range<Instant>,
    probed: Vec<Instant>,
    arrived: Vec<(Reason, Instant)>,
}

impl Simulated {
    fn new(seed: u64, start: Instant, down: std::ops::Range<Instant>) -> Self {
        let policy = policy(&[HOME, OTHER], Duration::from_secs(30));
        let regions = Regions::new(&policy, seed);
        let mut client =
            Self { regions, now: start, down, probed: Vec::new(), arrived: Vec::new() };
        client.handle(&Event::Pick);
        client
    }

    fn handle(&mut self, event: &Event<'_>) {
        for step in self.regions.handle(event, self.now) {
            match step {
                Step::Probe(addresses) => addresses.iter().for_each(|at| self.answer(at)),
                Step::Dial(at) if self.is_up(&at) => self.handle(&Event::Dialed("")),
                Step::Dial(_) => self.handle(&Event::DialFailed(&Lost::TimedOut)),
                Step::Move => self.handle(&Event::Pick),
                Step::Arrived(region) => self.arrived.push((region.reason, self.now)),
                Step::Ignored(_) => {}
            }
        }
    }

    fn answer(&mut self, at: &Address) {
        let is_home = *at == address(HOME);
        if is_home {
            self.probed.push(self.now);
        }
        let health = self.is_up(at).then(|| well(if is_home { 20 } else { 90 }));
        self.handle(&Event::Probed(at, health.as_ref()));
    }

    fn is_up(&self, at: &Address) -> bool {
        *at != address(HOME) || !self.down.contains(&self.now)
    }

    /// The connection is lost; the machine's backoff comes before each dial.
    fn fail(&mut self, random: &mut SmallRng) {
        self.handle(&Event::Lost(&Lost::TimedOut));
        for whole_ms in [250.0, 500.0] {
            self.now += Duration::from_secs_f64(whole_ms / 1000.0 * random.random_range(0.5..1.0));
            self.handle(&Event::Pick);
        }
    }

    fn run_until(&mut self, end: Instant) {
        while let Some(wake) = self.regions.next_wake().filter(|wake| *wake <= end) {
            self.now = self.now.max(wake);
            self.handle(&Event::Timer);
        }
        self.now = end;
    }
}

#[test]
fn a_thousand_clients_come_back_home_spread_over_the_window() {
    let seed = std::env::var("SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let start = Instant::now();
    let down = start + Duration::from_secs(100)..start + Duration::from_secs(700);
    let clients: Vec<Simulated> = (0..CLIENTS)
        .map(|_| {
            let mut client = Simulated::new(random.random(), start, down.clone());
            client.run_until(down.start);
            client.fail(&mut random);
            client.run_until(down.end + Duration::from_secs(300));
            client
        })
        .collect();
    let mut returns = Vec::new();
    for client in &clients {
        let reasons: Vec<Reason> = client.arrived.iter().map(|(reason, _)| *reason).collect();
        assert_eq!(reasons, [Reason::Start, Reason::Failure, Reason::Home]);
        returns.push(client.arrived[2].1 - down.end);
    }
    returns.sort_unstable();
    let last = returns[CLIENTS - 1];
    assert!(last <= Duration::from_secs(120), "two probes and the spread: {last:?}");
    let middle = returns[CLIENTS * 95 / 100] - returns[CLIENTS * 5 / 100];
    assert!(middle >= Duration::from_secs(50), "nine of ten within {middle:?}");
    let crowd = busiest(returns.iter().copied());
    assert!(crowd <= CLIENTS / 20, "{crowd} in one second");
    let probes = clients.iter().flat_map(|client| &client.probed);
    let crowd = busiest(probes.filter(|at| **at > down.start).map(|at| *at - start));
    assert!(crowd <= CLIENTS / 10, "{crowd} probes in one second");
}

fn busiest(times: impl Iterator<Item = Duration>) -> usize {
    let mut seconds = std::collections::HashMap::new();
    times.for_each(|time| *seconds.entry(time.as_secs()).or_default() += 1);
    seconds.into_values().max().unwrap_or(0)
}

/// A client that is connected at home, which was found the nearest.
fn at_home(now: Instant) -> Regions {
    let mut regions = Regions::new(&policy(&[HOME, OTHER], Duration::ZERO), 1);
    regions.handle(&Event::Pick, now);
    regions.handle(&Event::Probed(&address(OTHER), Some(&well(90))), now);
    let dial = regions.handle(&Event::Probed(&address(HOME), Some(&well(20))), now);
    assert_eq!(dial, [Step::Dial(address(HOME))]);
    regions.handle(&Event::Dialed("eu"), now);
    regions
}

#[test]
fn a_home_that_flaps_is_left_alone_for_longer_each_time() {
    let mut now = Instant::now();
    let mut regions = at_home(now);
    let mut waits = Vec::new();
    for _ in 0..6 {
        now += Duration::from_secs(15);
        regions.handle(&Event::Lost(&Lost::TimedOut), now);
        regions.handle(&Event::Pick, now);
        regions.handle(&Event::DialFailed(&Lost::TimedOut), now);
        regions.handle(&Event::Pick, now);
        regions.handle(&Event::Probed(&address(OTHER), Some(&well(90))), now);
        regions.handle(&Event::Dialed("us"), now);
        let left = now;
        loop {
            now = regions.next_wake().unwrap();
            assert!(now < left + Duration::from_secs(3600), "it goes back");
            if regions.handle(&Event::Timer, now) == [Step::Move] {
                break;
            }
            regions.handle(&Event::Probed(&address(HOME), Some(&well(20))), now);
        }
        waits.push(now - left);
        regions.handle(&Event::Pick, now);
        regions.handle(&Event::Dialed("eu"), now);
    }
    let cap = Duration::from_secs(300);
    assert!(waits[5] >= cap, "{waits:?}");
    assert!(waits[1..].iter().zip(&waits).all(|(b, a)| b > a || *b >= cap), "{waits:?}");
}

#[test]
fn the_first_that_is_well_starts_the_grace_and_home_wins_ties() {
    let now = Instant::now();
    let mut regions = Regions::new(&policy(&[HOME, OTHER, "https://ap"], Duration::ZERO), 1);
    regions.handle(&Event::Pick, now);
    assert_eq!(regions.next_wake(), Some(now + PROBE_TIMEOUT));
    let degraded = Health::read(br#"{"state":"degraded"}"#, Duration::ZERO);
    regions.handle(&Event::Probed(&address("https://ap"), degraded.as_ref()), now);
    assert_eq!(regions.next_wake(), Some(now + PROBE_TIMEOUT));
    let later = now + Duration::from_millis(90);
    assert!(regions.handle(&Event::Probed(&address(OTHER), Some(&well(90))), later).is_empty());
    let end = later + Duration::from_millis(100);
    assert_eq!(regions.next_wake(), Some(end));
    let dial = regions.handle(&Event::Probed(&address(HOME), Some(&well(105))), end);
    assert_eq!(dial, [Step::Dial(address(HOME))]);
}

#[test]
fn a_region_that_is_being_rebuilt_is_the_last_resort() {
    let now = Instant::now();
    let health = |state: &str, ms| {
        let body = format!(r#"{{"state":"{state}"}}"#);
        Health::read(body.as_bytes(), Duration::from_millis(ms))
    };
    for (other, dialed) in [("degraded", OTHER), ("rebuilding", HOME), ("starting", HOME)] {
        let mut regions = Regions::new(&policy(&[HOME, OTHER], Duration::ZERO), 1);
        regions.handle(&Event::Pick, now);
        let home = health("rebuilding", 1);
        assert!(regions.handle(&Event::Probed(&address(HOME), home.as_ref()), now).is_empty());
        let other = health(other, 900);
        let dial = regions.handle(&Event::Probed(&address(OTHER), other.as_ref()), now);
        assert_eq!(dial, [Step::Dial(address(dialed))]);
    }
}

#[test]
fn where_no_probe_is_answered_the_regions_are_dialed_in_turn() {
    let mut now = Instant::now();
    let mut regions = at_home(now);
    now += Duration::from_secs(20);
    regions.handle(&Event::Lost(&Lost::TimedOut), now);
    let mut dialed = Vec::new();
    while dialed.len() < 5 {
        now += Duration::from_secs(2);
        let mut steps = regions.handle(&Event::Pick, now);
        if matches!(steps[..], [Step::Probe(_)]) {
            now += PROBE_TIMEOUT;
            steps = regions.handle(&Event::Timer, now);
        }
        let [Step::Dial(at)] = &steps[..] else { panic!("{steps:?}") };
        dialed.push(at.base_url());
        regions.handle(&Event::DialFailed(&Lost::TimedOut), now);
    }
    assert_eq!(dialed, [HOME, OTHER, HOME, OTHER, HOME]);
}

#[test]
fn a_redirect_moves_at_once_and_holds_the_place_it_left() {
    let now = Instant::now();
    let mut regions = at_home(now);
    let places = vec![Named { url: OTHER.to_owned(), region: None }];
    let redirect = Redirect { places, why: Why::Drain, after: Duration::ZERO };
    assert_eq!(regions.handle(&Event::Redirect(&redirect), now), [Step::Move]);
    assert!(regions.is_sent_to(&redirect));
    assert_eq!(regions.handle(&Event::Pick, now), [Step::Dial(address(OTHER))]);
    assert_eq!(regions.dials_redirected(), Some(Why::Drain));
    let steps = regions.handle(&Event::Dialed("us"), now);
    let [Step::Arrived(region)] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!((region.name.as_str(), region.reason), ("us", Reason::Redirect));
    assert_eq!(region.moves.redirect, 1);
    assert!(regions.next_wake().unwrap() >= now + Duration::from_secs(30), "home is asked later");
}
