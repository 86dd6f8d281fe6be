//! The bridge against a source and a log that fail, time out and are killed: every record of the source
//! is one event, in order; and what operators may do.

mod conformance;
mod log;
mod source;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use meridian_core::bridge::{Fields, Filter, Kind, Pointer, Route, Template};
use meridian_core::embedded::faulty::Chance;
use meridian_core::seams::conformance::{Printed, seeds};
use meridian_core::seams::{SourceCommit, SourceError};
use meridian_core::vocabulary::SourceName;
use meridian_region_router::bridge::{
    Bridge, BridgeHandle, Bridged, Change, Options, PartitionState, PartitionStatus, Refusal,
    ReplayMode, Start,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::log::TestLog;
use self::source::MemorySource;

const SOURCE_PARTITIONS: u32 = 2;
const KEYS: u64 = 5;

struct World {
    log: Arc<TestLog>,
    source: MemorySource,
    /// Good records pushed so far, by partition: the number of each.
    pushed: BTreeMap<u32, Vec<u64>>,
    poison: u64,
    generation: Arc<AtomicU32>,
    chance: Chance,
}

/// A running bridge; killed when it is dropped.
struct Running {
    handle: BridgeHandle,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            log: TestLog::new(seed),
            source: MemorySource::new(SOURCE_PARTITIONS, seed + 1),
            pushed: BTreeMap::new(),
            poison: 0,
            generation: Arc::new(AtomicU32::new(1)),
            chance: Chance::new(seed + 2),
        }
    }

    /// A key's records are in one partition, as a producer puts them.
    fn push(&mut self, count: u64) {
        for _ in 0..count {
            let key = self.chance.below(KEYS);
            let partition = (key % u64::from(SOURCE_PARTITIONS)) as u32;
            if self.chance.happens(50) {
                self.poison += 1;
                self.source.push(partition, "poison", "no JSON");
                continue;
            }
            let numbers = self.pushed.entry(partition).or_default();
            let number = numbers.len() as u64;
            numbers.push(number);
            let payload = format!(r#"{{"k":"k{key}","p":{partition},"n":{number},"secret":1}}"#);
            self.source.push(partition, &format!("k{key}"), &payload);
        }
    }

    /// Starts a bridge, which takes the partitions from any other.
    fn bridge(&self) -> Running {
        let bridged = Bridged {
            route: Arc::new(route()),
            source: Arc::new(self.source.survivor()),
            log: self.log.clone(),
            start: Start::Earliest,
        };
        let generation = self.generation.clone();
        let options = Options {
            batch_records: 7,
            generation: Arc::new(move || generation.fetch_add(1, Ordering::Relaxed)),
            ..Options::default()
        };
        let bridge = Bridge::new(vec![bridged], options);
        let handle = bridge.handle();
        Running { handle, task: tokio::spawn(bridge.run(CancellationToken::new())) }
    }

    /// The events as (source partition, number), of each log partition in order.
    fn events(&self) -> Vec<Vec<(u32, u64)>> {
        let number = |data: &[u8]| {
            let value: serde_json::Value = serde_json::from_slice(data).unwrap();
            assert!(value.get("secret").is_none(), "what was not named has left: {value}");
            (value["p"].as_u64().unwrap() as u32, value["n"].as_u64().unwrap())
        };
        let partitions = self.log.events();
        let partitions = partitions.iter();
        partitions
            .map(|events| events.iter().map(|event| number(&event.body.data)).collect())
            .collect()
    }

    /// Every good record is one event, in order; every other one is set aside.
    fn check(&self) {
        let mut found: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for events in self.events() {
            for partition in 0..SOURCE_PARTITIONS {
                let of: Vec<u64> =
                    events.iter().filter(|(p, _)| *p == partition).map(|(_, n)| *n).collect();
                assert!(of.is_sorted_by(|a, b| a < b), "partition {partition}: {of:?}");
                found.entry(partition).or_default().extend(of);
            }
        }
        found.values_mut().for_each(|numbers| numbers.sort_unstable());
        found.retain(|_, numbers| !numbers.is_empty());
        assert_eq!(found, self.pushed);
        let letters = self.source.letters();
        let places: std::collections::BTreeSet<_> =
            letters.iter().map(|letter| (letter.record.partition, letter.record.offset)).collect();
        assert_eq!(places.len() as u64, self.poison);
        assert!(letters.iter().all(|letter| letter.reason == "the payload is not one JSON value"));
    }
}

fn route() -> Route {
    let pointer = |text: &str| Pointer::parse(text).unwrap();
    Route {
        name: SourceName::parse("orders").unwrap(),
        tenant: Template::parse("acme").unwrap(),
        channel: Template::parse("orders:{/k}").unwrap(),
        filter: Filter::default(),
        fields: Fields::new(&[pointer("/n"), pointer("/p")]),
        kind: Kind::Publish,
        key: None,
        headers: [].into(),
        content_type: "application/json".to_owned(),
        event_bytes: 1 << 10,
    }
}

/// [A batch that timed out, stored in part, late or not at all; a bridge killed at any point; one that
/// was taken for dead and goes on beside its successor; a commit whose answer was lost.]
#[tokio::test(start_paused = true)]
async fn each_record_is_one_event_whatever_happens() {
    for seed in seeds(60) {
        let _printed = Printed(seed);
        let mut world = World::new(seed);
        let mut zombies = Vec::new();
        for _ in 0..12 {
            let fails = [0, 100, 500][world.chance.below(3) as usize];
            world.log.fails(fails);
            world.source.fails(fails / 2);
            let count = world.chance.below(60);
            world.push(count + 20);
            let bridge = world.bridge();
            let appends = world.chance.below(8);
            tokio::select! {
                () = world.log.appends(appends) => {}
                () = world.source.done() => {}
            }
            for _ in 0..world.chance.below(4) {
                tokio::task::yield_now().await;
            }
            match world.chance.below(4) {
                0 => zombies.push(bridge),
                1 => {
                    let change = Change::Replay { mode: ReplayMode::Fill, from: None };
                    let _ = bridge.handle.ask("orders", None, change).await;
                }
                _ => drop(bridge),
            }
        }
        drop(zombies);
        world.log.fails(0);
        world.source.fails(0);
        let last = world.bridge();
        world.source.done().await;
        drop(last);
        world.check();
    }
}

