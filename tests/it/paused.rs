//! A router that sleeps past its session: another one takes its partitions over; when it wakes it changes
//! nothing, is told, and joins again.

use std::time::Duration;

use meridian_client::Transport;

use crate::node::eventually_within;
use crate::servers::{Regions, Setup};
use crate::witnesses::{Cast, Witnesses};

const PATIENCE: Duration = Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread")]
async fn a_router_paused_past_its_session_changes_nothing_when_it_wakes() {
    let mut regions = Regions::start_with(Setup::ONE).await;
    regions.add_router("router11", 1).await;
    let halves = async |regions: &Regions| {
        for name in ["router1", "router11"] {
            regions.tells(name, "4 of 8 partitions").await;
        }
    };
    halves(&regions).await;
    let cast = Cast { publishers: 4, readers: 16, channels: 8, pace: Duration::from_millis(10) };
    let door = |_, transport: Transport| regions.door(1, transport);
    let witnesses = Witnesses::start_at(&door, &cast).await;
    let flows = async || {
        let wanted = witnesses.acknowledged() + 200;
        let enough = || (witnesses.acknowledged() >= wanted).then_some(());
        eventually_within(PATIENCE, "more events", enough).await;
    };
    for _ in 0..2 {
        flows().await;
        regions.pause("router11");
        // All that was acknowledged, its partitions' too.
        flows().await;
        let took = witnesses.caught_up(PATIENCE).await;
        regions.tells("router1", "8 of 8 partitions").await;
        println!("taken over in {took:?}");
        flows().await;
        regions.resume("router11");
        halves(&regions).await;
        flows().await;
        witnesses.caught_up(PATIENCE).await;
    }
    let verdict = witnesses.finish_at(&door).await;
    println!("{verdict:?}");
    assert_eq!(verdict.unacknowledged, 0, "{verdict:?}");
}
