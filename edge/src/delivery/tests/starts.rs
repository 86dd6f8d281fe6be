//! Where subscriptions start, and what readers get while a store is away or not that far.

use std::time::Duration;

use meridian_core::embedded::faulty::Announce;
use meridian_core::protocol::{Code, ReplyError};
use meridian_core::seams::{Acknowledged, AcknowledgedKey, History};
use meridian_core::vocabulary::{
    Channel, Cursor, Partition, Position, SubscriberName, Tenant, UserId,
};
use tokio::time::{Instant, sleep, timeout};

use super::region::run;
use super::world::World;
use crate::delivery::{From, ReadError, read_after, resolve};
use crate::hub::testing::{at, key, stream};
use crate::session::{behind, read_page};

async fn publish(world: &World, channel: &str, count: usize) -> i64 {
    let mut last = -1;
    for _ in 0..count {
        last = world.publish(channel, &format!("{channel}-{}", world.log.records().len())).await;
    }
    last
}

fn cursor(passed: i64) -> Cursor {
    Cursor { log: stream().log, partition: Partition(0), position: at(1, passed) }
}

async fn start(world: &World, from: From) -> Result<i64, ReplyError> {
    let found = resolve(&world.stores, &key("a:x"), &world.stream("a:x"), from).await;
    found.map(|found| found.position.passed)
}

#[test]
fn the_newest_n_come_from_both_stores() {
    run(async {
        let world = World::new(1).await;
        publish(&world, "a:x", 10).await;
        publish(&world, "a:y", 3).await;
        world.until_stored().await;
        // Hot history keeps six.
        for (count, held) in [(2, 2), (6, 6), (8, 8), (10, 10), (50, 10)] {
            let mut client = world.subscribe("a:x", From::Last(count)).await;
            world.until(&mut client, "9", |chain| chain.offsets().contains(&9)).await;
            assert_eq!(client.chain.held.len(), held);
        }
        world.history.retain(&key("a:x"), 7);
        let mut client = world.subscribe("a:x", From::Last(50)).await;
        world.until(&mut client, "9", |chain| chain.offsets().contains(&9)).await;
        assert_eq!((client.chain.held.len(), client.gaps().len()), (7, 0));
    });
}

#[test]
fn the_newest_n_of_a_channel_without_events_begin_with_what_is_not_applied_yet() {
    run(async {
        let mut world = World::new(2).await;
        publish(&world, "a:y", 3).await;
        world.until_stored().await;
        world.kill_routers();
        let first = publish(&world, "a:x", 2).await - 1;
        let mut client = world.subscribe("a:x", From::Last(1)).await;
        world.start_router();
        world.until(&mut client, "all", |chain| chain.held.len() == 2).await;
        assert_eq!(client.chain.offsets(), [first, first + 1]);
    });
}

#[test]
fn from_now_is_the_logs_end_even_where_the_region_is_behind() {
    run(async {
        let mut world = World::new(3).await;
        world.kill_routers();
        publish(&world, "a:x", 3).await;
        assert_eq!(start(&world, From::Now).await, Ok(2));
        let mut client = world.subscribe("a:x", From::Now).await;
        publish(&world, "a:x", 1).await;
        world.start_router();
        world.until(&mut client, "3", |chain| !chain.held.is_empty()).await;
        assert_eq!(client.chain.offsets(), [3]);
        assert!(client.gaps().is_empty());
    });
}

#[test]
fn cursors_that_are_none_of_this_channel() {
    run(async {
        let world = World::new(4).await;
        publish(&world, "a:x", 3).await;
        let foreign = Cursor { partition: Partition(1), ..cursor(0) };
        let beyond_epoch =
            Cursor { position: Position { epoch: at(2, 0).epoch, passed: -1 }, ..cursor(0) };
        for (cursor, code) in [
            (foreign, Code::ForeignCursor),
            (cursor(3), Code::CursorBeyondEnd),
            (beyond_epoch, Code::CursorBeyondEnd),
        ] {
            let refused = start(&world, From::Cursor(cursor)).await.unwrap_err();
            assert_eq!(refused.code, code.name());
        }
        assert_eq!(start(&world, From::Cursor(cursor(2))).await, Ok(2));
    });
}