/// A status of the first partition that is as asked.
async fn reaches(bridge: &Running, reached: impl Fn(&PartitionStatus) -> bool) -> PartitionStatus {
    loop {
        let status = bridge.handle.status();
        if let Some(found) = status[0].partitions.first().filter(|status| reached(status)) {
            return found.clone();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_fill_makes_nothing_new_and_a_redelivery_makes_each_event_anew() {
    let mut world = World::new(1);
    world.push(200);
    let bridge = world.bridge();
    world.source.done().await;
    world.check();
    let before = world.events();

    let fill = Change::Replay { mode: ReplayMode::Fill, from: Some(0) };
    let asked = bridge.handle.ask("orders", None, fill).await.unwrap();
    assert!(asked.iter().all(|(_, made)| made.as_ref().is_ok_and(|commit| commit.next == 0)));
    world.source.done().await;
    assert_eq!(world.events(), before);

    let again = Change::Replay { mode: ReplayMode::Redeliver, from: Some(30) };
    let asked = bridge.handle.ask("orders", Some(0), again).await.unwrap();
    let generation = asked[0].1.as_ref().unwrap().generation;
    world.source.done().await;
    assert_eq!(world.source.commit_of(0).unwrap().generation, generation);
    let poison_below = world.source.letters().iter().filter(|l| l.record.partition == 0).count();
    let count = |events: &[Vec<(u32, u64)>]| events.iter().map(Vec::len).sum::<usize>();
    let anew = count(&world.events()) - count(&before);
    let pushed = world.pushed[&0].len();
    assert!((pushed - 30..=pushed - 30 + poison_below).contains(&anew), "{anew} of {pushed}");

    // A fill of the new generation makes nothing new either.
    let before = world.events();
    bridge.handle.ask("orders", None, fill).await.unwrap();
    world.source.done().await;
    let added = count(&world.events()) - count(&before);
    assert!(added <= 30, "below its beginning the new generation has no marks: {added}");
}

#[tokio::test(start_paused = true)]
async fn a_pause_outlives_the_process() {
    let mut world = World::new(2);
    world.push(20);
    let bridge = world.bridge();
    world.source.done().await;
    bridge.handle.ask("orders", None, Change::Pause).await.unwrap();
    world.push(20);
    drop(bridge);
    let bridge = world.bridge();
    let paused = reaches(&bridge, |status| status.state == PartitionState::Paused).await;
    assert!(paused.commit.is_some_and(|commit| commit.paused));
    let lag = reaches(&bridge, |status| status.lag_records.is_some_and(|lag| lag > 0)).await;
    assert_eq!(lag.state, PartitionState::Paused);
    bridge.handle.ask("orders", None, Change::Resume).await.unwrap();
    world.source.done().await;
    world.check();
}

#[tokio::test(start_paused = true)]
async fn what_retention_removed_halts_until_a_replay() {
    let mut world = World::new(3);
    world.push(40);
    let bridge = world.bridge();
    world.source.done().await;
    drop(bridge);
    let next = world.source.commit_of(0).unwrap().next;
    world.push(40);
    world.source.retain_from(0, next + 5);
    let bridge = world.bridge();
    let gone = SourceError::Gone { earliest: next + 5 };
    let halted = PartitionState::Halted { reason: gone };
    reaches(&bridge, |status| status.state == halted).await;
    let low = Change::Replay { mode: ReplayMode::Fill, from: Some(next) };
    let refused = bridge.handle.ask("orders", Some(0), low).await.unwrap();
    assert_eq!(refused[0].1, Err(Refusal::Gone { earliest: next + 5 }));
    let fill = Change::Replay { mode: ReplayMode::Fill, from: None };
    bridge.handle.ask("orders", None, fill).await.unwrap();
    world.source.done().await;
}

/// [A topic deleted and recreated: its offsets begin again below the marks.]
#[tokio::test(start_paused = true)]
async fn a_replaced_source_halts_until_a_redelivery() {
    let mut world = World::new(4);
    world.push(40);
    let bridge = world.bridge();
    world.source.done().await;
    drop(bridge);
    world.source.replace();
    let (before, generation) = (world.events(), world.source.commit_of(0).unwrap().generation);
    for number in 100..110 {
        let payload = format!(r#"{{"k":"k0","p":0,"n":{number}}}"#);
        world.source.push(0, "k0", &payload);
    }
    let bridge = world.bridge();
    let halted = PartitionState::Halted { reason: SourceError::Replaced { generation } };
    reaches(&bridge, |status| status.state == halted).await;
    assert_eq!(world.events(), before);
    let again = Change::Replay { mode: ReplayMode::Redeliver, from: Some(0) };
    let asked = bridge.handle.ask("orders", Some(0), again).await.unwrap();
    let SourceCommit { generation: new, .. } = *asked[0].1.as_ref().unwrap();
    assert!(new > generation);
    reaches(&bridge, |status| status.commit.is_some_and(|commit| commit.next == 10)).await;
    let count = |events: &[Vec<(u32, u64)>]| events.iter().map(Vec::len).sum::<usize>();
    assert_eq!(count(&world.events()), count(&before) + 10);
}
