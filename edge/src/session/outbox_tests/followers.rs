//! Lanes with the hub behind them: turns by bytes, pages at once, the chain.

use meridian_core::policy::DeliveryClass::Strict;
use meridian_core::protocol::FrameReader;

use super::super::outbox::Flushed;
use super::{open_peer, session, sized};
use crate::hub::Place;
use crate::hub::testing::{Chain, at, fan_out, messages, opened, page};

#[test]
fn channels_that_are_behind_share_the_lane_by_bytes_in_turn() {
    let peer = open_peer();
    let session = session(&[&peer]);
    for channel in ["a:x", "a:y"] {
        session.attach(channel, 0, 49);
    }
    for (channel, after) in session.fetches_after_flush() {
        let events = (50..60).map(|offset| sized(offset, 8_000)).collect();
        session.hub.borrow_mut().paged(
            channel,
            Place::Events(at(1, after)),
            page(None, events, 59),
        );
    }
    assert_eq!(session.flush_all(), Flushed::Idle);
    let received = String::from_utf8_lossy(&peer.received.borrow()).into_owned();
    assert_eq!(received.matches("\"prev\"").count(), 20);
    let turns: Vec<usize> = received.match_indices("\"prev\"").map(|(at, _)| at).collect();
    assert!(turns.windows(2).all(|pair| pair[1] - pair[0] < 10_000));
}

#[test]
fn a_reader_that_is_stuck_holds_a_write_and_few_pages_however_many_channels_it_asked_for() {
    let (own, lane) = (open_peer(), open_peer());
    let session = session(&[&own, &lane]);
    lane.room.set(0);
    let channels: Vec<String> = (0..200).map(|n| format!("a:{n}")).collect();
    for channel in &channels {
        session.attach(channel, 1, 9);
    }
    let (mut asked, mut answered) = (0, 0);
    for _ in 0..500 {
        let fetches = session.fetches_after_flush();
        assert!(fetches.len() <= 4, "{}", fetches.len());
        asked += fetches.len();
        for (channel, after) in fetches {
            let events = (10..51).map(|offset| sized(offset, 8_000)).collect();
            session.hub.borrow_mut().paged(
                channel,
                Place::Events(at(1, after)),
                page(None, events, 50),
            );
            answered += 1;
        }
        let (waiting, bytes) = session.outbox.borrow().load();
        assert!(waiting <= 200 && bytes <= 100_000, "{waiting} followers, {bytes} bytes");
    }
    assert_eq!((asked, answered), (4, 4), "more is read when it takes what there is");
    lane.room.set(usize::MAX);
    while answered < 200 {
        let fetches = session.fetches_after_flush();
        assert!(!fetches.is_empty(), "stuck after {answered}");
        for (channel, after) in fetches {
            session.hub.borrow_mut().paged(
                channel,
                Place::Events(at(1, after)),
                page(None, vec![], 50),
            );
            answered += 1;
        }
    }
    assert_eq!(session.flush_all(), Flushed::Idle);
    assert_eq!(session.outbox.borrow().load(), (0, 0));
    assert!(!session.outbox.borrow().needs_flush());
}

#[test]
fn a_page_turn_that_one_lane_gives_back_is_taken_by_another() {
    let (own, lane) = (open_peer(), open_peer());
    let session = session(&[&own, &lane]);
    let busy: Vec<_> = (0..4).map(|n| session.attach(&format!("a:{n}"), 1, 9)).collect();
    assert_eq!(session.fetches_after_flush().len(), 4);
    session.attach("a:late", 0, 9);
    assert!(session.fetches_after_flush().is_empty());
    assert!(!session.outbox.borrow().needs_flush(), "it waits for a turn, not in a loop");
    let left = tokio::time::Instant::now();
    session.hub.borrow_mut().detach(busy[2], left);
    assert!(session.outbox.borrow().needs_flush());
    assert_eq!(session.fetches_after_flush().len(), 1);
}

#[test]
fn slow_and_fast_lanes_keep_the_chain_whatever_their_room() {
    let peer = open_peer();
    let session = session(&[&peer]);
    let pinned = opened(&mut session.hub.borrow_mut(), Strict, -1);
    session.hub.borrow_mut().attach(pinned, session.clone(), 0, at(1, -1));
    let mut chain = Chain::at(at(1, -1));
    let mut reader = FrameReader::new(1 << 20);
    for offset in 0..200u64 {
        peer.room.set((offset as usize * 37) % 900);
        session.hub.borrow_mut().on_event(&sized(offset, 100));
        fan_out(&mut session.hub.borrow_mut());
        session.flush_all();
        for (channel, after) in session.fetches() {
            let events = (after as u64 + 1..=offset).map(|n| sized(n, 100)).collect();
            let read = page(None, events, offset as i64);
            session.hub.borrow_mut().paged(channel, Place::Events(at(1, after)), read);
        }
    }
    peer.room.set(usize::MAX);
    session.flush_all();
    reader.push(&peer.received.borrow());
    messages(&mut reader).iter().for_each(|message| chain.take(message));
    assert_eq!(chain.offsets(), (0..200).collect::<Vec<_>>());
}
