//! What lanes write, in which order, and how much a stuck one holds.

mod followers;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use meridian_core::policy::DeliveryClass::Strict;
use meridian_core::vocabulary::{Body, Event};

use super::outbox::{Flushed, LaneBroken, LaneWriter, Outbox, Wrote};
use crate::frame::Format;
use crate::hub::testing::{FORMAT, at, bounds, event, key, stream};
use crate::hub::{Bounds, FollowerRef, Hub, Job, LaneId, Offer, Outlet, Place, Turns};

/// The peer's side of a lane.
#[derive(Default)]
struct Peer {
    /// Bytes that it still takes.
    room: Cell<usize>,
    /// And at one write at most.
    at_once: Cell<usize>,
    stopped: Cell<bool>,
    writes_nothing: Cell<bool>,
    received: RefCell<Vec<u8>>,
    writes: Cell<usize>,
}

struct Writer(Rc<Peer>);

impl LaneWriter for Writer {
    fn poll_write(
        &mut self,
        _: Option<&mut Context<'_>>,
        bytes: &[u8],
    ) -> Poll<Result<usize, LaneBroken>> {
        if self.0.stopped.get() {
            return Poll::Ready(Err(LaneBroken::Stopped));
        }
        if self.0.writes_nothing.get() {
            return Poll::Ready(Ok(0));
        }
        let count = bytes.len().min(self.0.room.get()).min(self.0.at_once.get());
        if count == 0 {
            return Poll::Pending;
        }
        self.0.writes.set(self.0.writes.get() + 1);
        self.0.room.set(self.0.room.get() - count);
        self.0.received.borrow_mut().extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(&mut self, _: Option<&mut Context<'_>>) -> Poll<Result<(), LaneBroken>> {
        Poll::Ready(Ok(()))
    }
}

struct Session {
    outbox: RefCell<Outbox>,
    turns: Turns,
    hub: Rc<RefCell<Hub>>,
    scratch: RefCell<Vec<u8>>,
}

impl Outlet for Session {
    fn format(&self) -> Format {
        FORMAT
    }

    fn turns(&self) -> &Turns {
        &self.turns
    }

    fn offer(&self, lane: LaneId, frame: &Bytes) -> Offer {
        self.outbox.borrow_mut().offer(lane, frame)
    }

    fn behind(&self, lane: LaneId, follower: FollowerRef) {
        self.outbox.borrow_mut().behind(lane, follower);
    }
}

impl Session {
    fn flush(&self) -> (Flushed, Wrote) {
        let mut task = Context::from_waker(Waker::noop());
        let mut scratch = self.scratch.borrow_mut();
        self.outbox.borrow_mut().poll_flush(&mut task, &self.hub, &mut scratch)
    }

    fn flush_all(&self) -> Flushed {
        loop {
            match self.flush() {
                (Flushed::More, _) | (Flushed::Blocked, Wrote::Some) => {}
                (flushed, _) => return flushed,
            }
        }
    }

    fn attach(self: &Rc<Self>, channel: &str, lane: LaneId, from: i64) -> FollowerRef {
        let mut hub = self.hub.borrow_mut();
        let (pinned, _) = hub.pin(&key(channel), &stream(), Strict);
        hub.opened(pinned.0, at(1, 50));
        hub.attach(pinned, self.clone(), lane, at(1, from))
    }

