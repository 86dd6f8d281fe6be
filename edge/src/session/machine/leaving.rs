//! How a session leaves: told to move by a node that stops, or sent to another region. Pure; it is told
//! the time.

use std::time::{Duration, Instant};

use meridian_core::protocol::{Code, Message, ModePush, Redirect};

use super::{Act, Machine, State};

impl Machine {
    /// Tells the client to move.
    pub(crate) fn drain(&mut self, after: Duration, deadline: Duration, now: Instant) -> Vec<Act> {
        match self.state {
            State::Open(_) => {
                self.leave_by = Some(now + deadline);
                vec![Act::Send(Message::Drain {
                    after_ms: after.as_millis() as u64,
                    deadline_ms: deadline.as_millis() as u64,
                })]
            }
            _ => self.shut(Code::Draining),
        }
    }

    /// Sends the client to another region, now or as soon as it has connected.
    pub(crate) fn divert(&mut self, redirect: Redirect, now: Instant) -> Vec<Act> {
        if !matches!(self.state, State::Open(_)) {
            self.diverted = Some(Box::new(redirect));
            return Vec::new();
        }
        self.leave_by = redirect.deadline_ms.map(|ms| now + Duration::from_millis(ms));
        vec![Act::Send(Message::Redirect(redirect))]
    }

    /// Tells the modes that stand, now or as soon as the client has connected.
    pub(crate) fn tell_mode(&mut self, push: ModePush) -> Vec<Act> {
        if matches!(self.state, State::Open(_)) {
            return vec![Act::Send(Message::Mode(push))];
        }
        self.mode = Some(Box::new(push));
        Vec::new()
    }

    /// Nobody is sent away any more.
    pub(crate) fn stay(&mut self) {
        self.diverted = None;
        self.leave_by = None;
    }

    /// What was to be told before the client had connected. One that was sent here is not sent on.
    pub(super) fn divert_late(&mut self, sent_here: bool, now: Instant, acts: &mut Vec<Act>) {
        if let Some(redirect) = self.diverted.take().filter(|_| !sent_here) {
            acts.extend(self.divert(*redirect, now));
        }
    }
}
