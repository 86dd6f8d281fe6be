//! Where a session stands at the end of a turn of its task: what a transport needs to know that answers
//! a request with the next cursors.

use std::cell::RefCell;
use std::collections::HashMap;

use bytes::Bytes;
use meridian_core::protocol::Code;
use meridian_core::vocabulary::{Channel, Cursor, Stream};

use super::{Connection, Driver};
use crate::hub::{FollowerRef, Hub, LaneId};
use crate::session::machine::Machine;
use crate::session::outbox::Outbox;

/// What a connection wants done at the end of a turn.
#[derive(Debug)]
pub(crate) enum Next {
    GoOn,
    /// Write this before any further event.
    Write(Bytes),
    Close(Code),
}

/// A session between two turns.
pub(crate) struct Standing<'a> {
    hub: &'a RefCell<Hub>,
    outbox: &'a RefCell<Outbox>,
    machine: &'a Machine,
    followers: &'a HashMap<Channel, (FollowerRef, Stream, LaneId)>,
}

impl Standing<'_> {
    /// Whether all that there is to write is with the lanes' writers.
    pub(crate) fn is_idle(&self) -> bool {
        !self.outbox.borrow().needs_flush()
    }

    /// Whether messages of the session's own wait to be written.
    pub(crate) fn has_queue(&self) -> bool {
        self.outbox.borrow().queued_bytes() > 0
    }

    /// Whether every subscription is made and has all there is.
    pub(crate) fn is_caught_up(&self) -> bool {
        let hub = self.hub.borrow();
        let live = |follower| hub.standing(follower).is_none_or(|(_, live)| live);
        !self.machine.is_starting() && self.followers.values().all(|(follower, ..)| live(*follower))
    }

    /// How many channels are followed.
    pub(crate) fn channels(&self) -> usize {
        self.followers.len()
    }

    /// The cursors up to which the client was sent its stored channels: all that is with the writers,
    /// and nothing else.
    pub(crate) fn cursors(&self) -> Vec<(&Channel, Cursor)> {
        let hub = self.hub.borrow();
        let cursor = |(channel, (follower, stream, _)): (_, &(_, Stream, _))| {
            let (position, _) = hub.standing(*follower)?;
            let (log, partition) = (stream.log.clone(), stream.partition);
            Some((channel, Cursor { log, partition, position }))
        };
        self.followers.iter().filter_map(cursor).collect()
    }
}

impl<C: Connection> Driver<C> {
    pub(super) fn end_turn(&mut self) {
        let standing = Standing {
            hub: &self.context.hands.hub,
            outbox: &self.session.outbox,
            machine: &self.machine,
            followers: &self.followers,
        };
        match self.connection.turn(&standing) {
            Next::GoOn => {}
            Next::Write(bytes) => self.session.outbox.borrow_mut().send(0, bytes),
            Next::Close(code) => {
                let acts = self.machine.shut(code);
                self.act(acts);
            }
        }
    }
}
