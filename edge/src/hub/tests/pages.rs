//! Pages: shared, given up, asked for again.

use meridian_core::policy::DeliveryClass::Strict;
use tokio::time::Instant;

use super::super::testing::{at, bounds, event, fan_out, opened, page};
use super::super::{Hub, Place};
use super::{attach, deliver, fetches, hub};

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
    hub.paged(
        pinned.0,
        Place::Events(at(1, 1)),
        page(None, vec![event(2, Some(1)), event(3, Some(2))], 3),
    );
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
    hub.paged(
        pinned.0,
        Place::Events(at(1, 1)),
        page(None, vec![event(2, Some(1)), event(3, Some(2))], 3),
    );
    deliver(&mut hub, 6..7);
    fan_out(&mut hub);
    probe.pull(&mut hub);
    assert!(probe.offsets().is_empty());
    assert_eq!(hub.told(follower), Some(at(1, 1)));
    hub.resume(follower);
    probe.pull(&mut hub);
    assert_eq!(fetches(&mut hub), [1]);
    let read = (2..6).map(|offset| event(offset, Some(offset as i64 - 1))).collect();
    hub.paged(pinned.0, Place::Events(at(1, 1)), page(None, read, 5));
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
    hub.paged(
        pinned.0,
        Place::Events(at(1, 1)),
        page(None, vec![event(2, Some(1)), event(3, Some(2))], 3),
    );
    probe.pull(&mut hub);
    assert_eq!(probe.offsets(), [2, 3, 4, 5]);
}

#[test]
fn a_follower_that_left_while_its_page_was_read_is_not_taken_for_another() {
    let mut hub = hub(2);
    let pinned = opened(&mut hub, Strict, -1);
    deliver(&mut hub, 0..6);
    let (probe, follower) = attach(&mut hub, pinned, 1);
    probe.pull(&mut hub);
    hub.detach(follower, Instant::now());
    assert!(!hub.still_wants(pinned.0, Place::Events(at(1, 1))));
    let (other, again) = attach(&mut hub, pinned, 4);
    assert_eq!(again.follower, follower.follower, "the place is used again");
    hub.paged(
        pinned.0,
        Place::Events(at(1, 1)),
        page(None, vec![event(2, Some(1)), event(3, Some(2))], 3),
    );
    probe.pull(&mut hub);
    other.pull(&mut hub);
    assert!(probe.offsets().is_empty());
    assert_eq!(other.offsets(), [5]);
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
        hub.paged(0, Place::Events(at(1, after)), page(None, events, 39));
    };
    for after in fetches(&mut hub) {
        answer(&mut hub, after);
        assert!(hub.page_bytes() <= 16_000, "one page is about 13 kB: {}", hub.page_bytes());
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
fn a_client_is_known_to_stand_where_it_was_told() {
    let mut hub = hub(2);
    let pinned = opened(&mut hub, Strict, 10);
    let (probe, follower) = attach(&mut hub, pinned, 3);
    probe.pull(&mut hub);
    // A store vouches for 10, where no event of the channel is.
    hub.paged(pinned.0, Place::Events(at(1, 3)), page(None, vec![event(5, Some(2))], 10));
    probe.pull(&mut hub);
    assert_eq!(hub.told(follower), Some(at(1, 5)), "an acknowledgement of more is ahead");
    hub.repaired(pinned.0, &page(Some(12), vec![], 12), false);
    fan_out(&mut hub);
    probe.pull(&mut hub);
    hub.paged(pinned.0, Place::Events(at(1, 10)), page(Some(12), vec![], 12));
    probe.pull(&mut hub);
    assert_eq!(probe.gaps(), [(5, 12)]);
    assert_eq!(hub.told(follower), Some(at(1, 12)));
}