#[test]
fn an_acknowledged_position_else_the_newest() {
    run(async {
        let world = World::new(5).await;
        publish(&world, "a:x", 5).await;
        world.until_stored().await;
        let key = AcknowledgedKey {
            tenant: Tenant::parse("t").unwrap(),
            user: UserId::parse("u").unwrap(),
            subscriber: SubscriberName::parse("s").unwrap(),
            channel: Channel::parse("a:x").unwrap(),
        };
        let acked = |last| From::Acked { key: key.clone(), last };
        assert_eq!(start(&world, acked(2)).await, Ok(2));
        assert_eq!(start(&world, acked(0)).await, Ok(4));
        let acknowledged = Acknowledged { generation: 0, cursor: cursor(1) };
        world.history.acknowledge(vec![(key.clone(), acknowledged)]).await.unwrap();
        assert_eq!(start(&world, acked(2)).await, Ok(1));
        world.history.down(true);
        let refused = start(&world, acked(2)).await.unwrap_err();
        assert_eq!(refused.code, Code::Unavailable.name());
    });
}

#[test]
fn a_position_ahead_of_the_region_is_not_yet_and_never_answered_by_hot_history() {
    run(async {
        let mut world = World::new(6).await;
        publish(&world, "a:x", 3).await;
        world.until_stored().await;
        world.kill_routers();
        publish(&world, "a:x", 3).await;
        let read = read_after(&world.stores, &key("a:x"), &stream(), at(1, 5), 10).await;
        assert_eq!(read.unwrap_err(), ReadError::NotYet { applied: at(1, 2) });
        world.history.down(true);
        let read = read_after(&world.stores, &key("a:x"), &stream(), at(1, 5), 10).await;
        assert_eq!(read.unwrap_err(), ReadError::Unavailable);
    });
}

#[test]
fn a_page_of_a_history_that_is_behind_goes_on_with_what_is_hot() {
    run(async {
        let mut world = World::new(8).await;
        publish(&world, "a:x", 10).await;
        world.until_stored().await;
        world.history.down(true);
        // Sent out, and stored by nobody yet.
        let mut live = world.subscribe("a:x", From::Now).await;
        publish(&world, "a:x", 3).await;
        world.until(&mut live, "12", |chain| chain.offsets().contains(&12)).await;
        world.kill_routers();
        world.history.down(false);
        for (limit, last, more) in [(100, 12, false), (13, 12, true), (11, 10, true), (10, 9, true)]
        {
            let read = read_after(&world.stores, &key("a:x"), &stream(), at(1, -1), limit).await;
            let read = read.unwrap();
            let offsets: Vec<u64> = read.events.iter().map(|event| event.offset.0).collect();
            assert_eq!(offsets, (0..=last).collect::<Vec<_>>(), "of {limit}");
            assert_eq!((read.more, read.position), (more, at(1, last as i64)), "of {limit}");
        }
    });
}

#[test]
fn a_history_that_is_away_stops_only_those_who_need_it() {
    run(async {
        let world = World::new(7).await;
        publish(&world, "a:y", 1).await;
        let last = publish(&world, "a:x", 120).await;
        world.until_stored().await;
        world.history.down(true);
        // More readers at more places than reads may be under way at once.
        let mut stuck = Vec::new();
        for passed in 0..100 {
            stuck.push(world.subscribe("a:x", From::Cursor(cursor(passed))).await);
        }
        sleep(Duration::from_secs(3)).await;
        assert!(stuck.iter().all(|client| client.chain.held.is_empty()));
        let started = Instant::now();
        let mut live = world.subscribe("a:y", From::Now).await;
        let event = world.publish("a:y", "live").await;
        world.until(&mut live, "live", |chain| chain.offsets().contains(&event)).await;
        assert!(started.elapsed() < Duration::from_millis(100), "{:?}", started.elapsed());
        world.history.down(false);
        for client in &mut stuck {
            world.until(client, "all", |chain| chain.offsets().contains(&last)).await;
            assert_eq!(client.chain.held.len() as i64, last - client.start.passed);
            assert!(client.gaps().is_empty());
        }
    });
}

