//! A client of the tests: it holds what it received, behind a lane that takes as much as a test lets
//! it, and the writing half of its session.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use meridian_core::protocol::FrameReader;
use meridian_core::vocabulary::{ChannelKey, Position};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::delivery::Hands;
use crate::frame::Format;
use crate::hub::testing::{Chain, FORMAT, messages};
use crate::hub::{FollowerRef, LaneId, Offer, Outlet, Pinned, Turns};
use crate::session::{Flushed, LaneBroken, LaneWriter, Outbox, Wrote};

/// A peer's side of a lane: takes `room` bytes, then blocks.
#[derive(Default)]
pub(super) struct Peer {
    room: Cell<usize>,
    waker: RefCell<Option<Waker>>,
    received: RefCell<Vec<u8>>,
}

struct Writer(Rc<Peer>);

struct Session {
    outbox: RefCell<Outbox>,
    turns: Turns,
    wake: Notify,
}

/// A client of one channel at a time on a connection of its own.
pub(super) struct Client {
    pub(super) key: ChannelKey,
    pub(super) chain: Chain,
    pub(super) start: Position,
    peer: Rc<Peer>,
    session: Rc<Session>,
    reader: FrameReader,
    pub(super) follower: FollowerRef,
    _task: JoinSet<()>,
}

impl Client {
    /// Attaches a new connection to a pinned channel.
    pub(super) fn attach(hands: &Hands, key: ChannelKey, pinned: Pinned, from: Position) -> Self {
        let (session, peer) = connect();
        let outlet: Rc<dyn Outlet> = session.clone();
        let follower = hands.hub.borrow_mut().attach(pinned, outlet, 0, from);
        let mut task = JoinSet::new();
        task.spawn_local(write(session.clone(), hands.clone()));
        Self {
            key,
            chain: Chain::at(from),
            start: from,
            peer,
            session,
            reader: FrameReader::new(1 << 24),
            follower,
            _task: task,
        }
    }

    /// Takes what arrived.
    pub(super) fn read(&mut self) {
        self.reader.push(&std::mem::take(&mut *self.peer.received.borrow_mut()));
        for message in messages(&mut self.reader) {
            self.chain.take(&message);
        }
    }

    /// Lets the lane take so many bytes more.
    pub(super) fn let_in(&self, bytes: usize) {
        self.peer.room.set(self.peer.room.get().saturating_add(bytes));
        if let Some(waker) = self.peer.waker.take() {
            waker.wake();
        }
    }

    /// From now on the lane takes nothing.
    pub(super) fn block(&self) {
        self.peer.room.set(0);
    }

    /// Followers that wait, and bytes that wait.
    pub(super) fn load(&self) -> (usize, usize) {
        self.session.outbox.borrow().load()
    }

    pub(super) fn gaps(&self) -> Vec<(i64, i64)> {
        self.chain.gaps.iter().map(|(from, to)| (from.passed, to.passed)).collect()
    }
}

impl LaneWriter for Writer {
    fn poll_write(
        &mut self,
        context: Option<&mut Context<'_>>,
        bytes: &[u8],
    ) -> Poll<Result<usize, LaneBroken>> {
        let taken = bytes.len().min(self.0.room.get());
        if taken == 0 {
            *self.0.waker.borrow_mut() = context.map(|context| context.waker().clone());
            return Poll::Pending;
        }
        self.0.room.set(self.0.room.get() - taken);
        self.0.received.borrow_mut().extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(&mut self, _: Option<&mut Context<'_>>) -> Poll<Result<(), LaneBroken>> {
        Poll::Ready(Ok(()))
    }
}

impl Outlet for Session {
    fn format(&self) -> Format {
        FORMAT
    }

    fn turns(&self) -> &Turns {
        &self.turns
    }

    fn offer(&self, lane: LaneId, frame: &Bytes) -> Offer {
        let offer = self.outbox.borrow_mut().offer(lane, frame);
        if self.outbox.borrow().needs_flush() {
            self.wake.notify_one();
        }
        offer
    }

    fn behind(&self, lane: LaneId, follower: FollowerRef) {
        self.outbox.borrow_mut().behind(lane, follower);
        self.wake.notify_one();
    }
}

fn connect() -> (Rc<Session>, Rc<Peer>) {
    let peer = Rc::new(Peer { room: Cell::new(usize::MAX), ..Peer::default() });
    let outbox = Outbox::new(Box::new(Writer(peer.clone())));
    let turns = outbox.turns().clone();
    (Rc::new(Session { outbox: RefCell::new(outbox), turns, wake: Notify::new() }), peer)
}

/// A session's writing half.
async fn write(session: Rc<Session>, hands: Hands) {
    let mut scratch = Vec::new();
    loop {
        let flushes = session.outbox.borrow().needs_flush();
        let flush = std::future::poll_fn(|task| {
            let mut outbox = session.outbox.borrow_mut();
            match outbox.poll_flush(task, &hands.hub, &mut scratch) {
                (Flushed::Blocked, Wrote::Nothing) => Poll::Pending,
                (flushed, _) => Poll::Ready(flushed),
            }
        });
        tokio::select! {
            _ = flush, if flushes => {}
            () = session.wake.notified() => {}
        }
        hands.ring();
    }
}
