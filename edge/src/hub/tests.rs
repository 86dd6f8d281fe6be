//! The hub by itself: what each event, repair, page and pull does to its followers.

use std::rc::Rc;
use std::sync::Arc;

use meridian_core::policy::DeliveryClass::{Ephemeral as Fleeting, Strict};
use meridian_core::seams::Ephemeral;
use meridian_core::vocabulary::{Body, Event, Prev};
use tokio::time::Instant;

use super::testing::{Probe, at, bounds, event, fan_out, key, opened, page, stream};
use super::{FollowerRef, Hub, Job, Pinned, Slice};

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
        Job::Fetch { after, .. } => Some(after.passed),
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
    fan_out(&mut hub);
    deliver(&mut hub, 3..4);
    fan_out(&mut hub);
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
    fan_out(&mut hub);
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
    fan_out(&mut hub);
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
    fan_out(&mut hub);
    hub.take_jobs();
    probe.pull(&mut hub);
    assert_eq!(fetches(&mut hub), [3]);
    hub.paged(pinned.0, at(1, 3), page(Some(7), vec![], 9));
    probe.pull(&mut hub);
    assert_eq!(probe.gaps(), [(3, 7)]);
}

#[test]
fn equal_ranges_are_read_once() {
    let mut hub = hub(2);
    let pinned = opened(&mut hub, Strict, -1);
    deliver(&mut hub, 0..6);
    let readers: Vec<_> = (0..5).map(|_| attach(&mut hub, pinned, 1)).collect();
    for (probe, _) in &readers {
        probe.pull(&mut hub);
    }
    assert_eq!(fetches(&mut hub), [1]);
    hub.paged(pinned.0, at(1, 1), page(None, vec![event(2, Some(1)), event(3, Some(2))], 3));
    for (probe, _) in &readers {
        probe.pull(&mut hub);
        assert_eq!(probe.offsets(), [2, 3, 4, 5]);
    }
    assert_eq!(hub.page_bytes(), 0, "nobody holds it any more");
}

#[test]
fn a_page_that_comes_while_paused_is_not_taken_and_resuming_reads_again() {
    let mut hub = hub(2);
    let pinned = opened(&mut hub, Strict, -1);
    deliver(&mut hub, 0..6);
    let (probe, follower) = attach(&mut hub, pinned, 1);
    probe.pull(&mut hub);
    assert_eq!(fetches(&mut hub), [1]);
    hub.pause(follower);
    hub.paged(pinned.0, at(1, 1), page(None, vec![event(2, Some(1)), event(3, Some(2))], 3));
    deliver(&mut hub, 6..7);
    fan_out(&mut hub);
    probe.pull(&mut hub);
    assert!(probe.offsets().is_empty());
    assert_eq!(hub.told(follower), Some(at(1, 1)));
    hub.resume(follower);
    probe.pull(&mut hub);
    assert_eq!(fetches(&mut hub), [1]);
    let read = (2..6).map(|offset| event(offset, Some(offset as i64 - 1))).collect();
    hub.paged(pinned.0, at(1, 1), page(None, read, 5));
    probe.pull(&mut hub);
    assert_eq!(probe.offsets(), [2, 3, 4, 5, 6]);
}

