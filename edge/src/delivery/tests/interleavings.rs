//! The interleavings in brackets of the delivery rules, as far as edges read.

use std::sync::Arc;
use std::time::Duration;

use meridian_core::embedded::faulty::{Announce, Rule};
use meridian_core::seams::Log;
use meridian_core::vocabulary::{Cursor, Event, Position, Prev};
use tokio::time::{Instant, sleep};

use super::client::Client;
use super::region::run;
use super::slow::Follows;
use super::world::World;
use crate::delivery::From;
use crate::delivery::sweep::SWEEP;
use crate::hub::testing::{at, event, key, stream};

/// Half a step of the sweep, and what a repair takes.
const SLACK: Duration = Duration::from_millis(300);

fn cursor(world: &World, passed: i64) -> From {
    let stream = world.stream("a:x");
    let position = Position { epoch: stream.epoch, passed };
    From::Cursor(Cursor { log: stream.log, partition: stream.partition, position })
}

async fn publish_many(world: &World, channel: &str, count: usize) -> i64 {
    let mut last = -1;
    for _ in 0..count {
        last = world.publish(channel, &format!("{channel}-{}", world.log.records().len())).await;
    }
    last
}

/// How long it takes until the client holds the event.
async fn time_to(world: &World, client: &mut Client, passed: i64) -> Duration {
    let start = Instant::now();
    world.until(client, &format!("{passed}"), |chain| chain.offsets().contains(&passed)).await;
    start.elapsed()
}

#[test]
fn redis_lost_x_at_95_and_the_checkpoint_says_120() {
    run(async {
        let mut world = World::new(1).await;
        publish_many(&world, "a:x", 3).await;
        publish_many(&world, "a:y", 92).await;
        assert_eq!(world.publish("a:x", "x95").await, 95);
        assert_eq!(publish_many(&world, "a:y", 25).await, 120);
        world.until_stored().await;
        // Nobody is there to repair it: what edges read must be right all the same.
        world.kill_routers();
        world.backplane.lose_writes(&stream(), 60, Announce::Silent).await.unwrap();
        let mut client = world.subscribe("a:x", cursor(&world, 90)).await;
        assert!(time_to(&world, &mut client, 95).await <= SWEEP + SLACK);
        world.start_router();
        assert_eq!(world.publish("a:y", "y121").await, 121);
        let x = world.publish("a:x", "x122").await;
        time_to(&world, &mut client, x).await;
        assert_eq!(client.chain.offsets(), [95, 122]);
        assert!(client.gaps().is_empty());
    });
}

#[test]
fn a_dropped_last_message_of_a_quiet_channel_is_found_by_the_sweep() {
    run(async {
        let world = World::new(2).await;
        let mut client = world.subscribe("a:x", From::Now).await;
        let first = world.publish("a:x", "1").await;
        time_to(&world, &mut client, first).await;
        for n in 2..6 {
            sleep(Duration::from_millis(n * 777)).await;
            let drop = Rule::DropNext { channel: key("a:x"), count: 1 };
            world.backplane.set_rules(vec![drop]);
            let last = world.publish("a:x", &format!("{n}")).await;
            let took = time_to(&world, &mut client, last).await;
            assert!(took > Duration::ZERO && took <= SWEEP + SLACK, "{took:?}");
        }
        assert_eq!(
            client.chain.offsets(),
            world.truth("a:x").iter().map(|p| p.passed).collect::<Vec<_>>()
        );
    });
}

#[test]
fn a_backplane_emptied_while_live_loses_nothing() {
    for announce in [Announce::Lossy, Announce::Silent] {
        run(async {
            let world = World::new(3).await;
            let mut client = world.subscribe("a:x", From::Now).await;
            let mut quiet = world.subscribe("a:z", From::Now).await;
            publish_many(&world, "a:x", 3).await;
            world.backplane.set_rules(vec![
                Rule::DropNext { channel: key("a:x"), count: 1 },
                Rule::DropNext { channel: key("a:z"), count: 1 },
            ]);
            let lost = world.publish("a:x", "lost").await;
            let quiet_lost = world.publish("a:z", "lost").await;
            world.until_stored().await;
            world.backplane.forget_everything(announce).await.unwrap();
            // Only the history has them; the backplane knows no head of these channels any more.
            assert!(time_to(&world, &mut quiet, quiet_lost).await <= SWEEP + SLACK);
            assert!(time_to(&world, &mut client, lost).await <= SWEEP + SLACK);
            let next = world.publish("a:x", "next").await;
            time_to(&world, &mut client, next).await;
            assert!(client.gaps().is_empty() && quiet.gaps().is_empty());
        });
    }
}

#[test]
fn a_failover_that_loses_the_last_writes_of_a_quiet_partition() {
    run(async {
        let world = World::new(4).await;
        let mut live = world.subscribe("a:x", From::Now).await;
        publish_many(&world, "a:x", 4).await;
        world.backplane.set_rules(vec![Rule::DropNext { channel: key("a:x"), count: 1 }]);
        let last = world.publish("a:x", "last").await;
        world.until_stored().await;
        world.backplane.lose_writes(&stream(), 4, Announce::Silent).await.unwrap();
        let mut newcomer = world.subscribe("a:x", cursor(&world, 1)).await;
        assert!(time_to(&world, &mut newcomer, last).await <= SWEEP + SLACK);
        assert!(time_to(&world, &mut live, last).await <= SWEEP + SLACK);
        let next = world.publish("a:x", "next").await;
        for client in [&mut live, &mut newcomer] {
            time_to(&world, client, next).await;
            assert!(client.gaps().is_empty());
        }
        assert_eq!(newcomer.chain.offsets(), [2, 3, 4, 5]);
    });
}

