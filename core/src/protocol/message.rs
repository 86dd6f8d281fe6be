//! The messages as values: what sessions and client libraries handle. Names from the wire are kept
//! as text here; whoever acts on a command checks them.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Action, Code};
use crate::vocabulary::{Body, Encoding, Epoch, EventKind, Offset, Position, Prev};

/// A command with the id that its reply will carry.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandFrame {
    /// `None`: no reply is wanted.
    pub id: Option<u64>,
    pub command: Command,
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Connect(Connect),
    Subscribe(Subscribe),
    Unsubscribe {
        channel: String,
    },
    Publish(PublishItem),
    PublishBatch {
        events: Vec<PublishItem>,
    },
    Ack(Ack),
    History(HistoryRequest),
    Refresh {
        token: String,
    },
    Ping,
    Pong,
    /// A command that this version does not know: `unsupported`.
    Unknown,
    /// A known command with a missing or ill-typed field: `bad_request`.
    Invalid,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Connect {
    pub protocol: u32,
    pub token: Option<String>,
    pub capabilities: Vec<String>,
    pub subscriber: Option<String>,
    /// Name and version of the client library, for logs.
    pub client: Option<String>,
    /// Why the connection before this one ended, where there was one.
    pub reconnect: Option<String>,
    /// The transport that this client would rather have used, and why it did not.
    pub fallback: Option<Fallback>,
    /// Why a server sent this client here, where one did: it is served unless that is impossible.
    pub redirected: Option<String>,
}

/// A transport that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fallback {
    pub from: String,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Subscribe {
    pub channel: String,
    pub cursor: Option<String>,
    pub last: Option<u32>,
    pub acked: bool,
}

/// A payload with its content type (`None`: `application/json`).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Content {
    pub data: Bytes,
    pub content_type: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct PublishItem {
    pub channel: String,
    pub id: Option<String>,
    pub content: Content,
    pub kind: EventKind,
    pub key: Option<String>,
    pub headers: BTreeMap<String, String>,
    pub encoding: Encoding,
    pub trace: Option<String>,
    /// Milliseconds since the first attempt.
    pub age_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ack {
    pub channel: String,
    pub cursor: String,
    pub reset: bool,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct HistoryRequest {
    pub channel: String,
    pub after: Option<String>,
    pub last: Option<u32>,
    pub limit: Option<u32>,
}

/// What a server says: a reply (with the command's id) or a push.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    Connected(Option<u64>, Box<Connected>),
    Subscribed(Option<u64>, Subscribed),
    Unsubscribed {
        id: Option<u64>,
        channel: String,
        code: String,
        action: Action,
    },
    Published {
        id: Option<u64>,
        cursor: Option<String>,
    },
    PublishedBatch {
        id: Option<u64>,
        results: Vec<Published>,
    },
    Acked {
        id: Option<u64>,
        channel: String,
    },
    History(Option<u64>, HistoryPage),
    Refreshed {
        id: Option<u64>,
        expires_in_ms: Option<u64>,
    },
    Pong {
        id: Option<u64>,
    },
    Error(Option<u64>, ReplyError),
    Events {
        channel: String,
        stream: Option<String>,
        epoch: Option<Epoch>,
        events: Vec<EventView>,
    },
    Gap(GapPush),
    /// The newest event of keys of a feed, or their removal. Moves no position; no event of it has a `prev`.
    Values {
        channel: String,
        stream: String,
        epoch: Epoch,
        events: Vec<EventView>,
    },
    /// With the values before it the client has what changed up to this position.
    Conflated {
        channel: String,
        stream: String,
        position: Position,
    },
    Skipped {
        channel: String,
        count: u64,
    },
    Drain {
        after_ms: u64,
        deadline_ms: u64,
    },
    Redirect(Redirect),
    Mode(ModePush),
    Ping,
    /// A message that this version does not know; clients ignore it.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Connected {
    pub protocol: u32,
    pub session: String,
    pub node: String,
    pub region: String,
    pub tenant: String,
    pub user: String,
    pub capabilities: Vec<String>,
    pub expires_in_ms: Option<u64>,
    pub limits: Limits,
}

/// Every limit that a client must keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Limits {
    pub event_bytes: u64,
    pub frame_bytes: u64,
    pub batch_events: u64,
    pub channels: u64,
    pub commands_per_s: u64,
    pub commands_burst: u64,
    pub heartbeat_ms: u64,
    pub publish_horizon_ms: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Subscribed {
    pub channel: String,
    pub class: String,
    /// Stream and position; `None` on an ephemeral channel.
    pub at: Option<(String, Position)>,
    /// The cursor up to which the region has applied the log, where that is below the position.
    pub behind: Option<String>,
}

/// One result of a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum Published {
    Stored { cursor: Option<String> },
    Refused(ReplyError),
}

#[derive(Debug, Clone, PartialEq)]
pub struct HistoryPage {
    pub channel: String,
    pub stream: String,
    /// The position to go on from.
    pub position: Position,
    pub events: Vec<EventView>,
    /// Reason and end of a range that is gone, before `events`.
    pub gone: Option<(String, Position)>,
    pub more: bool,
}

/// An error with what its code says, and what only this case knows.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplyError {
    pub code: String,
    pub message: String,
    pub action: Action,
    pub retry_after_ms: Option<u64>,
    pub limit: Option<u64>,
    pub applied: Option<Box<str>>,
    /// The regions that can do it.
    pub elsewhere: Box<[Place]>,
}

/// Where the clients of a region connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub url: String,
    pub region: Option<String>,
}

/// The server sends this client elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    pub place: Place,
    /// `zone`, `overload` or `drain`.
    pub reason: String,
    /// When to move, in milliseconds; differs per client so that they don't arrive at once.
    pub after_ms: u64,
    /// When the server closes the session, if it does.
    pub deadline_ms: Option<u64>,
}

/// How much of its service the node gives; names as in `mode::Mode`, and those of a newer version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModePush {
    /// The node's, for every namespace that has none of its own.
    pub mode: String,
    /// Those that have one.
    pub namespaces: BTreeMap<String, String>,
    /// When to do what follows from it, in milliseconds; differs per client.
    pub after_ms: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct GapPush {
    pub channel: String,
    pub reason: String,
    /// The position before the gap.
    pub from: String,
    pub stream: String,
    /// The position behind it.
    pub position: Position,
}

/// An event as a client gets it. `offset` and `prev` are absent on an ephemeral channel.
#[derive(Debug, Clone, PartialEq)]
pub struct EventView {
    pub at: Option<(Offset, Prev)>,
    pub time_ms: u64,
    pub id: Option<String>,
    pub body: Body,
}

impl ReplyError {
    /// The error that a code stands for.
    pub fn of(code: Code) -> Self {
        Self {
            code: code.name().to_owned(),
            message: code.message().to_owned(),
            action: code.action(),
            retry_after_ms: None,
            limit: None,
            applied: None,
            elsewhere: Box::default(),
        }
    }

    /// With the time after which a retry makes sense.
    pub fn retry_after(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }

    /// With the value that was exceeded.
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// With the cursor up to which the region has applied the log.
    pub fn applied(mut self, cursor: String) -> Self {
        self.applied = Some(cursor.into());
        self
    }

    /// With the regions that can do it.
    pub fn elsewhere(mut self, places: Vec<Place>) -> Self {
        self.elsewhere = places.into();
        self
    }

    /// The code, if this version knows it.
    pub fn known_code(&self) -> Option<Code> {
        Code::from_name(&self.code)
    }
}
