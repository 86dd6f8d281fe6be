//! The interleavings that delivery.md gives as reasons, one test each.

use meridian_core::seams::Checkpoint;
use meridian_region_router::partition::Outcome;
use meridian_region_router::{Halt, PartitionState, Pause};

use crate::world::{World, at, record};

#[tokio::test(start_paused = true)]
async fn a_failover_that_loses_the_last_writes_of_a_quiet_partition_is_found_while_idle() {
    let world = World::new();
    let running = world.start();
    world.publish_many("a", 3);
    let last = world.publish_many("b", 2);
    world.until_stored().await;
    world.backplane.lose_writes(2);
    assert_eq!(world.backplane.state().marker, Some(at(2)));
    world.until_marked(last).await;
    world.check();
    assert_eq!(world.hot_head("b").await, (None, Some(at(last))), "nothing stale is vouched for");
    assert_eq!(world.hot_head("a").await, (Some(at(2)), Some(at(last))), "what is whole stays");
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_failover_that_loses_writes_under_load_is_found_by_the_next_apply() {
    let world = World::new();
    let running = world.start();
    world.publish_many("a", 3);
    world.until_stored().await;
    world.backplane.lose_writes(2);
    let last = world.publish_many("b", 2);
    world.until_marked(last).await;
    world.until_stored().await;
    world.check();
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_failover_in_the_middle_of_a_batch_loses_nothing() {
    for (after, lost) in [(1, 1), (4, 2), (4, 4), (4, 6)] {
        let world = World::new();
        let mut running = world.start();
        world.publish_many("a", 3);
        world.until_stored().await;
        world.backplane.state().failover_after = Some((after, lost));
        let last = world.publish_many("b", 8);
        world.until_stored().await;
        world.until_marked(last).await;
        world.check();
        running.until_state(PartitionState::Live).await;
        running.kill().await;
    }
}

/// The repair takes its heads from the history: what went out must be there first.
#[tokio::test(start_paused = true)]
async fn a_repair_waits_until_the_history_holds_what_went_out() {
    let world = World::new();
    let mut running = world.start();
    let stored = world.publish_many("a", 3);
    world.until_stored().await;
    world.history.open(false);
    let last = world.publish_many("b", 3);
    running.until_applied(last).await;
    world.backplane.lose_writes(4);
    running.until_state(PartitionState::Paused(Pause::Repairing)).await;
    assert_eq!(world.backplane.state().marker, Some(at(stored - 1)), "not repaired to less");
    world.history.open(true);
    running.until_state(PartitionState::Live).await;
    assert_eq!(world.backplane.state().marker, Some(at(last)));
    world.until_stored().await;
    world.check();
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn the_router_dies_together_with_the_master_that_lost_its_last_writes() {
    let world = World::new();
    let running = world.start();
    world.publish_many("a", 3);
    let last = world.publish_many("b", 2);
    world.until_stored().await;
    running.kill().await;
    world.backplane.lose_writes(3);
    let mut running = world.start();
    running.until_state(PartitionState::Live).await;
    assert_eq!(world.backplane.state().marker, Some(at(last)));
    world.check();
    let next = world.publish_many("b", 1);
    world.until_marked(next).await;
    world.until_stored().await;
    world.check();
    running.kill().await;
}

/// What was lost had not been stored either: it is applied again.
#[tokio::test(start_paused = true)]
async fn the_router_dies_with_the_master_before_the_last_events_were_stored() {
    let world = World::new();
    let mut running = world.start();
    world.publish_many("a", 3);
    world.until_stored().await;
    world.history.open(false);
    let last = world.publish_many("a", 4);
    running.until_applied(last).await;
    running.kill().await;
    world.backplane.lose_writes(2);
    world.history.open(true);
    let running = world.start();
    world.until_stored().await;
    world.check();
    assert_eq!(world.hot_head("a").await, (Some(at(last)), Some(at(last))));
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn an_emptied_redis_is_found_while_idle() {
    let world = World::new();
    let running = world.start();
    let last = world.publish_many("a", 3);
    world.until_stored().await;
    world.backplane.empty();
    world.until_marked(last).await;
    assert_eq!(world.hot_head("a").await, (None, Some(at(last))));
    let next = world.publish_many("a", 1);
    world.until_marked(next).await;
    world.until_stored().await;
    world.check();
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn an_emptied_redis_is_found_at_a_takeover() {
    let world = World::new();
    let running = world.start();
    let last = world.publish_many("a", 3);
    world.until_stored().await;
    running.kill().await;
    world.backplane.empty();
    let mut running = world.start();
    running.until_state(PartitionState::Live).await;
    assert_eq!(world.backplane.state().marker, Some(at(last)));
    world.check();
    running.kill().await;
}

/// Only the marker is gone: what the streams hold is not to be trusted.
#[tokio::test(start_paused = true)]
async fn streams_without_a_marker_are_dropped() {
    let world = World::new();
    let running = world.start();
    let last = world.publish_many("a", 3);
    world.until_stored().await;
    world.backplane.lose_writes(1);
    world.backplane.state().marker = None;
    world.until_marked(last).await;
    world.check();
    assert_eq!(world.hot_head("a").await.0, None);
    running.kill().await;
}

/// A client told "you are at 120" by a Redis that lost X@95 would accept 130 with prev 95.
#[tokio::test(start_paused = true)]
async fn redis_lost_x_at_95_and_the_checkpoint_says_120() {
    let world = World::new();
    let running = world.start();
    for n in 0..=120 {
        let channel = if n == 80 || n == 95 { "x" } else { "y" };
        world.publish(channel, &format!("{n}"));
    }
    world.until_stored().await;
    running.kill().await;
    world.backplane.lose_writes(26);
    assert_eq!(world.hot_head("x").await, (Some(at(80)), Some(at(94))));
    let running = world.start();
    world.until_marked(120).await;
    assert_eq!(world.hot_head("x").await.0, None, "80 would pass for x's last up to 120");
    for n in 121..130 {
        world.publish("y", &format!("{n}"));
    }
    world.publish("x", "130");
    world.until_marked(130).await;
    let prev = world.backplane.state().sent.last().unwrap().prev;
    assert_eq!(prev, meridian_core::vocabulary::Prev::At(at(95)));
    world.until_stored().await;
    world.check();
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_lost_its_tail_and_grew_again_halts() {
    let world = World::new();
    let running = world.start();
    let last = world.publish_many("a", 10);
    world.until_stored().await;
    running.kill().await;
    world.log.lose_from(6);
    for n in 0..10 {
        world.publish("a", &format!("other {n}"));
    }
    let sent = world.backplane.state().sent.len();
    let outcome = world.start().ended().await;
    let Outcome::Halted(Halt::Fingerprint { checkpoint, .. }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(checkpoint, at(last));
    assert_eq!(world.backplane.state().sent.len(), sent, "nothing was guessed");
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_past_the_logs_end_halts() {
    let world = World::new();
    let running = world.start();
    world.publish_many("a", 10);
    world.until_stored().await;
    running.kill().await;
    world.log.lose_from(6);
    let outcome = world.start().ended().await;
    let halt = Halt::CheckpointPastEnd { checkpoint: at(9), end: 6 };
    assert_eq!(outcome, Outcome::Halted(halt));
}

#[tokio::test(start_paused = true)]
async fn a_marker_past_the_logs_end_halts() {
    let world = World::new();
    let mut running = world.start();
    let stored = world.publish_many("a", 5);
    world.until_stored().await;
    world.history.open(false);
    let last = world.publish_many("a", 5);
    running.until_applied(last).await;
    running.kill().await;
    world.history.open(true);
    world.log.lose_from(stored + 2);
    let outcome = world.start().ended().await;
    let halt = Halt::MarkerPastEnd { marker: at(last), end: stored as u64 + 2 };
    assert_eq!(outcome, Outcome::Halted(halt));
}

/// The marker names an event that went out and is now another channel's dropped record.
#[tokio::test(start_paused = true)]
async fn a_marker_that_names_no_event_halts() {
    let world = World::new();
    let mut running = world.start();
    let stored = world.publish_many("a", 5);
    world.until_stored().await;
    world.history.open(false);
    let last = world.publish_many("a", 1);
    running.until_applied(last).await;
    running.kill().await;
    world.history.open(true);
    world.log.lose_from(last);
    let repeat = world.log.records()[stored as usize].stored.clone();
    world.log.write(repeat);
    world.publish("a", "new");
    let outcome = world.start().ended().await;
    assert_eq!(outcome, Outcome::Halted(Halt::MarkerUnknown { marker: at(last) }));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_cut_while_it_is_followed_halts() {
    let world = World::new();
    let running = world.start();
    world.publish_many("a", 5);
    world.until_stored().await;
    world.log.lose_from(2);
    world.log.down(true);
    world.log.down(false);
    let outcome = running.ended().await;
    assert_eq!(outcome, Outcome::Halted(Halt::ReadPastEnd { next: 5, end: 2 }));
}

/// A region seeded from a consistent copy begins at its checkpoint.
#[tokio::test(start_paused = true)]
async fn a_seeded_checkpoint_is_gone_on_from() {
    let world = World::new();
    let fingerprint = {
        world.publish("a", "1");
        meridian_region_router::apply::fingerprint(&record("a", "1").encode())
    };
    world.history.state().checkpoint = Some(Checkpoint {
        position: at(0),
        last_kept: at(0),
        fingerprint,
        begins: meridian_core::vocabulary::Offset(0),
    });
    world.history.state().heads.insert(crate::world::key("a"), at(0));
    let next = world.publish("a", "2");
    let running = world.start();
    world.until_marked(next).await;
    assert_eq!(world.backplane.state().sent.len(), 1);
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_backplane_events_still_reach_the_history_and_it_is_repaired_later() {
    let world = World::new();
    let mut running = world.start();
    world.publish_many("a", 3);
    world.until_stored().await;
    world.backplane.down(true);
    world.publish_many("a", 3);
    running.until_state(PartitionState::HistoryOnly).await;
    world.until_stored().await;
    world.publish_many("b", 3);
    world.until_stored().await;
    world.backplane.down(false);
    let last = world.publish_many("b", 1);
    world.until_marked(last).await;
    running.until_state(PartitionState::Live).await;
    world.until_stored().await;
    world.check();
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_takeover_without_a_backplane_goes_on_into_the_history() {
    let world = World::new();
    world.backplane.down(true);
    world.publish_many("a", 3);
    let mut running = world.start();
    world.until_stored().await;
    running.until_state(PartitionState::HistoryOnly).await;
    world.backplane.down(false);
    world.until_marked(2).await;
    running.until_state(PartitionState::Live).await;
    world.check();
    running.kill().await;
}