#[test]
fn the_router_dies_together_with_its_redis() {
    run(async {
        let mut world = World::new(5).await;
        let mut client = world.subscribe("a:x", From::Now).await;
        publish_many(&world, "a:x", 3).await;
        world.until_stored().await;
        world.kill_routers();
        world.backplane.forget_everything(Announce::Silent).await.unwrap();
        let last = publish_many(&world, "a:x", 3).await;
        sleep(Duration::from_secs(3)).await;
        world.start_router();
        world.start_router();
        time_to(&world, &mut client, last).await;
        assert_eq!(client.chain.offsets(), [0, 1, 2, 3, 4, 5]);
    });
}

#[test]
fn a_lost_follow_confirmation_loses_no_event() {
    run(async {
        let world = World::new(6).await;
        publish_many(&world, "a:x", 2).await;
        world.slow.set_follows(Follows { unconfirmed: 3, takes: Duration::from_millis(20) });
        let publishing = async {
            for n in 0..20 {
                world.publish("a:x", &format!("during-{n}")).await;
                sleep(Duration::from_millis(10)).await;
            }
        };
        let (mut client, ()) = tokio::join!(world.subscribe("a:x", cursor(&world, 0)), publishing);
        let last = publish_many(&world, "a:x", 1).await;
        time_to(&world, &mut client, last).await;
        assert_eq!(client.chain.offsets(), (1..=last).collect::<Vec<_>>());
        assert!(client.gaps().is_empty());
    });
}

#[test]
fn leaving_and_returning_at_once_ends_followed() {
    run(async {
        let world = World::new(7).await;
        world.slow.set_follows(Follows { unconfirmed: 0, takes: Duration::from_millis(300) });
        for round in 0..4 {
            let mut client = world.subscribe("a:x", From::Now).await;
            let event = world.publish("a:x", &format!("{round}")).await;
            let took = time_to(&world, &mut client, event).await;
            assert!(took < Duration::from_millis(50), "not followed: {took:?}");
            world.leave(&client);
            // Closed after its linger; the next round comes while the backplane is still leaving it.
            while world.hands.hub.borrow().size().0 > 0 {
                sleep(Duration::from_millis(10)).await;
            }
        }
    });
}

#[test]
fn what_retention_removed_is_told_as_one_gap_to_who_lacked_it_only() {
    run(async {
        let world = World::new(8).await;
        let mut slow = world.subscribe("a:x", From::Now).await;
        let mut fast = world.subscribe("a:x", From::Now).await;
        publish_many(&world, "a:x", 2).await;
        world.until(&mut slow, "2", |chain| chain.held.len() == 2).await;
        world.leave(&slow);
        let last = publish_many(&world, "a:x", 40).await;
        time_to(&world, &mut fast, last).await;
        world.until_stored().await;
        world.history.retain(&key("a:x"), 10);
        let mut slow = world.resume(slow).await;
        time_to(&world, &mut slow, last).await;
        let [(_, to)] = slow.gaps()[..] else { panic!("{:?}", slow.gaps()) };
        assert!(to <= last - 10, "{to}");
        assert!(fast.gaps().is_empty());
        assert_eq!(fast.chain.held.len(), 42);
    });
}

#[test]
fn an_old_cursor_gets_the_old_epoch_then_a_gap_then_the_new_one() {
    run(async {
        let world = World::with_epoch(9, 2).await;
        for offset in 0..5u64 {
            let old = event(offset, offset.checked_sub(1).map(|prev| prev as i64));
            world.history.store_old(Arc::new(Event { key: key("a:x"), ..Event::clone(&old) }));
        }
        let log = world.log.incarnation().log.clone();
        let old = Cursor { log, partition: stream().partition, position: at(1, 1) };
        publish_many(&world, "a:y", 3).await;
        let last = publish_many(&world, "a:x", 2).await;
        let mut client = world.subscribe("a:x", From::Cursor(old)).await;
        world.until(&mut client, "5", |chain| chain.held.len() == 5).await;
        assert_eq!(client.chain.held, [at(1, 2), at(1, 3), at(1, 4), at(2, 3), at(2, last)]);
        assert_eq!(client.chain.gaps, [(at(1, 4), at(2, -1))]);
    });
}

#[test]
fn a_worker_whose_mailbox_overflowed_reads_what_it_missed() {
    run(async {
        let world = World::new(10).await;
        let mut client = world.subscribe("a:x", From::Now).await;
        // Far more than a mailbox holds, in one go, on two channels.
        publish_many(&world, "a:y", 300).await;
        let last = publish_many(&world, "a:x", 300).await;
        assert!(time_to(&world, &mut client, last).await <= SWEEP + SLACK);
        assert_eq!(client.chain.held.len(), 300);
        assert!(client.gaps().is_empty());
    });
}

#[test]
fn an_event_whose_predecessor_no_store_can_tell_comes_once_after_its_gap() {
    run(async {
        let mut world = World::new(11).await;
        let mut client = world.subscribe("a:x", From::Now).await;
        publish_many(&world, "a:x", 2).await;
        world.until(&mut client, "2", |chain| chain.held.len() == 2).await;
        world.kill_routers();
        let unknown =
            Event { key: key("a:x"), prev: Prev::Unknown, ..Event::clone(&event(5, None)) };
        world.history.store_old(Arc::new(unknown));
        world.history.set_position(at(1, 7));
        let mut late = world.subscribe("a:x", cursor(&world, 0)).await;
        for client in [&mut client, &mut late] {
            time_to(&world, client, 5).await;
            assert_eq!(client.gaps(), [(1, 4)]);
        }
        assert_eq!(late.chain.offsets(), [1, 5]);
    });
}
