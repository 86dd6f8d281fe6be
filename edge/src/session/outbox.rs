//! What waits to be written to a session's lanes, and the one place that writes. A lane owns no
//! buffer while it is idle; what a slow lane holds is bounded by one write's rest and its queue.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};

use crate::hub::{FollowerRef, Hub, LaneId, Offer, Pulled, Turns};

/// One system call's worth.
const GATHER_BYTES: usize = 64 * 1024;
/// What one channel takes in its turn.
const TURN_BYTES: usize = 16 * 1024;
/// After so much the worker looks at its other work.
const FLUSH_BYTES: usize = 256 * 1024;

/// Why a lane takes no more bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LaneBroken {
    /// The whole connection is gone.
    Connection,
    /// The peer stopped this lane only.
    Stopped,
}

/// A place to write bytes to.
pub(crate) trait LaneWriter {
    /// Writes what it can, at least a byte. Without a context, what would block just says so.
    fn poll_write(
        &mut self,
        context: Option<&mut Context<'_>>,
        bytes: &[u8],
    ) -> Poll<Result<usize, LaneBroken>>;

    /// Writes what it holds itself (sealed records).
    fn poll_flush(&mut self, context: Option<&mut Context<'_>>) -> Poll<Result<(), LaneBroken>>;
}

/// What a write of the outbox came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrote {
    Nothing,
    Some,
}

/// How a flush ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Nothing is left to write.
    Idle,
    /// A lane waits for room; its waker is registered.
    Blocked,
    /// Something is left, but it is others' turn.
    More,
    /// The connection is gone.
    Broken,
}

struct Lane {
    writer: Box<dyn LaneWriter>,
    /// The rest of the last write.
    rest: Bytes,
    /// Messages that go before any event.
    queue: VecDeque<Bytes>,
    behind: VecDeque<FollowerRef>,
    /// Those who need a page while the session has as many as it may.
    later: VecDeque<FollowerRef>,
    stopped: bool,
    /// The writer may hold bytes of its own.
    unflushed: bool,
}

/// The lanes of a session.
pub(crate) struct Outbox {
    lanes: Vec<Lane>,
    queued_bytes: usize,
    /// Lanes that the peer stopped since the last look.
    newly_stopped: Vec<LaneId>,
    turns: Turns,
}

impl Outbox {
    /// Lane 0 is the session's own stream.
    pub(crate) fn new(own: Box<dyn LaneWriter>) -> Self {
        let mut outbox = Self {
            lanes: Vec::with_capacity(1),
            queued_bytes: 0,
            newly_stopped: Vec::new(),
            turns: Turns::default(),
        };
        outbox.add_lane(own);
        outbox
    }

    /// Adds a lane for channels.
    pub(crate) fn add_lane(&mut self, writer: Box<dyn LaneWriter>) {
        self.lanes.push(Lane {
            writer,
            rest: Bytes::new(),
            queue: VecDeque::new(),
            behind: VecDeque::new(),
            later: VecDeque::new(),
            stopped: false,
            unflushed: false,
        });
    }

    /// How many lanes there are, lane 0 included.
    pub(crate) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// The session's turns at reading pages.
    pub(crate) fn turns(&self) -> &Turns {
        &self.turns
    }

    /// The lane, or the session's own stream where the peer stopped it.
    pub(crate) fn usable(&self, lane: LaneId) -> LaneId {
        if self.lanes[usize::from(lane)].stopped { 0 } else { lane }
    }

    /// Queues a message, before any event of the lane.
    pub(crate) fn send(&mut self, lane: LaneId, frame: Bytes) {
        self.queued_bytes += frame.len();
        let lane = self.usable(lane);
        self.lanes[usize::from(lane)].queue.push_back(frame);
    }

    /// What waits in the queues, in bytes.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Lanes that the peer stopped since the last call.
    pub(crate) fn take_stopped(&mut self) -> Vec<LaneId> {
        std::mem::take(&mut self.newly_stopped)
    }

    /// The follower waits for its turn on the lane.
    pub(crate) fn behind(&mut self, lane: LaneId, follower: FollowerRef) {
        self.lanes[usize::from(lane)].behind.push_back(follower);
    }

    /// Writes the frame at once if the lane is idle.
    pub(crate) fn offer(&mut self, lane: LaneId, frame: &Bytes) -> Offer {
        let lane = &mut self.lanes[usize::from(lane)];
        if lane.stopped || !lane.is_idle() {
            return Offer::Blocked;
        }
        match lane.writer.poll_write(None, frame) {
            Poll::Ready(Ok(0)) | Poll::Pending => Offer::Blocked,
            Poll::Ready(Ok(written)) => {
                lane.unflushed = true;
                if written < frame.len() {
                    lane.rest = frame.slice(written..);
                } else if lane.writer.poll_flush(None).is_ready() {
                    lane.unflushed = false;
                }
                Offer::Taken
            }
            // The session's own task meets the same and closes.
            Poll::Ready(Err(_)) => Offer::Blocked,
        }
    }

    /// Followers that wait in the lanes, and bytes that wait to be written.
    #[cfg(test)]
    pub(crate) fn load(&self) -> (usize, usize) {
        let waiting = self.lanes.iter().map(|lane| lane.behind.len() + lane.later.len()).sum();
        let rests: usize = self.lanes.iter().map(|lane| lane.rest.len()).sum();
        (waiting, rests + self.queued_bytes)
    }

