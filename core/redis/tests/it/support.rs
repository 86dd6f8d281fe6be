//! A backplane of its own prefix on shared servers, so that each check finds it empty.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use meridian_core::seams::conformance::{Samples, backplane as suite, stream};
use meridian_core::seams::{Applied, ApplyOutcome, Backplane as _, Delivery, Link, Stale};
use meridian_core::vocabulary::ChannelKey;
use meridian_redis::{HotBounds, RedisBackplane, RedisOptions, Timing};
use tokio::time::timeout;

/// Long enough for a busy machine: a test that waits for it has failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// The suite's bounds, a prefix of its own, and short pauses.
pub(crate) fn options(url: &str) -> RedisOptions {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    RedisOptions {
        url: url.to_owned(),
        prefix: format!("mrd{}", NEXT.fetch_add(1, Ordering::Relaxed)),
        hot: HotBounds { channel_events: suite::CHANNEL_EVENTS as u64, ..HotBounds::default() },
        link_capacity: suite::LINK_CAPACITY,
        timing: Timing {
            reconnect_pause: Duration::from_millis(50),
            probe_interval: Duration::from_millis(200),
            ..Timing::default()
        },
        ..RedisOptions::default()
    }
}

/// Connected.
pub(crate) async fn backplane(options: &RedisOptions) -> RedisBackplane {
    let backplane = RedisBackplane::start(options).unwrap();
    assert!(backplane.wait_connected(LIMIT).await, "{options:?}");
    backplane
}

/// Waits until `ready` says so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, ready: impl Fn() -> F) {
    let start = tokio::time::Instant::now();
    while !ready().await {
        assert!(start.elapsed() < LIMIT, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The same, off the runtime.
pub(crate) fn wait_until(what: &str, ready: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !ready() {
        assert!(start.elapsed() < LIMIT, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What `redis-cli` prints.
pub(crate) fn redis_cli(url: &str, args: &[&str]) -> String {
    let output = std::process::Command::new("redis-cli").arg("-u").arg(url).args(args).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A partition that may be written to, and the maker of its events.
pub(crate) async fn ready(backplane: &RedisBackplane) -> Samples {
    let samples = Samples::new(stream(1, 0));
    let repaired = backplane.repair(samples.stream(), None, Stale::All, samples.position()).await;
    assert_eq!(repaired, Ok(true));
    samples
}

pub(crate) async fn follow(link: &Link, samples: &Samples, keys: &[ChannelKey]) {
    let channels: Vec<_> = keys.iter().map(|key| (key.clone(), samples.stream().clone())).collect();
    timeout(LIMIT, link.control.follow(&channels)).await.unwrap().unwrap();
}

pub(crate) async fn next(link: &mut Link) -> Delivery {
    timeout(LIMIT, link.deliveries.recv()).await.unwrap().unwrap()
}

pub(crate) async fn apply(backplane: &RedisBackplane, events: &[Applied]) -> Vec<ApplyOutcome> {
    backplane.apply(&stream(1, 0), events).await.unwrap()
}

/// Applies what must be new there.
pub(crate) async fn apply_all(backplane: &RedisBackplane, events: &[Applied]) {
    let outcomes = apply(backplane, events).await;
    assert_eq!(outcomes, vec![ApplyOutcome::Applied; events.len()]);
}
