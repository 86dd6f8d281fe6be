//! A worker at its daily work, and with one store away.

use meridian_core::vocabulary::{Epoch, Prev};
use meridian_region_router::partition::Outcome;
use meridian_region_router::{Halt, PartitionState, Pause};
use tokio::time::Instant;

use crate::world::{World, at, key, record};

#[tokio::test(start_paused = true)]
async fn events_go_out_in_order_and_into_the_history_once() {
    let world = World::new();
    let running = world.start();
    for (channel, id) in [("a", "1"), ("b", "1"), ("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")] {
        world.publish(channel, id);
    }
    world.until_stored().await;
    assert_eq!(running.stop().await, Outcome::Stopped);
    world.check();
    let sent: Vec<_> = world.backplane.state().sent.iter().map(|e| (e.offset.0, e.prev)).collect();
    let prev = |passed| Prev::At(at(passed));
    assert_eq!(sent, [(0, Prev::None), (1, Prev::None), (3, prev(0)), (5, prev(1))]);
}

#[tokio::test(start_paused = true)]
async fn an_idle_partition_applies_at_once() {
    let world = World::new();
    let mut running = world.start();
    running.until_state(PartitionState::Live).await;
    let published = Instant::now();
    for n in 0..10 {
        let offset = world.publish("a", &format!("{n}"));
        world.until_marked(offset).await;
    }
    assert_eq!(published.elapsed().as_nanos(), 0, "a timer stood in the way");
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn live_does_not_wait_for_a_commit() {
    let world = World::new();
    let mut running = world.start();
    world.history.open(false);
    for _ in 0..20 {
        let last = world.publish_many("a", 3);
        running.until_applied(last).await;
    }
    assert_eq!(world.history.position(), at(-1));
    world.history.open(true);
    world.until_stored().await;
    world.check();
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_stopping_worker_stores_what_went_out() {
    let world = World::new();
    let mut running = world.start();
    running.until_state(PartitionState::Live).await;
    world.history.down(true);
    let last = world.publish_many("a", 5);
    running.until_applied(last).await;
    world.history.down(false);
    assert_eq!(running.stop().await, Outcome::Stopped);
    assert_eq!(world.history.position(), at(last));
    world.check();
}

#[tokio::test(start_paused = true)]
async fn with_the_history_down_live_goes_on_to_the_bound_then_pauses_and_says_so() {
    let mut world = World::new();
    world.options.unwritten_bytes = 4_000;
    world.options.read_records = 4;
    let mut running = world.start();
    let before = world.publish_many("a", 2);
    world.until_stored().await;
    world.history.down(true);
    world.publish_many("a", 200);
    running.until_state(PartitionState::Paused(Pause::UnwrittenFull)).await;
    let status = running.status.borrow().clone();
    assert!(status.applied > at(before), "live went on");
    assert!((4_000..8_000).contains(&status.unwritten_bytes), "{}", status.unwritten_bytes);
    assert_eq!(status.checkpoint, Some(at(before)));
    world.history.down(false);
    world.until_stored().await;
    running.until_state(PartitionState::Live).await;
    world.check();
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn with_the_history_down_a_cold_channels_prev_is_unknown_until_it_is_stored() {
    let mut world = World::new();
    world.options.heads = 2;
    let mut running = world.start();
    world.publish("cold", "1");
    for n in 0..10 {
        let last = world.publish(&format!("other{n}"), "1");
        running.until_applied(last).await;
        world.until_stored().await;
    }
    // Nothing of it is hot any more.
    world.backplane.state().streams.remove(&key("cold"));
    world.history.down(true);
    let first = world.publish("cold", "2");
    let second = world.publish("cold", "3");
    running.until_applied(second).await;
    let sent: Vec<_> = world.backplane.state().sent.iter().rev().take(2).map(|e| e.prev).collect();
    assert_eq!(sent, [Prev::At(at(first)), Prev::Unknown]);
    world.history.down(false);
    world.until_stored().await;
    world.check();
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn with_the_history_down_the_backplane_tells_a_forgotten_head() {
    let mut world = World::new();
    world.options.heads = 2;
    let mut running = world.start();
    let head = world.publish("cold", "1");
    for n in 0..10 {
        let last = world.publish(&format!("other{n}"), "1");
        running.until_applied(last).await;
        world.until_stored().await;
    }
    world.history.down(true);
    let last = world.publish("cold", "2");
    running.until_applied(last).await;
    assert_eq!(world.backplane.state().sent.last().unwrap().prev, Prev::At(at(head)));
    world.history.down(false);
    world.until_stored().await;
    world.check();
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_acknowledgement_of_an_apply_is_a_repeat() {
    let world = World::new();
    let running = world.start();
    world.publish_many("a", 2);
    world.until_stored().await;
    world.backplane.state().lost_answers = 3;
    world.publish_many("b", 5);
    world.until_stored().await;
    world.check();
    assert_eq!(world.backplane.state().sent.len(), 7, "each once");
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_acknowledgement_of_a_commit_stores_nothing_twice() {
    let world = World::new();
    let running = world.start();
    world.history.state().lost_answers = 2;
    world.publish_many("a", 3);
    world.until_stored().await;
    let last = world.publish_many("a", 3);
    world.until("stored", |w| w.history.position() == at(last)).await;
    world.check();
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_does_not_answer_is_waited_for() {
    let world = World::new();
    let mut running = world.start();
    running.until_state(PartitionState::Live).await;
    world.log.down(true);
    running.until_state(PartitionState::Paused(Pause::LogUnavailable)).await;
    world.publish_many("a", 3);
    world.log.down(false);
    world.until_stored().await;
    running.until_state(PartitionState::Live).await;
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_stops_nothing() {
    let world = World::new();
    let running = world.start();
    world.publish("a", "1");
    world.log.write(bytes::Bytes::from_static(b"no envelope"));
    let mut newer = record("a", "2");
    newer.body = bytes::Bytes::from_static(b"\x02from tomorrow");
    world.log.write(newer.encode());
    world.publish("a", "3");
    world.until_stored().await;
    world.check();
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn another_epochs_stamp_halts_after_what_stands_before_it() {
    let world = World::new();
    world.publish_many("a", 3);
    let mut foreign = record("a", "x");
    foreign.epoch = Epoch(2);
    let offset = world.log.write(foreign.encode());
    world.publish_many("a", 3);
    let outcome = world.start().ended().await;
    let Outcome::Halted(Halt::ForeignEpoch(found)) = outcome else { panic!("{outcome:?}") };
    assert_eq!((found.at, found.stamped), (at(offset), Epoch(2)));
    assert_eq!(world.history.position(), at(offset - 1));
    assert_eq!(world.backplane.state().marker, Some(at(offset - 1)));
}
