//! The history's suite.

use async_trait::async_trait;
use meridian_core::seams::conformance::history::{self as suite, HistoryFixture};
use meridian_core::seams::conformance::{Printed, seeds};
use meridian_core::vocabulary::ChannelKey;
use meridian_postgres::PostgresHistory;
use sqlx::Connection;

use crate::server::Server;

pub(crate) struct Fixture(pub(crate) Server);

#[async_trait]
impl HistoryFixture for Fixture {
    type History = PostgresHistory;

    async fn open(&self) -> PostgresHistory {
        self.0.open().await
    }

    async fn shut(&self, history: PostgresHistory) {
        history.close().await;
    }

    /// As if days' tables were dropped, but to the event.
    async fn retain(&self, _: &PostgresHistory, key: &ChannelKey, keep: u64) {
        let mut connection = self.0.connect().await;
        sqlx::query(
            "WITH kept AS (SELECT epoch, passed FROM events e JOIN channels c ON c.id = e.channel_id \
             WHERE c.tenant = $1 AND c.name = $2 ORDER BY 1 DESC, 2 DESC LIMIT $3) \
             DELETE FROM events e USING channels c WHERE c.id = e.channel_id \
             AND c.tenant = $1 AND c.name = $2 AND (e.epoch, e.passed) NOT IN (SELECT * FROM kept)",
        )
        .bind(key.tenant.as_str())
        .bind(key.channel.as_str())
        .bind(keep as i64)
        .execute(&mut connection)
        .await
        .unwrap();
        let sql = "SELECT prune_removals((SELECT min(time_ms) FROM events))";
        sqlx::query(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}

#[tokio::test]
async fn readers_of_a_feed_converge() {
    for seed in seeds(3) {
        let _printed = Printed(seed);
        suite::readers_of_a_feed_converge(&Fixture(Server::shared().await), seed).await;
    }
}

#[tokio::test]
async fn no_reader_is_misled() {
    for seed in seeds(3) {
        let _printed = Printed(seed);
        suite::no_reader_is_misled(&Fixture(Server::shared().await), seed).await;
    }
}

/// Each check of the suite gets a schema of its own.
macro_rules! checks {
    ($($check:ident)*) => {
        $(#[tokio::test]
        async fn $check() {
            suite::$check(&Fixture(Server::shared().await)).await;
        })*

        /// The suite as a whole holds no check that is missing here.
        #[test]
        fn all_checks_are_run() {
            let suite = include_str!("../../../src/seams/conformance/history.rs");
            let called = suite.matches("(&fixture()).await;").count();
            assert_eq!([$(stringify!($check)),*].len(), called);
        }
    };
}

checks! {
    a_claim_fences_the_owner_before
    a_commit_is_whole
    repeated_commits_are_harmless
    a_claim_returns_the_newest_window
    marks_are_kept_with_the_checkpoint
    commits_outlive_the_handle
    heads_outlive_events
    changed_channels_are_found
    partitions_commit_side_by_side
    reads_are_chained
    reads_keep_their_bounds
    an_idle_channel_is_no_gap
    ahead_of_the_checkpoint_is_not_yet
    what_retention_removed_is_gone
    what_is_too_old_counts_as_removed
    another_epoch_is_a_gap
    an_unknown_predecessor_is_vouched_for_or_a_gap
    what_lies_before_the_view_is_unknown
    the_newest_events_are_read
    a_forgotten_removal_is_a_gap
    values_outlive_an_epoch
    acknowledged_positions_merge
    acknowledged_positions_outlive_the_handle
}
