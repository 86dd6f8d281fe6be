//! The backplane's suite on one Redis.

use meridian_core::seams::conformance::backplane as suite;
use meridian_redis::RedisBackplane;
use meridian_stack::{Counts, Stack};

use crate::support::{LIMIT, options};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conformance_on_one_redis() {
    let stack = Stack::start(Counts { redis: 1, ..Counts::default() });
    let make = || connected(&options(stack.redis(1)));
    suite::all(make).await;
}

/// The suite makes its backplanes outside of any future.
pub(crate) fn connected(options: &meridian_redis::RedisOptions) -> RedisBackplane {
    let backplane = RedisBackplane::start(options).unwrap();
    let ready = backplane.wait_connected(LIMIT);
    let ready = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(ready));
    assert!(ready);
    backplane
}