#[test]
fn nobody_reads_for_a_reader_that_left() {
    run(async {
        let world = World::new(8).await;
        publish(&world, "a:x", 40).await;
        world.until_stored().await;
        world.history.down(true);
        let client = world.subscribe("a:x", From::Cursor(cursor(0))).await;
        sleep(Duration::from_secs(1)).await;
        world.leave(&client);
        let closed = async {
            while world.hands.hub.borrow().size() != (0, 0) {
                sleep(Duration::from_millis(100)).await;
            }
        };
        assert!(timeout(Duration::from_secs(10), closed).await.is_ok(), "the channel stays open");
    });
}

#[test]
fn a_history_page_ahead_of_the_region_waits_two_seconds_then_says_not_yet() {
    run(async {
        let mut world = World::new(9).await;
        publish(&world, "a:x", 3).await;
        world.until_stored().await;
        world.kill_routers();
        publish(&world, "a:x", 3).await;
        let (key, stream) = (key("a:x"), stream());
        let started = Instant::now();
        let refused = read_page(&world.stores, &key, &stream, at(1, 5), 10).await.unwrap_err();
        let waited = started.elapsed();
        assert!(waited >= Duration::from_secs(2) && waited < Duration::from_millis(2_100));
        assert_eq!(refused.code, Code::NotYet.name());
        assert_eq!(refused.applied, Some(cursor(2).to_string().into()));
        assert!(refused.retry_after_ms.is_some());
        // It comes in time: no refusal.
        let stores = world.stores.clone();
        let late = async {
            sleep(Duration::from_secs(1)).await;
            world.start_router();
        };
        let (page, ()) = tokio::join!(read_page(&stores, &key, &stream, at(1, 4), 10), late);
        let offsets: Vec<_> = page.unwrap().events.iter().map(|e| e.at.unwrap().0.0).collect();
        assert_eq!(offsets, [5]);
        world.history.down(true);
        world.backplane.forget_everything(Announce::Silent).await.unwrap();
        let refused = read_page(&stores, &key, &stream, at(1, 1), 10).await.unwrap_err();
        assert_eq!(refused.code, Code::Unavailable.name());
    });
}

#[test]
fn a_region_that_has_nothing_yet_says_so_and_from_now_brings_nothing_old() {
    run(async {
        let mut world = World::new(11).await;
        world.kill_routers();
        world.backplane.forget_everything(Announce::Silent).await.unwrap();
        publish(&world, "a:x", 3).await;
        assert_eq!(start(&world, From::Now).await, Ok(2));
        let told = behind(&world.stores, &stream(), at(1, 2)).await;
        assert_eq!(told, Some(cursor(-1).to_string()));
        let mut client = world.subscribe("a:x", From::Now).await;
        world.start_router();
        let next = publish(&world, "a:x", 1).await;
        world.until(&mut client, "the next", |chain| !chain.held.is_empty()).await;
        assert_eq!((client.chain.offsets(), client.gaps()), (vec![next], vec![]));
        world.until_stored().await;
        assert_eq!(behind(&world.stores, &stream(), at(1, next)).await, None);
    });
}

#[test]
fn a_subscription_ahead_of_the_region_is_told_how_far_it_is() {
    run(async {
        let mut world = World::new(10).await;
        publish(&world, "a:x", 3).await;
        world.until_stored().await;
        assert_eq!(behind(&world.stores, &stream(), at(1, 2)).await, None);
        world.kill_routers();
        publish(&world, "a:x", 3).await;
        assert_eq!(start(&world, From::Cursor(cursor(4))).await, Ok(4), "accepted at once");
        let told = behind(&world.stores, &stream(), at(1, 4)).await;
        assert_eq!(told, Some(cursor(2).to_string()));
        let mut client = world.subscribe("a:x", From::Cursor(cursor(4))).await;
        world.start_router();
        world.until(&mut client, "5", |chain| !chain.held.is_empty()).await;
        assert_eq!((client.chain.offsets(), client.gaps()), (vec![5], vec![]));
    });
}