#[test]
fn resumed_while_its_page_is_still_being_read_it_gets_it_once() {
    let mut hub = hub(2);
    let pinned = opened(&mut hub, Strict, -1);
    deliver(&mut hub, 0..6);
    let (probe, follower) = attach(&mut hub, pinned, 1);
    probe.pull(&mut hub);
    for _ in 0..3 {
        hub.pause(follower);
        hub.resume(follower);
        probe.pull(&mut hub);
    }
    assert_eq!(fetches(&mut hub), [1]);
    hub.paged(pinned.0, at(1, 1), page(None, vec![event(2, Some(1)), event(3, Some(2))], 3));
    probe.pull(&mut hub);
    assert_eq!(probe.offsets(), [2, 3, 4, 5]);
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
fn a_follower_that_left_while_its_page_was_read_is_not_taken_for_another() {
    let mut hub = hub(2);
    let pinned = opened(&mut hub, Strict, -1);
    deliver(&mut hub, 0..6);
    let (probe, follower) = attach(&mut hub, pinned, 1);
    probe.pull(&mut hub);
    hub.detach(follower, Instant::now());
    assert!(!hub.still_wants(pinned.0, at(1, 1)));
    let (other, again) = attach(&mut hub, pinned, 4);
    assert_eq!(again.follower, follower.follower, "the place is used again");
    hub.paged(pinned.0, at(1, 1), page(None, vec![event(2, Some(1)), event(3, Some(2))], 3));
    probe.pull(&mut hub);
    other.pull(&mut hub);
    assert!(probe.offsets().is_empty());
    assert_eq!(other.offsets(), [5]);
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
    hub.paged(pinned.0, at(1, 1), page(None, vec![event(2, Some(1))], 2));
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

#[test]
fn stuck_readers_hold_no_more_pages_than_the_bound_and_lose_nothing() {
    let mut small = bounds(1);
    small.page_bytes = 4_000;
    let mut hub = Hub::new(small);
    let pinned = opened(&mut hub, Strict, -1);
    deliver(&mut hub, 0..40);
    let readers: Vec<_> = (0..30).map(|from| attach(&mut hub, pinned, from)).collect();
    for (probe, _) in &readers {
        probe.pull(&mut hub);
    }
    let answer = |hub: &mut Hub, after: i64| {
        let events = (after + 1..40).map(|o| event(o as u64, Some(o - 1))).collect();
        hub.paged(0, at(1, after), page(None, events, 39));
    };
    for after in fetches(&mut hub) {
        answer(&mut hub, after);
        assert!(hub.page_bytes() <= 4_000 || hub.held.len() == 1, "{}", hub.page_bytes());
    }
    for (from, (probe, _)) in readers.iter().enumerate() {
        probe.pull(&mut hub);
        for after in fetches(&mut hub) {
            answer(&mut hub, after);
        }
        probe.pull(&mut hub);
        assert_eq!(probe.offsets(), (from as i64 + 1..40).collect::<Vec<_>>());
    }
}

#[test]
fn a_slice_ends_and_another_channel_has_its_turn() {
    let mut hub = hub(8);
    let crowded = opened(&mut hub, Strict, -1);
    let crowd: Vec<_> = (0..10_000).map(|_| attach(&mut hub, crowded, -1).0).collect();
    let (second, _) = hub.pin(&key("a:c"), &stream(), Strict);
    hub.opened(second.0, at(1, -1));
    let quiet = Probe::new(at(1, -1));
    hub.attach(second, quiet.clone(), 0, at(1, -1));
    deliver(&mut hub, 0..1);
    hub.on_event(&Arc::new(Event { key: key("a:c"), ..Event::clone(&event(1, None)) }));
    assert_eq!(hub.fan_out(), Slice::More);
    let served = crowd.iter().filter(|probe| probe.offers.get() > 0).count();
    assert!((1..=256).contains(&served), "{served}");
    assert_eq!(hub.fan_out(), Slice::More);
    assert_eq!(quiet.offsets(), [1], "after one slice of the other channel");
    // An event in the middle of a pass reaches those behind its place together with the first.
    deliver(&mut hub, 1..2);
    fan_out(&mut hub);
    for probe in &crowd {
        assert_eq!(probe.offsets(), [0, 1]);
        assert!(probe.offers.get() <= 2);
    }
}

#[test]
fn who_lacks_too_much_for_one_write_pulls_in_turns() {
    let mut hub = hub(64);
    let pinned = opened(&mut hub, Strict, -1);
    let (probe, _) = attach(&mut hub, pinned, -1);
    for offset in 0..40u64 {
        let small = event(offset, offset.checked_sub(1).map(|prev| prev as i64));
        let data = format!("\"{}\"", "x".repeat(4_000)).into();
        let body = Body { data, ..Body::default() };
        hub.on_event(&Arc::new(Event { body, ..Event::clone(&small) }));
    }
    fan_out(&mut hub);
    assert_eq!(probe.offers.get(), 0);
    probe.pull(&mut hub);
    assert_eq!(probe.offsets(), (0..40).collect::<Vec<_>>());
}

fn fleeting(hub: &mut Hub, numbers: std::ops::Range<u64>) {
    for time_ms in numbers {
        let body = Body { data: "1".into(), ..Body::default() }.encode();
        hub.on_ephemeral(&Ephemeral { key: key("a:b"), time_ms, body });
    }
}

#[test]
fn every_ephemeral_event_is_sent_or_counted_as_skipped() {
    let mut hub = hub(8);
    let pinned = opened(&mut hub, Fleeting, -1);
    let (fast, _) = attach(&mut hub, pinned, -1);
    let (slow, _) = attach(&mut hub, pinned, -1);
    let (paused, follower) = attach(&mut hub, pinned, -1);
    slow.room.set(1);
    hub.pause(follower);
    // The hub itself keeps four.
    fleeting(&mut hub, 0..6);
    fan_out(&mut hub);
    hub.resume(follower);
    slow.pull(&mut hub);
    paused.pull(&mut hub);
    for (probe, held) in [(&fast, 4), (&slow, 1), (&paused, 0)] {
        let chain = probe.chain.borrow();
        assert_eq!((chain.held.len(), chain.skipped), (held, 6 - held as u64));
    }
}

#[test]
fn ephemeral_events_given_up_in_the_middle_of_a_pass_are_counted_right() {
    let mut hub = hub(8);
    let pinned = opened(&mut hub, Fleeting, -1);
    let crowd: Vec<_> = (0..400).map(|_| attach(&mut hub, pinned, -1).0).collect();
    fleeting(&mut hub, 0..1);
    assert_eq!(hub.fan_out(), Slice::More);
    fleeting(&mut hub, 1..7);
    fan_out(&mut hub);
    fleeting(&mut hub, 7..8);
    fan_out(&mut hub);
    for probe in &crowd {
        let chain = probe.chain.borrow();
        assert_eq!(chain.held.len() as u64 + chain.skipped, 8, "{chain:?}");
        assert!(chain.held.is_sorted());
    }
}

#[test]
fn a_client_is_known_to_stand_where_it_was_told() {
    let mut hub = hub(2);
    let pinned = opened(&mut hub, Strict, 10);
    let (probe, follower) = attach(&mut hub, pinned, 3);
    probe.pull(&mut hub);
    // A store vouches for 10, where no event of the channel is.
    hub.paged(pinned.0, at(1, 3), page(None, vec![event(5, Some(2))], 10));
    probe.pull(&mut hub);
    assert_eq!(hub.told(follower), Some(at(1, 5)), "an acknowledgement of more is ahead");
    hub.repaired(pinned.0, &page(Some(12), vec![], 12), false);
    fan_out(&mut hub);
    probe.pull(&mut hub);
    hub.paged(pinned.0, at(1, 10), page(Some(12), vec![], 12));
    probe.pull(&mut hub);
    assert_eq!(probe.gaps(), [(5, 12)]);
    assert_eq!(hub.told(follower), Some(at(1, 12)));
}
