//! Commands that want an answer whatever happens to the connection: publishes (with the same id and
//! a growing age), history, acknowledgements. Each is sent again after a reconnect and where the
//! server says retry, until its time is up. Pings are for one connection only.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use meridian_core::protocol::{Action, Code, Command, Message, Published, ReplyError};

use super::wire::{Waiting, Wire};
use super::{Backoff, Reply};
use crate::error::RequestError;

/// All requests without an answer.
#[derive(Debug)]
pub(super) struct Requests {
    next_key: u64,
    /// In the order in which they came, which is the order of their deadlines.
    pending: BTreeMap<u64, Pending>,
    retries: BTreeSet<(Instant, u64)>,
    timeout: Duration,
    backoff: Backoff,
}

#[derive(Debug)]
struct Pending {
    command: Command,
    reply: Reply,
    deadline: Instant,
    first_sent: Option<Instant>,
    attempts: u32,
    /// An attempt before this one may have been carried out: no refusal of a later one can deny that.
    unsure: bool,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Unsent,
    InFlight,
    /// Refused for now; waits for this time.
    Waiting(Instant),
}

impl Requests {
    pub(super) fn new(timeout: Duration, backoff: Backoff) -> Self {
        Self { next_key: 0, pending: BTreeMap::new(), retries: BTreeSet::new(), timeout, backoff }
    }

    /// Takes a command on.
    pub(super) fn submit(&mut self, command: Command, reply: Reply, wire: &mut Wire) {
        if matches!(command, Command::Ping) && !wire.online {
            let _ = reply.send(Err(RequestError::NotSent));
            return;
        }
        let key = self.next_key;
        self.next_key += 1;
        let mut pending = Pending {
            command,
            reply,
            deadline: wire.now + self.timeout,
            first_sent: None,
            attempts: 0,
            unsure: false,
            phase: Phase::Unsent,
        };
        if wire.online {
            pending.send(key, wire);
        }
        self.pending.insert(key, pending);
    }

    /// The answer to a request.
    pub(super) fn answered(&mut self, key: u64, message: Message) {
        if let Some(pending) = self.pending.remove(&key) {
            let message = if pending.unsure { unsure(message) } else { message };
            let _ = pending.reply.send(Ok(message));
        }
    }

    /// The server refused a request: again later, or the end of it.
    pub(super) fn refused(&mut self, key: u64, error: ReplyError, wire: &mut Wire) {
        let Some(pending) = self.pending.get_mut(&key) else { return };
        pending.unsure |= error.known_code() == Some(Code::OutcomeUnknown);
        let again = matches!(error.action, Action::Retry | Action::Refresh | Action::Reconnect);
        let backoff = self.backoff.delay(pending.attempts, &mut wire.jitter);
        let asked = Duration::from_millis(error.retry_after_ms.unwrap_or(0));
        let at = wire.now + backoff.max(asked);
        if again && at < pending.deadline && !matches!(pending.command, Command::Ping) {
            pending.attempts += 1;
            pending.phase = Phase::Waiting(at);
            self.retries.insert((at, key));
        } else if let Some(pending) = self.pending.remove(&key) {
            let unsure = pending.unsure && error.action == Action::Retry;
            let error =
                if unsure { RequestError::OutcomeUnknown } else { RequestError::Refused(error) };
            let _ = pending.reply.send(Err(error));
        }
    }

    /// A connection is there: what waits for one goes out, in order.
    pub(super) fn online(&mut self, wire: &mut Wire) {
        for (key, pending) in &mut self.pending {
            if pending.phase == Phase::Unsent {
                pending.send(*key, wire);
            }
        }
    }

    /// The connection is gone: what was in flight will be sent again.
    pub(super) fn lost(&mut self) {
        let pings = |p: &mut Pending| matches!(p.command, Command::Ping);
        for (_, pending) in self.pending.extract_if(.., |_, p| pings(p)) {
            let _ = pending.reply.send(Err(RequestError::OutcomeUnknown));
        }
        for pending in self.pending.values_mut() {
            if pending.phase == Phase::InFlight {
                pending.phase = Phase::Unsent;
                pending.unsure = pending.publishes();
            }
        }
    }

    /// Sends what has waited long enough and gives up what has waited too long.
    pub(super) fn tick(&mut self, wire: &mut Wire) {
        while let Some(entry) = self.pending.first_entry() {
            if entry.get().deadline > wire.now {
                break;
            }
            let pending = entry.remove();
            let sent = pending.first_sent.is_some();
            let error = if sent { RequestError::OutcomeUnknown } else { RequestError::NotSent };
            let _ = pending.reply.send(Err(error));
        }
        while let Some((at, key)) = self.retries.first().copied() {
            if at > wire.now {
                break;
            }
            self.retries.pop_first();
            let Some(pending) = self.pending.get_mut(&key) else { continue };
            if pending.phase == Phase::Waiting(at) {
                pending.phase = Phase::Unsent;
                if wire.online {
                    pending.send(key, wire);
                }
            }
        }
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        let deadline = self.pending.first_key_value().map(|(_, pending)| pending.deadline);
        let retry = self.retries.first().map(|(at, _)| *at);
        deadline.into_iter().chain(retry).min()
    }

    /// The client is closed.
    pub(super) fn close(&mut self) {
        for (_, pending) in std::mem::take(&mut self.pending) {
            let _ = pending.reply.send(Err(RequestError::Closed));
        }
        self.retries.clear();
    }
}

/// The answer to a batch of which an earlier attempt may have stored events that this one did not.
fn unsure(mut message: Message) -> Message {
    if let Message::PublishedBatch { results, .. } = &mut message {
        for result in results {
            if matches!(result, Published::Refused(error) if error.action == Action::Retry) {
                *result = Published::Refused(ReplyError::of(Code::OutcomeUnknown));
            }
        }
    }
    message
}

impl Pending {
    fn publishes(&self) -> bool {
        matches!(self.command, Command::Publish(_) | Command::PublishBatch { .. })
    }

    fn send(&mut self, key: u64, wire: &mut Wire) {
        let first_sent = *self.first_sent.get_or_insert(wire.now);
        let age_ms = wire.now.duration_since(first_sent).as_millis() as u64;
        let mut command = self.command.clone();
        match &mut command {
            Command::Publish(item) => item.age_ms = age_ms,
            Command::PublishBatch { events } => {
                events.iter_mut().for_each(|item| item.age_ms = age_ms);
            }
            _ => {}
        }
        wire.send(command, Waiting::Request(key));
        self.phase = Phase::InFlight;
    }
}
