//! The backplane's suite on one Redis, each check under a limit of its own.

use meridian_core::seams::conformance::{backplane as suite, ledger};
use meridian_stack::{Counts, Stack};
use tokio::time::timeout;

use crate::support::{LIMIT, backplane, options};

/// Runs every check of the suite against `$options()`.
macro_rules! conformance {
    ($options:expr; $($check:ident),+ $(,)?) => {
        $({
            let backplane = backplane(&$options).await;
            let check = timeout(LIMIT, suite::$check(&backplane)).await;
            assert!(check.is_ok(), "{} hangs", stringify!($check));
        })+
    };
}

/// Every check of the suite, and the ledger's; a new one is missed here only if `suite::all` is not looked at.
pub(crate) async fn all(options: impl Fn() -> meridian_redis::RedisOptions) {
    conformance!(
        options();
        an_unknown_partition_needs_a_repair,
        applies_compare_the_marker,
        a_repair_compares_the_marker,
        reads_say_what_is_missing,
        a_broken_chain_starts_anew,
        only_what_the_history_has_is_trimmed,
        followers_get_what_is_applied_after,
        a_full_link_learns_of_it,
        ephemeral_events_reach_followers,
        partitions_do_not_meet,
    );
    ledger::all(|| async { backplane(&options()).await }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conformance_on_one_redis() {
    let stack = Stack::start(Counts { redis: 1, ..Counts::default() });
    all(|| options(stack.redis(1))).await;
}

/// The check that depends most on what is under way when: many times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_links_learn_of_it_time_and_again() {
    let stack = Stack::start(Counts { redis: 1, ..Counts::default() });
    for round in 0..40 {
        let backplane = backplane(&options(stack.redis(1))).await;
        let check = timeout(LIMIT, suite::a_full_link_learns_of_it(&backplane)).await;
        assert!(check.is_ok(), "round {round} hangs");
    }
}
