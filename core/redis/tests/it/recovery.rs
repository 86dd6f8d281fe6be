//! What a loss of Redis leaves behind: a marker that tells, and followers that learn of it.

use meridian_core::seams::conformance::channel;
use meridian_core::seams::{ApplyOutcome, Backplane, Delivery, Stale};
use meridian_stack::{Counts, Stack};

use crate::support::{apply, backplane, follow, next, options, ready, redis_cli, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_redis_is_followed_again() {
    let stack = Stack::start(Counts { redis: 1, ..Counts::default() });
    let backplane = backplane(&options(stack.redis(1))).await;
    let mut samples = ready(&backplane).await;
    let mut link = backplane.link().await.unwrap();
    follow(&link, &samples, &[channel("a")]).await;
    let before = samples.event(&channel("a"), "before");
    apply(&backplane, std::slice::from_ref(&before)).await;
    assert!(matches!(next(&mut link).await, Delivery::Event(event) if event == before.event));

    stack.kill("redis1");
    // A channel that is followed meanwhile is one whose events are announced as lost.
    let others = [(channel("b"), samples.stream().clone())];
    let followed = async || link.control.follow(&others).await.is_ok();
    until("a channel followed without Redis", followed).await;
    stack.restart("redis1");
    // Subscribed again first, announced then.
    assert!(matches!(next(&mut link).await, Delivery::Lossy));
    until("a connection", async || backplane.marker(samples.stream()).await.is_ok()).await;
    let after = samples.event(&channel("a"), "after");
    let lost = apply(&backplane, std::slice::from_ref(&after)).await;
    assert_eq!(lost, [ApplyOutcome::Mismatch { marker: None }]);
    let restored = before.event.position();
    assert_eq!(backplane.repair(samples.stream(), None, Stale::All, restored).await, Ok(true));
    assert_eq!(apply(&backplane, std::slice::from_ref(&after)).await, [ApplyOutcome::Applied]);
    loop {
        match next(&mut link).await {
            Delivery::Event(event) => break assert_eq!(event, after.event),
            Delivery::Lossy => {}
            Delivery::Ephemeral(event) => panic!("{event:?}"),
        }
    }
    let other = samples.event(&channel("b"), "other");
    apply(&backplane, std::slice::from_ref(&other)).await;
    assert!(matches!(next(&mut link).await, Delivery::Event(event) if event == other.event));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_has_no_marker() {
    let stack = Stack::start(Counts { redis: 1, ..Counts::default() });
    let backplane = backplane(&options(stack.redis(1))).await;
    let mut samples = ready(&backplane).await;
    let events = samples.events(&channel("a"), 3);
    apply(&backplane, &events[..2]).await;
    redis_cli(stack.redis(1), &["FLUSHALL"]);
    let refused = apply(&backplane, &events[2..]).await;
    assert_eq!(refused, [ApplyOutcome::Mismatch { marker: None }]);
    let read =
        backplane.read(&channel("a"), samples.stream(), samples.position(), 9).await.unwrap();
    assert_eq!((read.events.len(), read.oldest_prev, read.marker), (0, None, None));
}

/// A replica that lacks the last writes: its marker is as old as its events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_replica_tells_by_its_marker() {
    let stack = Stack::start(Counts { redis: 2, ..Counts::default() });
    let port = stack.redis(1).rsplit(':').next().unwrap();
    redis_cli(stack.redis(2), &["REPLICAOF", "127.0.0.1", port]);
    let master_options = options(stack.redis(1));
    let master = backplane(&master_options).await;
    let mut samples = ready(&master).await;
    let kept = samples.events(&channel("a"), 5);
    apply(&master, &kept).await;
    let key = format!("{}:{{global.1.0}}:p", master_options.prefix);
    let replicated = || redis_cli(stack.redis(2), &["HGET", &key, "m"]).trim() == "1:5";
    until("the replica's copy", async || replicated()).await;
    redis_cli(stack.redis(2), &["REPLICAOF", "NO", "ONE"]);
    let lost = samples.events(&channel("a"), 100);
    apply(&master, &lost).await;
    stack.kill("redis1");

    let url = stack.redis(2).to_owned();
    let promoted = backplane(&meridian_redis::RedisOptions { url, ..master_options }).await;
    let next = samples.event(&channel("a"), "next");
    let marker = Some(kept[4].event.position());
    let refused = apply(&promoted, std::slice::from_ref(&next)).await;
    assert_eq!(refused, [ApplyOutcome::Mismatch { marker }]);
    assert_eq!(promoted.marker(samples.stream()).await, Ok(marker));
    let again = apply(&promoted, &lost).await;
    assert_eq!(again, vec![ApplyOutcome::Applied; 100]);
}