    /// Whether the session's task has to write.
    pub(crate) fn needs_flush(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.stopped && !lane.is_idle()) || self.has_turn()
    }

    /// Whether somebody who waited for a page may ask for it now.
    fn has_turn(&self) -> bool {
        self.turns.is_free() && self.lanes.iter().any(|lane| !lane.later.is_empty())
    }

    /// Writes queues first, then what those behind lack, in turns by bytes.
    pub(crate) fn poll_flush(
        &mut self,
        context: &mut Context<'_>,
        hub: &RefCell<Hub>,
        scratch: &mut Vec<u8>,
    ) -> (Flushed, Wrote) {
        let (mut result, mut wrote) = (Flushed::Idle, Wrote::Nothing);
        for index in 0..self.lanes.len() {
            let lane = &mut self.lanes[index];
            let has_turn = self.turns.is_free() && !lane.later.is_empty();
            if lane.stopped || (lane.is_idle() && !has_turn) {
                continue;
            }
            let (flushed, bytes, unqueued) = lane.flush(context, hub, scratch, &self.turns);
            self.queued_bytes -= unqueued;
            if bytes > 0 {
                wrote = Wrote::Some;
            }
            match flushed {
                Err(LaneBroken::Stopped) if index > 0 => {
                    let dropped: usize = lane.queue.iter().map(Bytes::len).sum();
                    self.queued_bytes -= dropped;
                    lane.stop();
                    self.newly_stopped.push(index as LaneId);
                }
                Err(_) => return (Flushed::Broken, wrote),
                Ok(Flushed::Blocked) if result == Flushed::Idle => result = Flushed::Blocked,
                Ok(Flushed::More) => result = Flushed::More,
                Ok(_) => {}
            }
        }
        if self.has_turn() {
            result = Flushed::More;
        }
        (result, wrote)
    }
}

impl Lane {
    fn is_idle(&self) -> bool {
        self.rest.is_empty() && self.queue.is_empty() && self.behind.is_empty() && !self.unflushed
    }

    fn stop(&mut self) {
        self.stopped = true;
        self.rest = Bytes::new();
        self.queue.clear();
        self.behind.clear();
        self.later.clear();
    }

    /// How it ended, bytes written, bytes taken from the queue.
    fn flush(
        &mut self,
        context: &mut Context<'_>,
        hub: &RefCell<Hub>,
        scratch: &mut Vec<u8>,
        turns: &Turns,
    ) -> (Result<Flushed, LaneBroken>, usize, usize) {
        let (mut written, mut unqueued) = (0, 0);
        loop {
            if self.rest.is_empty() {
                unqueued += self.gather(hub, scratch, turns);
                if scratch.is_empty() {
                    return (self.settle(context), written, unqueued);
                }
                match self.writer.poll_write(Some(context), scratch) {
                    Poll::Ready(Ok(0)) => {
                        return (Err(LaneBroken::Connection), written, unqueued);
                    }
                    Poll::Ready(Ok(count)) => {
                        written += count;
                        self.rest = Bytes::copy_from_slice(&scratch[count..]);
                    }
                    Poll::Ready(Err(broken)) => return (Err(broken), written, unqueued),
                    Poll::Pending => {
                        self.rest = Bytes::copy_from_slice(scratch);
                        return (Ok(Flushed::Blocked), written, unqueued);
                    }
                }
            } else {
                match self.writer.poll_write(Some(context), &self.rest) {
                    Poll::Ready(Ok(0)) => {
                        return (Err(LaneBroken::Connection), written, unqueued);
                    }
                    Poll::Ready(Ok(count)) => {
                        written += count;
                        self.rest.advance(count);
                        if self.rest.is_empty() {
                            // A slice would keep the whole buffer alive.
                            self.rest = Bytes::new();
                        }
                    }
                    Poll::Ready(Err(broken)) => return (Err(broken), written, unqueued),
                    Poll::Pending => return (Ok(Flushed::Blocked), written, unqueued),
                }
            }
            self.unflushed = true;
            if written >= FLUSH_BYTES {
                return (Ok(Flushed::More), written, unqueued);
            }
        }
    }

    fn settle(&mut self, context: &mut Context<'_>) -> Result<Flushed, LaneBroken> {
        match self.writer.poll_flush(Some(context)) {
            Poll::Ready(Ok(())) => {
                self.unflushed = false;
                if self.queue.capacity() > 16 {
                    self.queue = VecDeque::new();
                }
                if self.behind.capacity() > 16 {
                    self.behind = VecDeque::new();
                }
                Ok(Flushed::Idle)
            }
            Poll::Ready(Err(broken)) => Err(broken),
            Poll::Pending => Ok(Flushed::Blocked),
        }
    }

    fn next_behind(&mut self, turns: &Turns) -> Option<FollowerRef> {
        let next = self.behind.pop_front();
        next.or_else(|| if turns.is_free() { self.later.pop_front() } else { None })
    }

    /// Fills `scratch` with one write's worth; answers how many bytes came from the queue.
    fn gather(&mut self, hub: &RefCell<Hub>, scratch: &mut Vec<u8>, turns: &Turns) -> usize {
        scratch.clear();
        let mut unqueued = 0;
        while scratch.len() < GATHER_BYTES
            && let Some(frame) = self.queue.pop_front()
        {
            unqueued += frame.len();
            scratch.extend_from_slice(&frame);
        }
        let mut frames = Vec::new();
        let mut hub = hub.borrow_mut();
        while scratch.len() < GATHER_BYTES
            && let Some(follower) = self.next_behind(turns)
        {
            let pulled = hub.pull(follower, TURN_BYTES, &mut frames);
            for frame in frames.drain(..) {
                scratch.extend_from_slice(&frame);
            }
            match pulled {
                Pulled::More => self.behind.push_back(follower),
                Pulled::Later => self.later.push_back(follower),
                Pulled::Done => {}
            }
        }
        unqueued
    }
}
