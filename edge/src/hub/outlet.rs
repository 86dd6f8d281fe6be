//! The hub's view of a session: somewhere to write frames to. The hub never knows what it is.

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

/// A session as the hub sees it. Calls come from within the hub: an outlet must not call it back.
pub(crate) trait Outlet {
    /// How frames must look.
    fn format(&self) -> Format;

    /// Offers a frame to an idle lane. Bounded work, never waits.
    fn offer(&self, lane: LaneId, frame: &Bytes) -> Offer;

    /// The follower has something to pull: the lane's writer takes it up.
    fn behind(&self, lane: LaneId, follower: FollowerRef);
}
