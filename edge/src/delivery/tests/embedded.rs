//! The same edge on the embedded stores, files and all: what `dev` runs.

use meridian_core::embedded::{self, Keep, Options};
use meridian_core::vocabulary::{Cursor, Position};
use std::sync::Arc;

use super::region::{Region, policies, run_for_real};
use crate::delivery::From;
use crate::hub::testing::key;

#[test]
fn a_readers_truth_survives_a_restart_retention_and_repeats() {
    run_for_real(async {
        let folder = tempfile::tempdir().unwrap();
        let mut held = Vec::new();
        let mut from = None;
        for life in 0..3 {
            let stores = embedded::open(folder.path(), Options::default()).await.unwrap();
            let mut region = Region::on(
                stores.log.clone(),
                stores.history.clone(),
                stores.backplane.clone(),
                stores.backplane.clone(),
            )
            .await;
            region.start_router();
            let mut client = region.subscribe("a:x", from.clone().unwrap_or(From::Now)).await;
            for n in 0..40 {
                region.publish("a:x", &format!("{life}-{n}")).await;
                region.publish("a:x", &format!("{life}-{}", n / 2)).await;
            }
            region.until(&mut client, "all", |chain| chain.held.len() == 40).await;
            assert!(client.gaps().is_empty());
            held.extend(client.chain.held.clone());
            let stream = region.stream("a:x");
            let (log, partition) = (stream.log, stream.partition);
            from = Some(From::Cursor(Cursor { log, partition, position: client.chain.position }));
            region.kill_routers();
            drop((client, region));
            stores.close().await;
        }
        assert!(held.is_sorted_by(|a, b| a < b) && held.len() == 120);
    });
}

#[test]
fn what_retention_removed_from_the_files_is_a_gap_for_who_lacked_it() {
    run_for_real(async {
        let folder = tempfile::tempdir().unwrap();
        let stores = embedded::open(folder.path(), Options::default()).await.unwrap();
        let (log, history) = (stores.log.clone(), stores.history.clone());
        let hot = stores.backplane.clone();
        let mut region = Region::on(log.clone(), history.clone(), hot.clone(), hot).await;
        region.start_router();
        let mut last = Position::start_of(region.stream("a:x").epoch);
        for n in 0..30 {
            last.passed = region.publish("a:x", &format!("{n}")).await;
        }
        region.until_held("a:x", last).await;
        region.kill_routers();
        let policies = policies(5);
        while history.retain(&policies, 0).await.unwrap().events > 0 {}
        stores.retain(&policies, Keep::default()).await.unwrap();
        // Another node, whose backplane is empty.
        let empty = Arc::new(embedded::InProcessBackplane::new(Default::default()));
        let mut region = Region::on(log, history, empty.clone(), empty).await;
        region.start_router();
        let stream = region.stream("a:x");
        let (log, partition) = (stream.log, stream.partition);
        let position = Position::start_of(stream.epoch);
        let from = From::Cursor(Cursor { log, partition, position });
        let mut client = region.subscribe("a:x", from).await;
        region.until(&mut client, "the last", |chain| chain.position >= last).await;
        assert_eq!(client.chain.held.len(), 5);
        assert_eq!(client.gaps().len(), 1);
        assert_eq!(client.key, key("a:x"));
        drop((client, region));
        stores.close().await;
    });
}
