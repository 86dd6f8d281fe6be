//! The hub by itself: what each event, repair and pull does to its followers.

mod fan_out;
mod feeds;
mod pages;

use std::rc::Rc;
use std::sync::Arc;

use meridian_core::policy::DeliveryClass::Strict;
use meridian_core::vocabulary::{Event, Prev};
use tokio::time::Instant;

use super::testing::{Probe, at, bounds, event, fan_out as fan_out_all, key, opened, page, stream};
use super::{FollowerRef, Hub, Job, Pinned, Place};

fn hub(ring_events: usize) -> Hub {
    Hub::new(bounds(ring_events))
}

fn attach(hub: &mut Hub, pinned: Pinned, from: i64) -> (Rc<Probe>, FollowerRef) {
    let probe = Probe::new(at(1, from));
    let follower = hub.attach(pinned, probe.clone(), 0, at(1, from));
    (probe, follower)
}

/// Events 0, 1, 2, … as the backplane delivers them.
fn deliver(hub: &mut Hub, offsets: std::ops::Range<u64>) {
    for offset in offsets {
        hub.on_event(&event(offset, offset.checked_sub(1).map(|prev| prev as i64)));
    }
}

fn unknown(offset: u64) -> Arc<Event> {
    Arc::new(Event { prev: Prev::Unknown, ..Event::clone(&event(offset, None)) })
}

fn repairs(hub: &mut Hub) -> Vec<i64> {
    let after = |job| match job {
        Job::Repair { after, .. } => Some(after.passed),
        _ => None,
    };
    hub.take_jobs().into_iter().filter_map(after).collect()
}

fn fetches(hub: &mut Hub) -> Vec<i64> {
    let after = |job| match job {
        Job::Fetch { place: Place::Events(after), .. } => Some(after.passed),
        _ => None,
    };
    hub.take_jobs().into_iter().filter_map(after).collect()
}

#[test]
fn live_followers_get_each_event_once_in_order() {
    let mut hub = hub(8);
    let pinned = opened(&mut hub, Strict, -1);
    let (probe, _) = attach(&mut hub, pinned, -1);
    deliver(&mut hub, 0..3);
    deliver(&mut hub, 0..3);
    fan_out_all(&mut hub);
    deliver(&mut hub, 3..4);
    fan_out_all(&mut hub);
    assert_eq!(probe.offsets(), [0, 1, 2, 3]);
}

#[test]
fn events_that_came_before_the_head_was_known_count() {
    let mut hub = hub(8);
    let (pinned, mut ready) = hub.pin(&key("a:b"), &stream(), Strict);
    deliver(&mut hub, 3..6);
    assert!(ready.try_recv().is_err());
    hub.opened(pinned.0, at(1, 4));
    assert!(ready.try_recv().is_ok());
    let (probe, _) = attach(&mut hub, pinned, 4);
    probe.pull(&mut hub);
    assert_eq!(probe.offsets(), [5]);
}

#[test]
fn too_many_early_events_are_read_instead() {
    let mut hub = hub(8);
    let (pinned, _ready) = hub.pin(&key("a:b"), &stream(), Strict);
    deliver(&mut hub, 0..100);
    hub.opened(pinned.0, at(1, 2));
    assert_eq!(repairs(&mut hub), [2]);
}

#[test]
fn a_session_ahead_of_the_region_waits_without_a_read() {
    let mut hub = hub(8);
    let pinned = opened(&mut hub, Strict, -1);
    let (probe, _) = attach(&mut hub, pinned, 5);
    deliver(&mut hub, 0..8);
    fan_out_all(&mut hub);
    assert_eq!(probe.offsets(), [6, 7]);
    assert!(fetches(&mut hub).is_empty());
}

#[test]
fn a_broken_chain_is_read_once_and_an_event_that_came_meanwhile_again() {
    let mut hub = hub(8);
    let pinned = opened(&mut hub, Strict, -1);
    let (probe, _) = attach(&mut hub, pinned, -1);
    hub.on_event(&event(2, Some(1)));
    assert_eq!(repairs(&mut hub), [-1]);
    // Its read saw 0 to 2 only; 3 was lost, 4 arrives while it is under way.
    hub.on_event(&event(4, Some(3)));
    assert!(repairs(&mut hub).is_empty());
    let read = vec![event(0, None), event(1, Some(0)), event(2, Some(1))];
    hub.repaired(pinned.0, &page(None, read, 2), false);
    assert_eq!(repairs(&mut hub), [2], "4 is known of");
    hub.repaired(pinned.0, &page(None, vec![event(3, Some(2)), event(4, Some(3))], 4), false);
    assert!(repairs(&mut hub).is_empty());
    fan_out_all(&mut hub);
    assert_eq!(probe.offsets(), [0, 1, 2, 3, 4]);
}

