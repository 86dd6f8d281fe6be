//! What an application publishes and what it gets back.

use std::collections::BTreeMap;

use bytes::Bytes;
use meridian_core::protocol::{Command, Content, PublishItem};
use meridian_core::vocabulary::{Encoding, EventKind};

/// An event to publish. Its id is made here, so that every retry carries the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Publish(pub(crate) PublishItem);

/// The log has the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// A position in the log, no proof that this attempt made a new event; `None` on an ephemeral
    /// channel.
    pub cursor: Option<String>,
}

impl Publish {
    /// An event of any content type (`None`: `application/json`).
    pub fn new(
        channel: impl Into<String>,
        data: impl Into<Bytes>,
        content_type: Option<&str>,
    ) -> Self {
        Self(PublishItem {
            channel: channel.into(),
            id: Some(format!("{:032x}", rand::random::<u128>())),
            content: Content { data: data.into(), content_type: content_type.map(str::to_owned) },
            kind: EventKind::Publish,
            key: None,
            headers: BTreeMap::new(),
            encoding: Encoding::Plain,
            trace: None,
            age_ms: 0,
        })
    }

    /// A JSON value, as text.
    pub fn json(channel: impl Into<String>, json: impl Into<Bytes>) -> Self {
        Self::new(channel, json, None)
    }

    /// Plain text.
    pub fn text(channel: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(channel, text.into(), Some("text/plain"))
    }

    /// Bytes.
    pub fn binary(channel: impl Into<String>, data: impl Into<Bytes>) -> Self {
        Self::new(channel, data, Some("application/octet-stream"))
    }

    /// Removes a key from a feed.
    pub fn remove(channel: impl Into<String>, key: impl Into<String>) -> Self {
        let mut publish = Self::new(channel, Bytes::new(), None).key(key);
        publish.0.kind = EventKind::Remove;
        publish
    }

    /// With an id of the publisher's own (1 to 64 bytes): the same id is stored once.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.0.id = Some(id.into());
        self
    }

    /// With a feed's key.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.0.key = Some(key.into());
        self
    }

    /// With a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.headers.insert(name.into(), value.into());
        self
    }

    /// With a W3C traceparent.
    pub fn trace(mut self, traceparent: impl Into<String>) -> Self {
        self.0.trace = Some(traceparent.into());
        self
    }

    /// The id that identifies the event together with channel and publisher.
    pub fn event_id(&self) -> &str {
        self.0.id.as_deref().unwrap_or_default()
    }
}

impl std::convert::From<Publish> for PublishItem {
    fn from(publish: Publish) -> Self {
        publish.0
    }
}

impl std::convert::From<Publish> for Command {
    fn from(publish: Publish) -> Self {
        Command::Publish(publish.0)
    }
}

impl Receipt {
    pub(crate) fn new(cursor: Option<String>) -> Self {
        Self { cursor }
    }
}
