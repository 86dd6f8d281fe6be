//! The hub's view of a session: somewhere to write frames to. The hub never knows what it is.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;

use crate::frame::Format;

/// A follower of a channel: where it stands in its hub. Stale ones are recognised by `serial`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FollowerRef {
    pub(crate) channel: u32,
    pub(crate) follower: u32,
    pub(crate) serial: u64,
}

/// A lane of an outlet: 0 is the session's own stream.
pub(crate) type LaneId = u8;

/// What became of a frame that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// Written, or its rest is kept by the lane: it will arrive.
    Taken,
    /// Nothing of it was taken; the lane pulls when it can.
    Blocked,
}

/// How many pages a session's channels may have at once: what a reader that is stuck holds of them.
const PAGES_MOST: u32 = 4;

/// A session's turns at reading pages.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns(Rc<Cell<u32>>);

/// One turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn(Rc<Cell<u32>>);

impl Turns {
    /// Whether one more page may be asked for.
    pub(crate) fn is_free(&self) -> bool {
        self.0.get() < PAGES_MOST
    }

    pub(super) fn take(&self) -> Option<Turn> {
        let free = self.is_free();
        free.then(|| {
            self.0.set(self.0.get() + 1);
            Turn(self.0.clone())
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A session as the hub sees it. Calls come from within the hub: an outlet must not call it back.
pub(crate) trait Outlet {
    /// How frames must look.
    fn format(&self) -> Format;

    /// Its turns at reading pages.
    fn turns(&self) -> &Turns;

    /// Offers a frame to an idle lane. Bounded work, never waits.
    fn offer(&self, lane: LaneId, frame: &Bytes) -> Offer;

    /// The follower has something to pull: the lane's writer takes it up.
    fn behind(&self, lane: LaneId, follower: FollowerRef);
}
