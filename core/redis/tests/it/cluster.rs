//! A cluster of three masters: the suite, a master that dies and comes back empty, a slot that moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use meridian_core::seams::conformance::stream;
use meridian_core::vocabulary::Stream;
use meridian_redis::RedisOptions;
use meridian_stack::{Counts, Stack};

use crate::access::least_user;
use crate::conformance;
use crate::live::{OUTAGES, live};
use crate::support::{backplane, options, redis_cli};

const MASTERS: u32 = 3;

fn cluster() -> Arc<Stack> {
    Arc::new(Stack::start(Counts { redis_cluster: MASTERS, ..Counts::default() }))
}

fn clustered(stack: &Stack) -> RedisOptions {
    let at = |number| stack.redis_cluster(number).trim_start_matches("redis://");
    let url = format!("redis-cluster://{}?node={}&node={}", at(1), at(2), at(3));
    RedisOptions { link_capacity: 4_096, ..options(&url) }
}

/// The slot of a partition.
fn slot_of(stack: &Stack, options: &RedisOptions, stream: &Stream) -> String {
    let tag = format!("{}.{}.{}", stream.log, stream.epoch.0, stream.partition.0);
    let key = format!("{}:{{{tag}}}:p", options.prefix);
    redis_cli(stack.redis_cluster(1), &["CLUSTER", "KEYSLOT", &key]).trim().to_owned()
}

/// The master of a slot, as `redis-cli` made the cluster: thirds.
fn master_of(slot: &str) -> u32 {
    1 + [5_460, 10_922].iter().filter(|last| slot.parse::<u32>().unwrap() > **last).count() as u32
}

fn id_of(stack: &Stack, master: u32) -> String {
    redis_cli(stack.redis_cluster(master), &["CLUSTER", "MYID"]).trim().to_owned()
}

/// As an operator moves one: its keys first, then its name.
fn move_slot(stack: &Stack, slot: &str, from: u32, to: u32) {
    let tell = |master: u32, args: &[&str]| redis_cli(stack.redis_cluster(master), args);
    let (source, target) = (id_of(stack, from), id_of(stack, to));
    tell(to, &["CLUSTER", "SETSLOT", slot, "IMPORTING", &source]);
    tell(from, &["CLUSTER", "SETSLOT", slot, "MIGRATING", &target]);
    let port = stack.redis_cluster(to).rsplit(':').next().unwrap();
    loop {
        let keys = tell(from, &["CLUSTER", "GETKEYSINSLOT", slot, "100"]);
        let keys: Vec<&str> = keys.split_whitespace().collect();
        if keys.is_empty() {
            break;
        }
        let mut migrate = vec!["MIGRATE", "127.0.0.1", port, "", "0", "5000", "KEYS"];
        migrate.extend(keys);
        let told = tell(from, &migrate);
        assert!(matches!(told.trim(), "OK" | "NOKEY"), "{told}");
    }
    for master in [to, from] {
        assert_eq!(tell(master, &["CLUSTER", "SETSLOT", slot, "NODE", &target]).trim(), "OK");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conformance_on_a_cluster() {
    let stack = cluster();
    let narrow = meridian_core::seams::conformance::backplane::LINK_CAPACITY;
    conformance::all(|| RedisOptions { link_capacity: narrow, ..clustered(&stack) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_least_user_is_enough_on_a_cluster() {
    let stack = cluster();
    let options = clustered(&stack);
    let masters = || (1..=MASTERS).map(|master| stack.redis_cluster(master));
    let mut credentials = None;
    for url in masters() {
        credentials = Some(least_user(url, &options.prefix));
    }
    let backplane = backplane(&RedisOptions { credentials, ..options }).await;
    live(&backplane, stream(1, 0), || {}).await;
    for url in masters() {
        assert_eq!(redis_cli(url, &["ACL", "LOG"]).trim(), "", "something was refused");
    }
}

/// Two partitions on one backplane: one of a master that dies, one of another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missed_when_a_master_dies() {
    let stack = cluster();
    let options = clustered(&stack);
    let master = |partition| master_of(&slot_of(&stack, &options, &stream(1, partition)));
    let dying = master(0);
    let other = (1..).find(|partition| master(*partition) != dying).unwrap();
    let name = format!("cluster{dying}");
    let backplane = backplane(&options).await;
    let at = stack.clone();
    let outage = move || {
        at.kill(&name);
        at.restart(&name);
    };
    let (dead, healthy) = tokio::join!(
        live(&backplane, stream(1, 0), outage),
        live(&backplane, stream(1, other), || {})
    );
    assert!(dead.lossy >= OUTAGES && dead.repairs >= OUTAGES, "{dead:?}");
    assert_eq!(healthy.repairs, 1, "the other master lost nothing");
    // A master that comes back refuses to write for 2 s; the other's partitions don't wait for it.
    assert!(healthy.longest < dead.longest, "{dead:?} {healthy:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missed_when_a_slot_moves() {
    let stack = cluster();
    let options = clustered(&stack);
    let slot = slot_of(&stack, &options, &stream(1, 0));
    let (moving, at) = (stack.clone(), AtomicU32::new(master_of(&slot)));
    let backplane = backplane(&options).await;
    let seen = live(&backplane, stream(1, 0), move || {
        let from = at.load(Ordering::Relaxed);
        let to = from % MASTERS + 1;
        move_slot(&moving, &slot, from, to);
        at.store(to, Ordering::Relaxed);
    });
    let seen = seen.await;
    assert!(seen.lossy >= 1, "{seen:?}");
    assert_eq!(seen.repairs, 1, "a move loses nothing");
}
