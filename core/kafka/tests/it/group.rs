//! Ownership by group: all partitions, each once, whoever leaves and however.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use meridian_core::vocabulary::Partition;
use meridian_kafka::{GroupOptions, KafkaGroup, KafkaLog};
use meridian_stack::Stack;
use tokio::sync::watch;

use crate::help::{broker, eventually, global, open, options};

const PARTITIONS: u32 = 12;
const SESSION: Duration = Duration::from_secs(3);
/// Where the member that gets killed finds its log.
const BOOTSTRAP: &str = "MERIDIAN_TEST_BOOTSTRAP";
const PREFIX: &str = "MERIDIAN_TEST_PREFIX";

type Owned = watch::Receiver<BTreeSet<Partition>>;

fn group(member: &str) -> GroupOptions {
    GroupOptions { id: "routers".to_owned(), member: Some(member.to_owned()), session: SESSION }
}

async fn owns(what: &str, owned: Owned, count: u32) -> BTreeSet<Partition> {
    let mut reaching = owned.clone();
    let reached = reaching.wait_for(|owned| owned.len() == count as usize);
    match tokio::time::timeout(Duration::from_secs(30), reached).await {
        Ok(owned) => owned.unwrap().clone(),
        Err(_) => panic!("{what}: {:?}", owned.borrow()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_share_the_partitions() {
    // In the process that is to be killed, this is the member.
    if let (Ok(bootstrap), Ok(prefix)) = (std::env::var(BOOTSTRAP), std::env::var(PREFIX)) {
        return be_a_member(&bootstrap, prefix).await;
    }
    let stack = broker();
    let options = options(&stack, PARTITIONS);
    let log = open(&options).await;
    let first = KafkaGroup::join(&log, &group("first")).unwrap();
    owns("alone", first.owned(), PARTITIONS).await;

    let second = KafkaGroup::join(&log, &group("second")).unwrap();
    let (of_first, of_second) = tokio::join!(
        owns("the first of two", first.owned(), PARTITIONS / 2),
        owns("the second of two", second.owned(), PARTITIONS / 2),
    );
    assert!(of_first.is_disjoint(&of_second), "{of_first:?} {of_second:?}");

    let started = Instant::now();
    second.leave().await;
    owns("after a clean leave", first.owned(), PARTITIONS).await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());

    // Dropped, it leaves as well.
    let third = KafkaGroup::join(&log, &group("third")).unwrap();
    owns("the third", third.owned(), PARTITIONS / 2).await;
    let started = Instant::now();
    drop(third);
    owns("after a drop", first.owned(), PARTITIONS).await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());

    a_killed_member_is_noticed(&stack, &options.prefix, &first).await;
    a_restarted_member_goes_on(&log, first).await;
    log.close().await;
}

async fn a_killed_member_is_noticed(stack: &Stack, prefix: &str, first: &KafkaGroup) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "group::members_share_the_partitions"])
        .env(BOOTSTRAP, stack.kafka())
        .env(PREFIX, prefix)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    owns("beside a child", first.owned(), PARTITIONS / 2).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let started = Instant::now();
    owns("after a kill", first.owned(), PARTITIONS).await;
    let limit = SESSION + Duration::from_secs(5);
    assert!(started.elapsed() < limit, "{:?}", started.elapsed());
}

/// Who is back under its name goes on at once with what it owned; who is still there under it, but was
/// taken for dead (a stopped process that woke up), is no member any more.
async fn a_restarted_member_goes_on(log: &KafkaLog, first: KafkaGroup) {
    let started = Instant::now();
    let again = KafkaGroup::join(log, &group("first")).unwrap();
    owns("the one that is back", again.owned(), PARTITIONS).await;
    assert!(started.elapsed() < SESSION, "{:?}", started.elapsed());
    let replaced = tokio::time::timeout(Duration::from_secs(30), first.replaced()).await;
    assert!(replaced.is_ok(), "{:?}", first.owned().borrow());
    assert!(first.owned().borrow().is_empty());
    again.leave().await;
}

/// Until the process is killed.
async fn be_a_member(bootstrap: &str, prefix: String) {
    let mut options = meridian_kafka::Options::new(bootstrap);
    options.prefix = prefix;
    let log = KafkaLog::open(options, global()).await.unwrap();
    let _member = KafkaGroup::join(&log, &group("killed")).unwrap();
    eventually("the end of the process", async || None::<()>).await;
}
