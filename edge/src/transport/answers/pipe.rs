//! The way of an event stream's bytes from its session's lane to its response: bounded, and let go of a
//! batch at a time, so that a batch is one write.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use super::super::activity::Busy;
use crate::session::{LaneBroken, LaneWriter};

/// What may wait for a reader.
const CAPACITY: usize = 64 * 1024;
/// How a block of an event stream ends.
const BLOCK_END: [u8; 2] = *b"\n\n";

struct State {
    waiting: BytesMut,
    /// What waits may go.
    released: bool,
    /// The last bytes written.
    tail: [u8; 2],
    since_mark: usize,
    ended: bool,
    reader_gone: bool,
    given_up: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Keeps the reader's connection open, until the session gives it up.
    busy: Option<Busy>,
}

struct Shared {
    state: RefCell<State>,
    gone: Notify,
}

/// The session's end of a pipe.
#[derive(Clone)]
pub(super) struct Pipe(Rc<Shared>);

/// The response's end.
pub(crate) struct PipeReader {
    shared: Rc<Shared>,
}

/// The lane that writes into a pipe. Dropping it ends the stream.
pub(super) struct PipeLane(Rc<Shared>);

/// A new pipe.
pub(super) fn pipe() -> (Pipe, PipeLane, PipeReader) {
    let state = State {
        waiting: BytesMut::new(),
        released: false,
        tail: BLOCK_END,
        since_mark: 0,
        ended: false,
        reader_gone: false,
        given_up: false,
        reader: None,
        writer: None,
        busy: None,
    };
    let shared = Rc::new(Shared { state: RefCell::new(state), gone: Notify::new() });
    (Pipe(shared.clone()), PipeLane(shared.clone()), PipeReader { shared })
}

impl State {
    fn put(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
        self.since_mark += bytes.len();
        match *bytes {
            [.., before, last] => self.tail = [before, last],
            [last] => self.tail = [self.tail[1], last],
            [] => {}
        }
    }

    fn is_full(&self) -> bool {
        self.waiting.len() >= CAPACITY
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl Pipe {
    /// Writes what comes before anything of the lane, or after it has ended.
    pub(super) fn put(&self, bytes: &[u8]) {
        self.0.state.borrow_mut().put(bytes);
    }

    /// Lets go of what waits.
    pub(super) fn release(&self) {
        let mut state = self.0.state.borrow_mut();
        if !state.waiting.is_empty() {
            state.released = true;
            state.wake_reader();
        }
    }

    /// Whether what was written ends with a whole block.
    pub(super) fn is_whole(&self) -> bool {
        self.0.state.borrow().tail == BLOCK_END
    }

    /// How much was written since the last mark.
    pub(super) fn since_mark(&self) -> usize {
        self.0.state.borrow().since_mark
    }

    /// A mark is about to be written.
    pub(super) fn mark(&self) {
        self.0.state.borrow_mut().since_mark = 0;
    }

    /// Whether the reader has yet to make room.
    pub(super) fn is_full(&self) -> bool {
        self.0.state.borrow().is_full()
    }

    /// Waits until the response is gone.
    pub(super) async fn gone(&self) {
        while !self.0.state.borrow().reader_gone {
            self.0.gone.notified().await;
        }
    }

    /// The reader takes nothing: its connection is to end.
    pub(super) fn give_up(&self) {
        let mut state = self.0.state.borrow_mut();
        state.given_up = true;
        state.ended = true;
        state.wake_reader();
        if let Some(busy) = &state.busy {
            busy.give_up();
        }
    }
}

impl PipeReader {
    /// Keeps its connection open, until the session gives it up.
    pub(crate) fn hold(&mut self, busy: Busy) {
        self.shared.state.borrow_mut().busy = Some(busy);
    }

    /// The next bytes; `None`: the stream is over.
    pub(crate) fn poll_next(&mut self, task: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.shared.state.borrow_mut();
        if state.given_up {
            return Poll::Ready(None);
        }
        if !state.waiting.is_empty() && (state.released || state.ended || state.is_full()) {
            state.released = false;
            let bytes = std::mem::take(&mut state.waiting).freeze();
            if let Some(writer) = state.writer.take() {
                writer.wake();
            }
            return Poll::Ready(Some(bytes));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        state.reader = Some(task.waker().clone());
        Poll::Pending
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        let mut state = self.shared.state.borrow_mut();
        state.reader_gone = true;
        state.waiting = BytesMut::new();
        state.busy = None;
        if let Some(writer) = state.writer.take() {
            writer.wake();
        }
        self.shared.gone.notify_one();
    }
}

impl LaneWriter for PipeLane {
    fn poll_write(
        &mut self,
        task: Option<&mut Context<'_>>,
        bytes: &[u8],
    ) -> Poll<Result<usize, LaneBroken>> {
        let mut state = self.0.state.borrow_mut();
        if state.reader_gone {
            return Poll::Ready(Err(LaneBroken::Connection));
        }
        if state.is_full() {
            state.writer = task.map(|task| task.waker().clone()).or(state.writer.take());
            return Poll::Pending;
        }
        let room = CAPACITY - state.waiting.len();
        let count = bytes.len().min(room);
        state.put(&bytes[..count]);
        if state.is_full() {
            state.wake_reader();
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(&mut self, _: Option<&mut Context<'_>>) -> Poll<Result<(), LaneBroken>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for PipeLane {
    fn drop(&mut self) {
        let mut state = self.0.state.borrow_mut();
        state.ended = true;
        state.wake_reader();
    }
}
