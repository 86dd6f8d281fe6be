//! One router goes, another comes; sometimes the first comes back.

use meridian_core::vocabulary::Prev;
use meridian_region_router::partition::Outcome;
use meridian_region_router::{PartitionState, Pause};

use crate::world::{World, at, key};

#[tokio::test(start_paused = true)]
async fn a_crash_between_apply_and_commit_changes_nothing() {
    let world = World::new();
    let mut running = world.start();
    world.publish_many("a", 3);
    world.until_stored().await;
    world.history.open(false);
    world.publish("a", "twice");
    let last = world.publish_many("b", 3);
    running.until_applied(last).await;
    running.kill().await;
    world.history.open(true);
    world.publish("a", "twice");
    let running = world.start();
    world.until_stored().await;
    world.check();
    assert_eq!(world.backplane.state().repairs, 1, "the first marker only");
    assert_eq!(world.backplane.state().sent.len(), 7, "repeats are not sent again");
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn the_window_outlives_a_takeover() {
    let world = World::new();
    for round in 0..6 {
        let running = world.start();
        world.publish("a", "same");
        world.publish("a", &format!("{round}"));
        world.until_stored().await;
        running.kill().await;
    }
    world.check();
    assert_eq!(world.history.state().events.len(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_zombie_writes_the_same_things_only_and_is_told() {
    let world = World::new();
    let mut zombie = world.start();
    world.publish_many("a", 3);
    world.until_stored().await;
    world.history.open(false);
    let mut successor = world.start();
    successor.until_state(PartitionState::Live).await;
    // Both follow the log now, side by side.
    for n in 0..20 {
        let last = world.publish_many(&format!("c{}", n % 3), 4);
        zombie.until_applied(last).await;
        successor.until_applied(last).await;
    }
    world.history.open(true);
    assert_eq!(zombie.ended().await, Outcome::Fenced);
    world.until_stored().await;
    world.check();
    assert_eq!(world.backplane.state().sent.len(), 83, "each once");
    successor.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_zombie_that_repairs_is_told_first() {
    let world = World::new();
    let zombie = world.start();
    world.publish_many("a", 3);
    world.until_stored().await;
    let mut successor = world.start();
    successor.until_state(PartitionState::Live).await;
    world.backplane.empty();
    assert_eq!(zombie.ended().await, Outcome::Fenced);
    world.until_marked(2).await;
    successor.kill().await;
    world.check();
}

/// [A paused router wakes up, asks the history for the head of a channel that its successor has gone
/// on with, and would write an event whose `prev` lies after it.]
#[tokio::test(start_paused = true)]
async fn a_zombie_that_sees_its_successors_heads_stops() {
    let world = World::new();
    let mut zombie = world.start();
    world.publish_many("a", 3);
    world.until_stored().await;
    zombie.until_state(PartitionState::Live).await;
    // The successor has stored two events of a channel; the backplane has lost both.
    world.history.state().fence += 1;
    world.history.state().heads.insert(key("z"), at(4));
    world.publish("z", "1");
    world.publish("z", "2");
    assert_eq!(zombie.ended().await, Outcome::Fenced);
    assert_eq!(world.backplane.state().sent.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_takeover_waits_for_the_history_and_says_so() {
    let world = World::new();
    world.history.down(true);
    world.publish_many("a", 3);
    let mut running = world.start();
    running.until_state(PartitionState::Paused(Pause::HistoryUnavailable)).await;
    assert!(world.backplane.state().sent.is_empty());
    world.history.down(false);
    world.until_stored().await;
    world.check();
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_takeover_asks_for_the_heads_that_its_predecessor_knew() {
    let world = World::new();
    let running = world.start();
    let head = world.publish_many("a", 3);
    world.until_stored().await;
    running.kill().await;
    let running = world.start();
    world.publish("a", "next");
    world.until_stored().await;
    assert_eq!(world.backplane.state().sent.last().unwrap().prev, Prev::At(at(head)));
    running.kill().await;
}