    fn fetches(&self) -> Vec<(u32, i64)> {
        let fetch = |job| match job {
            Job::Fetch { channel, place: Place::Events(after), .. } => {
                Some((channel, after.passed))
            }
            _ => None,
        };
        self.hub.borrow_mut().take_jobs().into_iter().filter_map(fetch).collect()
    }
}

fn open_peer() -> Rc<Peer> {
    let (room, at_once) = (Cell::new(usize::MAX), Cell::new(usize::MAX));
    Rc::new(Peer { room, at_once, ..Peer::default() })
}

fn session(peers: &[&Rc<Peer>]) -> Rc<Session> {
    let mut lanes = peers.iter().map(|peer| Box::new(Writer(Rc::clone(peer))));
    let mut outbox = Outbox::new(lanes.next().unwrap());
    lanes.for_each(|lane| outbox.add_lane(lane));
    let turns = outbox.turns().clone();
    let bounds = Bounds { page_bytes: 64 << 20, ..bounds(8) };
    let hub = Rc::new(RefCell::new(Hub::new(bounds)));
    Rc::new(Session { outbox: RefCell::new(outbox), turns, hub, scratch: RefCell::default() })
}

fn frame(len: usize, fill: u8) -> Bytes {
    Bytes::from(vec![fill; len])
}

#[test]
fn an_idle_lane_writes_at_once_and_what_it_could_not_write_goes_first() {
    let peer = open_peer();
    let session = session(&[&peer]);
    assert_eq!(session.offer(0, &frame(10, b'a')), Offer::Taken);
    peer.room.set(3);
    assert_eq!(session.offer(0, &frame(10, b'b')), Offer::Taken);
    assert_eq!(session.offer(0, &frame(10, b'c')), Offer::Blocked, "the rest comes before it");
    session.outbox.borrow_mut().send(0, frame(2, b'd'));
    assert_eq!(session.flush(), (Flushed::Blocked, Wrote::Nothing));
    peer.room.set(usize::MAX);
    assert_eq!(session.flush_all(), Flushed::Idle);
    assert_eq!(&*peer.received.borrow(), b"aaaaaaaaaabbbbbbbbbbdd");
    assert_eq!(session.outbox.borrow().load(), (0, 0));
}

#[test]
fn nothing_of_a_blocked_offer_is_taken() {
    let peer = open_peer();
    let session = session(&[&peer]);
    peer.room.set(0);
    assert_eq!(session.offer(0, &frame(10, b'a')), Offer::Blocked);
    peer.room.set(usize::MAX);
    assert_eq!(session.flush_all(), Flushed::Idle);
    assert!(peer.received.borrow().is_empty());
}

#[test]
fn frames_larger_than_a_write_arrive_whole() {
    let peer = open_peer();
    peer.at_once.set(1_000);
    let session = session(&[&peer]);
    session.outbox.borrow_mut().send(0, frame(300_000, b'a'));
    session.outbox.borrow_mut().send(0, frame(5, b'b'));
    assert_eq!(session.outbox.borrow().queued_bytes(), 300_005);
    assert_eq!(session.flush(), (Flushed::More, Wrote::Some), "others have a turn in between");
    assert_eq!(session.flush_all(), Flushed::Idle);
    let received = peer.received.borrow();
    assert_eq!((received.len(), &received[299_999..]), (300_005, &b"abbbbb"[..]));
    assert_eq!(session.outbox.borrow().queued_bytes(), 0);
}

#[test]
fn all_that_waits_goes_out_in_one_write() {
    let peer = open_peer();
    let session = session(&[&peer]);
    for _ in 0..20 {
        session.outbox.borrow_mut().send(0, frame(100, b'a'));
    }
    assert_eq!(session.flush_all(), Flushed::Idle);
    assert_eq!((peer.writes.get(), peer.received.borrow().len()), (1, 2_000));
}

#[test]
fn a_stopped_lane_ends_alone_and_its_messages_go_on_the_sessions_own() {
    let (own, lane) = (open_peer(), open_peer());
    let session = session(&[&own, &lane]);
    lane.stopped.set(true);
    session.outbox.borrow_mut().send(1, frame(10, b'x'));
    assert_eq!(session.flush_all(), Flushed::Idle);
    assert_eq!(session.outbox.borrow_mut().take_stopped(), [1]);
    assert!(session.outbox.borrow_mut().take_stopped().is_empty());
    assert_eq!(session.outbox.borrow().usable(1), 0);
    assert_eq!(session.offer(1, &frame(1, b'y')), Offer::Blocked);
    session.outbox.borrow_mut().send(1, frame(3, b'z'));
    assert_eq!(session.flush_all(), Flushed::Idle);
    assert_eq!(&*own.received.borrow(), b"zzz");
    assert_eq!(session.outbox.borrow().queued_bytes(), 0);
}

#[test]
fn the_own_stream_stopped_or_a_writer_that_takes_nothing_ends_the_session() {
    let peer = open_peer();
    let session = session(&[&peer]);
    for broken in [&peer.writes_nothing, &peer.stopped] {
        session.outbox.borrow_mut().send(0, frame(10, b'x'));
        broken.set(true);
        assert_eq!(session.flush().0, Flushed::Broken);
    }
}

#[test]
fn a_blocked_lane_does_not_hold_up_another() {
    let (own, lane) = (open_peer(), open_peer());
    let session = session(&[&own, &lane]);
    own.room.set(0);
    session.outbox.borrow_mut().send(0, frame(10, b'x'));
    session.outbox.borrow_mut().send(1, frame(10, b'y'));
    assert_eq!(session.flush(), (Flushed::Blocked, Wrote::Some));
    assert_eq!(session.flush(), (Flushed::Blocked, Wrote::Nothing));
    assert_eq!(lane.received.borrow().len(), 10);
}

/// An event of some size.
fn sized(offset: u64, bytes: usize) -> Arc<Event> {
    let small = event(offset, offset.checked_sub(1).map(|prev| prev as i64));
    let body = Body { data: format!("\"{}\"", "x".repeat(bytes)).into(), ..Body::default() };
    Arc::new(Event { body, ..Event::clone(&small) })
}

impl Session {
    fn fetches_after_flush(&self) -> Vec<(u32, i64)> {
        self.flush_all();
        self.fetches()
    }
}
