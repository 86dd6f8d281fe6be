//! What goes to the server: numbers commands and remembers who waits for the answer.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use meridian_core::protocol::{Command, CommandFrame};

use super::Output;
use super::backoff::Jitter;

/// Who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    Refresh,
    Ping,
    /// A request, by its key.
    Request(u64),
    /// A subscription, by its serial number.
    Subscribe(u64),
    Unsubscribe(u64),
}

/// Commands on their way.
#[derive(Debug)]
pub(super) struct Wire {
    next_id: u64,
    waiting: HashMap<u64, Waiting>,
    /// Whether commands may be sent now.
    pub(super) online: bool,
    pub(super) outputs: VecDeque<Output>,
    pub(super) jitter: Jitter,
    pub(super) now: Instant,
    /// Whether something was sent since this was last taken.
    pub(super) sent: bool,
}

impl Wire {
    pub(super) fn new(seed: u64, now: Instant) -> Self {
        Self {
            next_id: 1,
            waiting: HashMap::new(),
            online: false,
            outputs: VecDeque::new(),
            jitter: Jitter::new(seed),
            now,
            sent: false,
        }
    }

    /// Sends a command whose answer belongs to `waiting`; the id.
    pub(super) fn send(&mut self, command: Command, waiting: Waiting) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.waiting.insert(id, waiting);
        self.push(CommandFrame { id: Some(id), command });
        id
    }

    /// Sends a new connection's first command; the id.
    pub(super) fn greet(&mut self, command: Command) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.outputs.push_back(Output::Greet(CommandFrame { id: Some(id), command }));
        id
    }

    /// Sends a command that wants no answer.
    pub(super) fn tell(&mut self, command: Command) {
        self.push(CommandFrame { id: None, command });
    }

    /// Who waits for this id, once.
    pub(super) fn take(&mut self, id: Option<u64>) -> Option<Waiting> {
        self.waiting.remove(&id?)
    }

    /// The connection is gone: no answer comes any more, nothing unsent goes out.
    pub(super) fn lost(&mut self) {
        self.online = false;
        self.waiting.clear();
        self.outputs.retain(|output| !matches!(output, Output::Send(_)));
    }

    fn push(&mut self, frame: CommandFrame) {
        self.sent = true;
        self.outputs.push_back(Output::Send(frame));
    }
}
