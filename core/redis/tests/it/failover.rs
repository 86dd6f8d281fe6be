//! Failovers, by Sentinel and behind an address that follows: the same backplane finds the new master,
//! and what the promotion lost is told by the marker.

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Once};

use meridian_core::seams::conformance::{channel, stream};
use meridian_core::seams::{ApplyOutcome, Backplane as _};
use meridian_redis::RedisOptions;
use meridian_stack::{Counts, Stack};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::live::{OUTAGES, live};
use crate::support::{apply, apply_all, backplane, options, ready, redis_cli, until, wait_until};

fn port(url: &str) -> &str {
    url.rsplit(':').next().unwrap()
}

/// A master, its replica, and a Sentinel that knows of both.
fn watched() -> Arc<Stack> {
    let stack = Stack::start(Counts { redis: 2, sentinel: 1, ..Counts::default() });
    // A replica that asks for its copy waits for 5 s otherwise.
    redis_cli(stack.redis(1), &["CONFIG", "SET", "repl-diskless-sync-delay", "0"]);
    redis_cli(stack.redis(2), &["REPLICAOF", "127.0.0.1", port(stack.redis(1))]);
    wait_until("the copy", || redis_cli(stack.redis(2), &["ROLE"]).contains("connected"));
    let known = || ask_sentinel(&stack, &["REPLICAS", "main"]).contains("master-link-status\nok");
    wait_until("Sentinel", known);
    Arc::new(stack)
}

fn ask_sentinel(stack: &Stack, args: &[&str]) -> String {
    let url = format!("redis://{}", stack.sentinel(1));
    redis_cli(&url, &[&["SENTINEL"], args].concat())
}

/// The port of the master that Sentinel names.
fn master_of(stack: &Stack) -> String {
    let told = ask_sentinel(stack, &["GET-MASTER-ADDR-BY-NAME", "main"]);
    told.lines().nth(1).unwrap_or_default().to_owned()
}

fn by_sentinel(stack: &Stack) -> RedisOptions {
    let at = stack.sentinel(1);
    let url = format!("redis-sentinel://{at}?sentinelServiceName=main");
    RedisOptions { link_capacity: 4_096, ..options(&url) }
}

/// An address that follows the master: new connections go to the server that is named last.
struct Follower {
    url: String,
    target: Arc<AtomicU16>,
    _accepts: JoinSet<()>,
}

impl Follower {
    async fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let target = Arc::new(AtomicU16::new(target.parse().unwrap()));
        let (named, mut accepts) = (target.clone(), JoinSet::new());
        accepts.spawn(async move {
            let mut pipes = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let port = named.load(Ordering::Relaxed);
                pipes.spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Self { url, target, _accepts: accepts }
    }
}

/// Nobody closes the connections to the old master, which lives on as a replica.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missed_behind_an_address_that_follows() {
    let stack = Arc::new(Stack::start(Counts { redis: 2, ..Counts::default() }));
    let follower = Follower::start(port(stack.redis(1))).await;
    let options = RedisOptions { link_capacity: 4_096, ..options(&follower.url) };
    let backplane = backplane(&options).await;
    let (at, target) = (stack.clone(), follower.target.clone());
    let seen = live(&backplane, stream(1, 0), move || {
        let ports = [port(at.redis(1)), port(at.redis(2))];
        let old = usize::from(target.load(Ordering::Relaxed).to_string() == ports[1]);
        let url = |server: usize| at.redis(server as u32 + 1);
        redis_cli(url(1 - old), &["REPLICAOF", "NO", "ONE"]);
        redis_cli(url(old), &["REPLICAOF", "127.0.0.1", ports[1 - old]]);
        target.store(ports[1 - old].parse().unwrap(), Ordering::Relaxed);
    });
    let seen = seen.await;
    assert!(seen.lossy >= OUTAGES && seen.repairs >= OUTAGES, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missed_over_a_failover() {
    let stack = watched();
    let backplane = backplane(&by_sentinel(&stack)).await;
    let (at, once) = (stack.clone(), Once::new());
    let seen = live(&backplane, stream(1, 0), move || {
        once.call_once(|| {
            at.kill("redis1");
            wait_until("a promotion", || master_of(&at) == port(at.redis(2)));
        });
    });
    let seen = seen.await;
    assert!(seen.lossy >= 1, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_promotion_loses_is_a_mismatch() {
    let stack = watched();
    let backplane = backplane(&by_sentinel(&stack)).await;
    let mut samples = ready(&backplane).await;
    let kept = samples.events(&channel("a"), 5);
    apply_all(&backplane, &kept).await;
    let marker = Some(kept[4].event.position());
    redis_cli(stack.redis(1), &["WAIT", "1", "5000"]);
    // From here on the replica gets nothing, and does not know that it lacks anything.
    redis_cli(stack.redis(2), &["REPLICAOF", "127.0.0.1", "1"]);
    let lost = samples.events(&channel("a"), 20);
    apply_all(&backplane, &lost).await;
    stack.kill("redis1");
    redis_cli(stack.redis(2), &["REPLICAOF", "NO", "ONE"]);
    until("the new master", async || {
        tokio::task::block_in_place(|| master_of(&stack)) == port(stack.redis(2))
    })
    .await;
    until("the backplane", async || backplane.marker(samples.stream()).await == Ok(marker)).await;
    let next = samples.events(&channel("a"), 1);
    assert_eq!(apply(&backplane, &next).await, [ApplyOutcome::Mismatch { marker }]);
    apply_all(&backplane, &lost).await;
    apply_all(&backplane, &next).await;
}
