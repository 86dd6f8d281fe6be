//! The router as a whole: status, restarts, halting.

use std::collections::BTreeSet;

use meridian_core::lag::Lag;
use meridian_core::vocabulary::{Epoch, Partition};
use meridian_region_router::{Halt, Outcome, PartitionState, Router};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::world::{World, at, record};

fn router(world: &World) -> Router {
    let seams = world.seams();
    Router::new(seams.log, seams.history, seams.backplane, world.options.clone())
}

#[tokio::test(start_paused = true)]
async fn it_routes_and_says_where_it_stands() {
    let world = World::new();
    let router = router(&world);
    let status = router.status();
    assert!(!status.is_ready());
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(router.run(shutdown.clone()));
    let last = world.publish_many("a", 5);
    world.until_stored().await;
    let mut followed = status.follow(Partition(0)).unwrap();
    followed.wait_for(|s| s.checkpoint == Some(at(last))).await.unwrap();
    let now = status.partition(Partition(0)).unwrap();
    assert_eq!((now.state, now.applied, now.lag), (PartitionState::Live, at(last), Lag::NONE));
    assert!(status.is_ready());
    shutdown.cancel();
    assert_eq!(task.await.unwrap(), Outcome::Stopped);
    assert_eq!(status.partitions()[0].state, PartitionState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn it_says_how_far_it_is_behind_while_nothing_moves() {
    let world = World::new();
    let router = router(&world);
    let (status, shutdown) = (router.status(), CancellationToken::new());
    let task = tokio::spawn(router.run(shutdown.clone()));
    world.publish_many("a", 2);
    world.until_stored().await;
    let mut followed = status.follow(Partition(0)).unwrap();
    followed.wait_for(|status| status.applied == at(1)).await.unwrap();
    world.log.down(true);
    world.publish_many("a", 3);
    let lag = status.partition(Partition(0)).unwrap().lag;
    assert_eq!(lag.records, 3);
    assert!(lag.ms.is_some_and(|ms| ms < 60_000), "not as old as the log's own clock: {lag:?}");
    world.log.down(false);
    world.until_stored().await;
    followed.wait_for(|status| status.applied == at(4)).await.unwrap();
    assert_eq!(status.partition(Partition(0)).unwrap().lag, Lag::NONE);
    shutdown.cancel();
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn it_works_on_what_it_owns_at_the_time() {
    let world = World::new();
    let router = router(&world);
    let (status, shutdown) = (router.status(), CancellationToken::new());
    let (assign, owned) = watch::channel(BTreeSet::new());
    let task = tokio::spawn(router.run_owned(owned, shutdown.clone()));
    let mut followed = status.follow(Partition(0)).unwrap();
    followed.wait_for(|s| s.state == PartitionState::Elsewhere).await.unwrap();
    assert!(status.is_ready(), "it owns nothing that could be late");
    world.publish_many("a", 3);
    assign.send_replace(BTreeSet::from([Partition(0)]));
    world.until_stored().await;
    // Away and back before the worker could end.
    assign.send_replace(BTreeSet::new());
    tokio::task::yield_now().await;
    assign.send_replace(BTreeSet::from([Partition(0)]));
    world.publish_many("a", 3);
    world.until_stored().await;
    assign.send_replace(BTreeSet::new());
    followed.wait_for(|s| s.state == PartitionState::Elsewhere).await.unwrap();
    let before = world.history.state().fence;
    // A group that ended assigns nothing any more.
    drop(assign);
    shutdown.cancel();
    assert_eq!(task.await.unwrap(), Outcome::Stopped);
    assert_eq!(world.history.state().fence, before);
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_partition_taken_by_another_router_is_claimed_again_if_it_stays_assigned() {
    let world = World::new();
    let router = router(&world);
    let (status, shutdown) = (router.status(), CancellationToken::new());
    let task = tokio::spawn(router.run(shutdown.clone()));
    world.publish_many("a", 3);
    world.until_stored().await;
    let zombie = world.start();
    let last = world.publish_many("a", 3);
    world.until_marked(last).await;
    let mut followed = status.follow(Partition(0)).unwrap();
    followed.wait_for(|s| s.state == PartitionState::Fenced).await.unwrap();
    zombie.kill().await;
    let last = world.publish_many("a", 3);
    followed.wait_for(|s| s.checkpoint == Some(at(last))).await.unwrap();
    shutdown.cancel();
    assert_eq!(task.await.unwrap(), Outcome::Stopped);
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_fails_is_started_again() {
    let world = World::new();
    world.history.state().panics = true;
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(router(&world).run(shutdown.clone()));
    world.publish_many("a", 5);
    world.until_stored().await;
    world.check();
    shutdown.cancel();
    assert_eq!(task.await.unwrap(), Outcome::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_reason_to_halt_is_kept_and_said() {
    let world = World::new();
    let router = router(&world);
    let status = router.status();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(router.run(shutdown.clone()));
    let mut foreign = record("a", "x");
    foreign.epoch = Epoch(7);
    world.log.write(foreign.encode());
    let mut halted = status.halted();
    let halted = halted.wait_for(Option::is_some).await.unwrap().clone();
    let Some((partition, Halt::ForeignEpoch(found))) = halted else { panic!("{halted:?}") };
    assert_eq!((partition, found.stamped), (Partition(0), Epoch(7)));
    assert!(!status.is_ready());
    shutdown.cancel();
    assert!(matches!(task.await.unwrap(), Outcome::Halted { .. }));
}
