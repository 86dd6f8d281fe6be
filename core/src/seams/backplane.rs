//! The backplane seam: a region's live fan-out between nodes and its hot history. It may lose
//! messages at any time; it never invents or reorders what a read returns.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::vocabulary::{ChannelKey, Event, Position, Prev, Stream};

/// An event of an `ephemeral` channel: never stored, no cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ephemeral {
    pub key: ChannelKey,
    /// The publishing node's clock, in milliseconds since 1970.
    pub time_ms: u64,
    /// The body's stored bytes (`Body::encode`).
    pub body: Bytes,
}

/// What a node's link receives.
#[derive(Debug, Clone)]
pub enum Delivery {
    Event(Arc<Event>),
    Ephemeral(Arc<Ephemeral>),
    /// Something may have been missed on any channel: compare heads.
    Lossy,
}

/// One step's outcome at the backplane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyOutcome {
    /// The marker was the one expected: appended, marked and sent to the links.
    Applied,
    /// The marker is at or above this event: another writer was here, nothing was done.
    Repeat,
    /// The marker is something else: nothing was done, the partition needs a repair.
    Mismatch {
        /// `None`: the backplane knows nothing of this partition.
        marker: Option<Position>,
    },
}

/// An event to apply, with the last kept event of the partition before it (a function of the log).
#[derive(Debug, Clone)]
pub struct Applied {
    pub event: Arc<Event>,
    pub last_kept_before: Position,
}

/// A channel's head in hot history, with what the partition's marker vouches for, read atomically.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HotHead {
    pub head: Option<Position>,
    /// `None`: the backplane knows nothing of this partition.
    pub marker: Option<Position>,
}

/// A read of hot history, atomic.
#[derive(Debug, Clone, Default)]
pub struct HotRead {
    /// Events after the asked position, oldest first, contiguous.
    pub events: Vec<Arc<Event>>,
    /// `prev` of the oldest event that hot history has of this channel; `None`: it has none. Where it is
    /// above the asked position, the range between lies in the history.
    pub oldest_prev: Option<Prev>,
    pub head: Option<Position>,
    pub marker: Option<Position>,
}

/// Channels whose hot history must go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stale<'a> {
    /// Every channel of the partition: nothing is known of what it holds.
    All,
    Channels(&'a [ChannelKey]),
}

/// The backplane did not answer, or did not carry out what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the backplane is unavailable")]
pub struct BackplaneError;

/// A node's connection to the backplane.
pub struct Link {
    /// Bounded. When it is full the backplane drops and later sends `Lossy` once there is room.
    pub deliveries: mpsc::Receiver<Delivery>,
    pub control: Arc<dyn LinkControl>,
}

/// The subscriptions of one link. Dropping the last handle and the receiver ends the link.
#[async_trait]
pub trait LinkControl: Send + Sync {
    /// Returns once every channel is surely followed: what is applied after it returns is delivered
    /// or announced as `Lossy`.
    async fn follow(&self, channels: &[(ChannelKey, Stream)]) -> Result<(), BackplaneError>;

    /// Stops following; deliveries under way may still arrive.
    async fn unfollow(&self, channels: &[(ChannelKey, Stream)]) -> Result<(), BackplaneError>;
}

/// One region's backplane.
///
/// - *Writes* to streams come from routers only and are guarded by the partition's marker, so that a
///   router that was taken over and its successor can only write the same things.
/// - *Hot history* of a channel is a contiguous suffix of its events, bounded by count and bytes, and
///   trimmed only at or below the position of `trim_below`. An event whose `prev` is not the
///   channel's newest there starts it anew.
/// - *Loss*: any state may vanish at any time; the marker vanishes with it or is older than what is lost.
/// - *Crash in the middle of `apply`*: each event is applied whole (history, head, marker, sent) or not at all.
/// - *Cancel safety*: dropping an `apply` leaves any prefix applied; call again with the same events.
#[async_trait]
pub trait Backplane: Send + Sync + 'static {
    /// Applies events of one stream in order, stops at the first that is neither `Applied` nor
    /// `Repeat`; answers one outcome per event tried.
    async fn apply(
        &self,
        stream: &Stream,
        events: &[Applied],
    ) -> Result<Vec<ApplyOutcome>, BackplaneError>;

    /// The partition's marker: the last kept event applied here.
    async fn marker(&self, stream: &Stream) -> Result<Option<Position>, BackplaneError>;

    /// If the marker is `found`: drops the hot history of `stale` channels, and only then sets the
    /// marker to `restored`, comparing it again. `false`: the marker was another one; hot history may
    /// have been dropped nevertheless, which is always safe.
    async fn repair(
        &self,
        stream: &Stream,
        found: Option<Position>,
        stale: Stale<'_>,
        restored: Position,
    ) -> Result<bool, BackplaneError>;

    /// Allows trimming of events at or below `checkpoint` (they are in the history).
    async fn trim_below(&self, stream: &Stream, checkpoint: Position)
    -> Result<(), BackplaneError>;

    /// The heads of channels of one stream, in the order of `keys`; each with a marker that was read
    /// in the same step.
    async fn heads(
        &self,
        stream: &Stream,
        keys: &[ChannelKey],
    ) -> Result<Vec<HotHead>, BackplaneError>;

    /// Up to `max_events` events after `after`.
    async fn read(
        &self,
        key: &ChannelKey,
        stream: &Stream,
        after: Position,
        max_events: usize,
    ) -> Result<HotRead, BackplaneError>;

    /// Sends an ephemeral event to every link that follows its channel; may be lost.
    async fn send(&self, event: Arc<Ephemeral>) -> Result<(), BackplaneError>;

    /// Connects a node.
    async fn link(&self) -> Result<Link, BackplaneError>;
}
