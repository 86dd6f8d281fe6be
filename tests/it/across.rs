//! Two regions with a slow link between them, without loss and with: one order on both ends, and clients that
//! go on across it when their region's edge is gone.

use std::time::Duration;

use meridian_client::Transport;

use crate::client::{go_on_elsewhere, token};
use crate::far;
use crate::node::eventually_within;
use crate::servers::Regions;
use crate::witnesses::{Cast, Witnesses};

/// A WebTransport client learns of an edge that is gone for good by silence, which takes it some 40 s.
const PATIENCE: Duration = Duration::from_secs(90);

/// A client that is behind the link, and goes from edge to edge across it with its cursor.
async fn a_cursor_goes_on_across(regions: &Regions) {
    let connect = async |at: usize, transport, user: &str| {
        let door = regions.only_door(2 - at, transport).token(token(user));
        regions.connect(2, door).await
    };
    go_on_elsewhere(4, connect).await;
}

/// Publishers and readers on both ends, while the far end's edge is killed.
async fn one_order_on_both_ends(regions: &mut Regions) {
    let cast = Cast { publishers: 4, readers: 16, channels: 4, pace: Duration::from_millis(10) };
    let gate = |regions: &Regions, n: usize, transport: Transport| {
        let region = 1 + n / 2 % 2;
        (regions.door(region, transport), regions.place(region))
    };
    let witnesses = Witnesses::start_from(&|n, transport| gate(regions, n, transport), &cast).await;
    let flows = async || {
        let wanted = witnesses.acknowledged() + 200;
        let enough = || (witnesses.acknowledged() >= wanted).then_some(());
        eventually_within(PATIENCE, "more events", enough).await;
        witnesses.caught_up(PATIENCE).await
    };
    let at_home = flows().await;
    regions.kill("edge2");
    let moved = flows().await;
    let verdict = witnesses.finish_from(&|n, transport| gate(regions, n, transport)).await;
    println!("caught up in {at_home:?}, after the edge's end in {moved:?}; {verdict:?}");
    assert!(verdict.reconnects >= 8, "half of the readers moved: {verdict:?}");
    assert_eq!(verdict.unacknowledged, 0, "{verdict:?}");
}

async fn regions_apart(loss_percent: f64) {
    let Some(link) = far::link(loss_percent) else { return };
    let mut regions = Regions::start_over(link).await;
    a_cursor_goes_on_across(&regions).await;
    one_order_on_both_ends(&mut regions).await;
    let packets = regions.close();
    println!("{packets:?}");
    assert_eq!(packets.lost > 0, loss_percent > 0.0, "{packets:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_order_and_failover_across_a_slow_link() {
    regions_apart(0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_order_and_failover_across_a_link_that_loses_packets() {
    regions_apart(1.0).await;
}
