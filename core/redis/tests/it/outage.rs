//! A live region through outages of its Redis: the same backplane and the same link go on, and no
//! event is missing or twice.

use std::sync::Arc;

use meridian_core::seams::conformance::stream;
use meridian_redis::RedisOptions;
use meridian_stack::{Counts, Stack};

use crate::live::{OUTAGES, live};
use crate::support::{backplane, options, redis_cli};

/// The link is wide enough: each `Lossy` is of an outage.
fn wide(stack: &Stack) -> RedisOptions {
    RedisOptions { link_capacity: 4_096, ..options(stack.redis(1)) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missed_over_restarts() {
    let stack = Arc::new(Stack::start(Counts { redis: 1, ..Counts::default() }));
    let backplane = backplane(&wide(&stack)).await;
    let at = stack.clone();
    let seen = live(&backplane, stream(1, 0), move || {
        at.kill("redis1");
        at.restart("redis1");
    });
    let seen = seen.await;
    assert!(seen.lossy >= OUTAGES, "{} outages were announced", seen.lossy);
    assert!(seen.repairs >= OUTAGES, "{} losses were repaired", seen.repairs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missed_when_emptied() {
    let stack = Arc::new(Stack::start(Counts { redis: 1, ..Counts::default() }));
    let backplane = backplane(&wide(&stack)).await;
    let at = stack.clone();
    let seen = live(&backplane, stream(1, 0), move || {
        redis_cli(at.redis(1), &["FLUSHALL"]);
    });
    assert!(seen.await.repairs >= OUTAGES);
}

/// The link is never wide enough: its reader lives on what it reads after each `Lossy`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missed_by_a_narrow_link() {
    let stack = Arc::new(Stack::start(Counts { redis: 1, ..Counts::default() }));
    let narrow = RedisOptions { link_capacity: 1, ..options(stack.redis(1)) };
    let backplane = backplane(&narrow).await;
    let at = stack.clone();
    live(&backplane, stream(1, 0), move || {
        at.pause("redis1");
        at.resume("redis1");
    })
    .await;
}
