//! A live region through outages of its Redis: the same backplane and the same link go on, and no
//! event is missing or twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use meridian_core::seams::Backplane as _;
use meridian_core::seams::conformance::channel;
use meridian_redis::{RedisBackplane, RedisOptions};
use meridian_stack::{Counts, Stack};
use tokio::time::timeout;

use crate::region::{Reader, Shelf, Writer};
use crate::support::{LIMIT, backplane, follow, options, redis_cli, until};

/// Events of the followed channel.
const EVENTS: usize = 400;
/// Events between two outages.
const APART: usize = 100;

/// What a run through outages saw.
struct Seen {
    lossy: usize,
    repairs: usize,
}

/// Publishes and reads, while `outage` is called after every `APART` events.
async fn live(backplane: RedisBackplane, outage: impl Fn()) -> Seen {
    let (backplane, shelf) = (Arc::new(backplane), Arc::new(Shelf::default()));
    let published = Arc::new(AtomicUsize::new(0));
    let mut link = backplane.link().await.unwrap();
    let mut writer = Writer::new(shelf.clone());
    follow(&link, &writer.samples, &[channel("a")]).await;

    let (writing, written) = (backplane.clone(), published.clone());
    let writes = tokio::spawn(async move {
        for _ in 0..EVENTS {
            writer.publish(&writing, &[channel("a"), channel("b")], 20).await;
            written.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        writer
    });
    let reads = tokio::spawn(async move {
        let mut reader = Reader::new(channel("a"), shelf);
        reader.read(&backplane, &mut link, EVENTS).await;
        reader
    });
    for after in (APART..EVENTS).step_by(APART) {
        until("the next outage", async || published.load(Ordering::Relaxed) >= after).await;
        tokio::task::block_in_place(&outage);
    }
    let writer = timeout(LIMIT, writes).await.unwrap().unwrap();
    let reader = timeout(LIMIT, reads).await.unwrap().unwrap();
    let of_a = writer.log.iter().map(|applied| &applied.event);
    let of_a: Vec<_> = of_a.filter(|event| event.key == channel("a")).cloned().collect();
    assert_eq!(reader.got, of_a);
    Seen { lossy: reader.lossy, repairs: writer.repairs }
}

/// The link is wide enough: each `Lossy` is of an outage.
fn wide(stack: &Stack) -> RedisOptions {
    RedisOptions { link_capacity: 4_096, ..options(stack.redis(1)) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missed_over_restarts() {
    let stack = Stack::start(Counts { redis: 1, ..Counts::default() });
    let backplane = backplane(&wide(&stack)).await;
    let seen = live(backplane, || {
        stack.kill("redis1");
        stack.restart("redis1");
    });
    let seen = seen.await;
    assert!(seen.lossy >= 3, "{} outages were announced", seen.lossy);
    assert!(seen.repairs >= 3, "{} losses were repaired", seen.repairs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missed_when_emptied() {
    let stack = Stack::start(Counts { redis: 1, ..Counts::default() });
    let backplane = backplane(&wide(&stack)).await;
    let seen = live(backplane, || {
        redis_cli(stack.redis(1), &["FLUSHALL"]);
    });
    assert!(seen.await.repairs >= 3);
}

/// The link is never wide enough: its reader lives on what it reads after each `Lossy`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missed_by_a_narrow_link() {
    let stack = Stack::start(Counts { redis: 1, ..Counts::default() });
    let narrow = RedisOptions { link_capacity: 1, ..options(stack.redis(1)) };
    let backplane = backplane(&narrow).await;
    live(backplane, || {
        stack.pause("redis1");
        stack.resume("redis1");
    })
    .await;
}
