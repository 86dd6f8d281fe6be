//! The fan-out: in slices, in turns, and what readers of ephemeral events are told.

use std::sync::Arc;

use meridian_core::policy::DeliveryClass::{Ephemeral as Fleeting, Strict};
use meridian_core::seams::Ephemeral;
use meridian_core::vocabulary::{Body, Event};

use super::super::testing::{Probe, at, event, fan_out, key, opened, stream};
use super::super::{Hub, Slice};
use super::{attach, deliver, hub};

fn fleeting(hub: &mut Hub, numbers: std::ops::Range<u64>) {
    for time_ms in numbers {
        let body = Body { data: "1".into(), ..Body::default() }.encode();
        hub.on_ephemeral(&Ephemeral { key: key("a:b"), time_ms, body });
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
