//! What a subscription yields, and where it begins. Plain values.

use std::sync::Arc;

use meridian_core::protocol::ReplyError;
use meridian_core::vocabulary::{Body, Position, Prev};

/// Where a subscription begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Start {
    /// With what is published from now on.
    #[default]
    Now,
    /// Behind a cursor that was kept.
    Cursor(String),
    /// With the newest so many events.
    Last(u32),
    /// Behind the position that this `subscriber` acknowledged; from now if there is none.
    Acked,
}

/// What a subscription yields, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    Event(Event),
    /// What lay before can't be had: the application should load its state afresh.
    Gap(Gap),
    /// So many events of an ephemeral channel were passed over, because this reader was too slow.
    Skipped(u64),
    /// The subscription ended, for this reason. Nothing follows.
    Ended(ReplyError),
}

/// An event of a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its place; `None` on an ephemeral channel.
    pub place: Option<Place>,
    /// The log's append time, in milliseconds since 1970.
    pub time_ms: u64,
    /// The publisher's id.
    pub id: Option<String>,
    /// Payload and everything else that was published.
    pub body: Body,
}

/// An event's place in the order of its channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub stream: Arc<str>,
    pub position: Position,
    /// What the server named as the predecessor.
    pub prev: Prev,
}

/// A range that can't be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// `retention`, `epoch` or `unknown`.
    pub reason: String,
    /// The cursor before the range.
    pub from: String,
    /// The cursor behind it.
    pub cursor: String,
}

impl Event {
    /// The cursor of a reader that took this event last; `None` on an ephemeral channel.
    pub fn cursor(&self) -> Option<String> {
        self.place.as_ref().map(|place| cursor(&place.stream, place.position))
    }

    /// What the event takes in a queue, in bytes, roughly.
    pub(crate) fn weight(&self) -> usize {
        self.body.data.len() + 256
    }
}

/// The one way in which a cursor is composed.
pub(crate) fn cursor(stream: &str, position: Position) -> String {
    format!("{stream}.{}", position.passed)
}