#[test]
fn a_repair_without_progress_waits_for_the_next_sign() {
    let mut hub = hub(8);
    let pinned = opened(&mut hub, Strict, 0);
    hub.suspect(&key("a:b"), at(1, 5));
    assert_eq!(repairs(&mut hub), [0]);
    hub.repaired(pinned.0, &page(None, vec![], 0), false);
    assert!(repairs(&mut hub).is_empty());
    hub.suspect(&key("a:b"), at(1, 5));
    assert_eq!(repairs(&mut hub), [0]);
}

#[test]
fn a_repair_that_read_an_older_state_never_moves_the_ring_back() {
    let mut hub = hub(8);
    let pinned = opened(&mut hub, Strict, -1);
    deliver(&mut hub, 0..1);
    hub.on_event(&event(2, Some(1)));
    // 1 was only late. What retention removed meanwhile the ring still has.
    deliver(&mut hub, 1..6);
    hub.repaired(pinned.0, &page(Some(1), vec![event(2, Some(1))], 2), false);
    let (probe, _) = attach(&mut hub, pinned, 0);
    probe.pull(&mut hub);
    assert_eq!(probe.offsets(), [1, 2, 3, 4, 5]);
    assert!(fetches(&mut hub).is_empty());
}

#[test]
fn an_event_without_a_known_predecessor_is_not_vouched_away() {
    let mut hub = hub(8);
    let pinned = opened(&mut hub, Strict, 3);
    hub.on_event(&unknown(7));
    assert_eq!(repairs(&mut hub), [3]);
    hub.repaired(pinned.0, &page(Some(6), vec![unknown(7)], 9), false);
    hub.on_event(&event(12, Some(7)));
    let (probe, _) = attach(&mut hub, pinned, 6);
    probe.pull(&mut hub);
    assert_eq!(probe.offsets(), [7, 12]);
}

#[test]
fn a_gap_without_any_event_is_told_at_once() {
    let mut hub = hub(8);
    let pinned = opened(&mut hub, Strict, 3);
    let (probe, _) = attach(&mut hub, pinned, 3);
    hub.suspect(&key("a:b"), at(1, 7));
    hub.repaired(pinned.0, &page(Some(7), vec![], 9), false);
    fan_out_all(&mut hub);
    hub.take_jobs();
    probe.pull(&mut hub);
    assert_eq!(fetches(&mut hub), [3]);
    hub.paged(pinned.0, Place::Events(at(1, 3)), page(Some(7), vec![], 9));
    probe.pull(&mut hub);
    assert_eq!(probe.gaps(), [(3, 7)]);
}

#[test]
fn pausing_and_resuming_a_stuck_reader_queues_it_once() {
    let mut hub = hub(8);
    let pinned = opened(&mut hub, Strict, -1);
    let (probe, follower) = attach(&mut hub, pinned, -1);
    for _ in 0..100 {
        hub.pause(follower);
        hub.resume(follower);
    }
    assert_eq!(probe.behind.borrow().len(), 1);
}

#[test]
fn a_channel_stays_while_a_page_is_read_then_goes_after_its_linger() {
    let mut hub = hub(2);
    let pinned = opened(&mut hub, Strict, -1);
    deliver(&mut hub, 0..6);
    let (probe, follower) = attach(&mut hub, pinned, 1);
    probe.pull(&mut hub);
    let left = Instant::now();
    hub.unpin(pinned, left);
    hub.detach(follower, left);
    hub.take_jobs();
    let later = left + bounds(2).linger;
    hub.close_idle(later);
    assert_eq!(hub.size(), (1, 0));
    hub.paged(pinned.0, Place::Events(at(1, 1)), page(None, vec![event(2, Some(1))], 2));
    hub.close_idle(later);
    assert_eq!(hub.size(), (0, 0));
    assert_eq!(hub.take_jobs(), [Job::Close { key: key("a:b"), stream: stream() }]);
}

#[test]
fn a_channel_that_cannot_be_opened_is_given_up_with_its_last_subscriber() {
    let mut hub = hub(2);
    let (pinned, mut ready) = hub.pin(&key("a:b"), &stream(), Strict);
    hub.take_jobs();
    hub.open_failed(pinned.0);
    assert!(matches!(hub.take_jobs()[..], [Job::Open { .. }]));
    assert_eq!(ready.try_recv(), Err(tokio::sync::oneshot::error::TryRecvError::Closed));
    hub.unpin(pinned, Instant::now());
    hub.open_failed(pinned.0);
    assert_eq!(hub.take_jobs(), [Job::Close { key: key("a:b"), stream: stream() }]);
    assert_eq!(hub.size(), (0, 0));
}
