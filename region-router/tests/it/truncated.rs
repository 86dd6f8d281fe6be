//! A log of which the beginning is gone.

use meridian_core::vocabulary::Prev;
use meridian_region_router::partition::Outcome;
use meridian_region_router::{Halt, PartitionState};

use crate::world::{WINDOW_MS, WINDOW_RECORDS, World, at, offset};

#[tokio::test(start_paused = true)]
async fn the_first_w_records_only_fill_the_window_and_first_events_are_of_unknown_prev() {
    let world = World::new();
    world.publish_many("gone", 5);
    let first = world.publish("a", "twice") as u64;
    world.publish_many("b", WINDOW_RECORDS as usize - 1);
    world.publish("a", "twice");
    let one = world.publish("b", "one");
    let two = world.publish("b", "two");
    world.log.truncate_before(first as i64);
    let running = world.start();
    world.until_marked(two).await;
    world.until_stored().await;
    let sent: Vec<_> = world.backplane.state().sent.iter().map(|e| (e.offset, e.prev)).collect();
    let expected = [(offset(one), Prev::Unknown), (offset(two), Prev::At(at(one)))];
    assert_eq!(sent, expected);
    let stored = world.history.state().events[&at(one)].prev;
    assert_eq!(stored, Prev::Unknown, "the history cannot vouch either");
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_does_not_make_first_events_of_what_came_after_gone_ones() {
    let world = World::new();
    let running = world.start();
    world.publish_many("old", 2);
    world.until_stored().await;
    running.kill().await;
    world.backplane.empty();
    let first = world.publish_many("gone", 5) + 1;
    world.publish_many("b", WINDOW_RECORDS as usize);
    world.log.truncate_before(first);
    let running = world.start();
    let before = world.publish("b", "before the restart");
    world.until_marked(before).await;
    world.until_stored().await;
    running.kill().await;
    let running = world.start();
    for channel in ["new", "old", "b"] {
        let marked = world.publish(channel, "after the restart");
        world.until_marked(marked).await;
    }
    let sent: Vec<_> = world.backplane.state().sent.iter().rev().take(3).map(|e| e.prev).collect();
    assert_eq!(sent, [Prev::At(at(before)), Prev::Unknown, Prev::Unknown]);
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_quiet_log_is_filled_by_the_first_d() {
    let world = World::new();
    world.publish_many("gone", 5);
    world.log.truncate_before(5);
    let mut running = world.start();
    running.until_state(PartitionState::Filling).await;
    world.publish("a", "1");
    world.log.advance_ms(WINDOW_MS);
    world.publish("a", "2");
    world.log.advance_ms(1);
    let last = world.publish("a", "3");
    world.until_marked(last).await;
    world.until_stored().await;
    assert_eq!(world.backplane.state().sent.len(), 1);
    assert_eq!(world.history.state().window.len(), 3);
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_while_filling_begins_again() {
    let world = World::new();
    world.publish_many("gone", 5);
    world.log.truncate_before(5);
    let mut running = world.start();
    running.until_state(PartitionState::Filling).await;
    world.publish_many("a", 3);
    running.kill().await;
    assert_eq!(world.history.position(), at(-1));
    let running = world.start();
    let last = world.publish_many("a", WINDOW_RECORDS as usize);
    world.until_marked(last).await;
    assert_eq!(world.backplane.state().sent.len(), 3);
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn retention_that_passes_a_worker_is_said() {
    let world = World::new();
    let running = world.start();
    world.publish_many("a", 3);
    world.until_stored().await;
    running.kill().await;
    world.history.down(true);
    let running = world.start();
    world.publish_many("a", 3);
    world.log.truncate_before(5);
    world.history.down(false);
    let outcome = running.ended().await;
    let halt = Halt::BackplaneOlderThanLog { marker: at(2) };
    assert_eq!(outcome, Outcome::Halted(halt), "its streams can't be told apart");
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_whose_record_is_gone_is_trusted_if_the_next_is_there() {
    let world = World::new();
    let running = world.start();
    let last = world.publish_many("a", 3);
    world.until_stored().await;
    running.kill().await;
    world.log.truncate_before(last + 1);
    let next = world.publish("a", "next");
    let running = world.start();
    world.until_marked(next).await;
    world.until_stored().await;
    world.check();
    running.kill().await;
}
