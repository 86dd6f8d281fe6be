//! Records: what a log holds. Owns the stored bytes of envelope and body.
//!
//! Envelope, version 1: `'M'`, version, epoch (u32, big endian), then tenant (u8 length), channel (u8
//! length), scope (u16 length), id (u8 length), then the body to the end. The body's first byte
//! is its format; format 1 is a MessagePack map with the one-letter keys of `BodyV1`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::{Channel, ChannelKey, Epoch, EventId, Tenant};

const MAGIC: u8 = b'M';
const ENVELOPE_VERSION: u8 = 1;
const BODY_FORMAT: u8 = 1;

/// Who published, for the purpose of duplicates: the token's issuer and subject, never a session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope(Arc<str>);

/// One append to a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub key: ChannelKey,
    pub scope: Scope,
    pub id: EventId,
    /// The epoch that the writer believed in.
    pub epoch: Epoch,
    /// The body's stored bytes; `Body::decode` reads them.
    pub body: Bytes,
}

/// What the event says. `data` is the payload as it was published.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Body {
    pub kind: EventKind,
    pub key: Option<String>,
    pub headers: BTreeMap<String, String>,
    /// `None` is `application/json`.
    pub content_type: Option<String>,
    pub encoding: Encoding,
    pub data: Bytes,
    /// The user who published.
    pub publisher: Option<String>,
    /// W3C traceparent of the publisher.
    pub trace: Option<String>,
    /// How much its feed keeps, as the writer of the record believed; `None`: it was published to no feed.
    pub bounds: Option<FeedBounds>,
    /// The keys whose values left their feed with this event. A router's word, never a publisher's.
    pub evicts: Vec<String>,
}

/// How much of a feed's current values is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedBounds {
    pub keys: u64,
    pub bytes: u64,
}

/// What an event does to its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EventKind {
    #[default]
    Publish,
    /// Removes `key` from a feed.
    Remove,
    /// A record whose body this version cannot read; it keeps its place in the order.
    Unreadable,
}

/// How `data` is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    #[default]
    Plain,
    /// Reserved: a patch against the channel's previous event.
    Delta,
    /// Reserved: sealed end to end.
    Encrypted,
}

/// The bytes are not a record's envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a record of a version that this code reads")]
pub struct RecordError;

/// The body cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the body's format {0} is newer than this code")]
    Newer(u8),
    #[error("the body is damaged")]
    Damaged,
}

impl Scope {
    /// The scope of a token's holder. Length-prefixed, so that no two pairs share one.
    pub fn of_token(issuer: &str, subject: &str) -> Self {
        Self(Arc::from(format!("{}:{issuer}:{subject}", issuer.len())))
    }

    /// A scope as a log holds it.
    pub fn from_stored(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// The text that is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Record {
    /// The stored bytes.
    pub fn encode(&self) -> Bytes {
        let (tenant, channel) = (self.key.tenant.as_str(), self.key.channel.as_str());
        let mut out = BytesMut::with_capacity(
            16 + tenant.len()
                + channel.len()
                + self.scope.0.len()
                + self.id.as_str().len()
                + self.body.len(),
        );
        out.put_u8(MAGIC);
        out.put_u8(ENVELOPE_VERSION);
        out.put_u32(self.epoch.0);
        out.put_u8(tenant.len() as u8);
        out.put_slice(tenant.as_bytes());
        out.put_u8(channel.len() as u8);
        out.put_slice(channel.as_bytes());
        out.put_u16(self.scope.0.len() as u16);
        out.put_slice(self.scope.0.as_bytes());
        out.put_u8(self.id.as_str().len() as u8);
        out.put_slice(self.id.as_str().as_bytes());
        out.put_slice(&self.body);
        out.freeze()
    }

    /// Reads stored bytes; the body stays undecoded.
    pub fn decode(stored: &Bytes) -> Result<Self, RecordError> {
        let mut reader = Reader { bytes: stored, at: 0 };
        if reader.take(2)? != [MAGIC, ENVELOPE_VERSION] {
            return Err(RecordError);
        }
        let epoch = reader.take(4)?;
        let epoch = Epoch(u32::from_be_bytes([epoch[0], epoch[1], epoch[2], epoch[3]]));
        let tenant = Tenant::parse(reader.short_text()?).map_err(|_| RecordError)?;
        let channel = Channel::parse(reader.short_text()?).map_err(|_| RecordError)?;
        let scope_bytes = reader.take(2)?;
        let scope_bytes = usize::from(u16::from_be_bytes([scope_bytes[0], scope_bytes[1]]));
        let scope = Scope::from_stored(reader.text(scope_bytes)?);
        let id = EventId::parse(reader.short_text()?).map_err(|_| RecordError)?;
        let body = stored.slice(reader.at..);
        Ok(Self { key: ChannelKey { tenant, channel }, scope, id, epoch, body })
    }
}

impl Body {
    /// The stored bytes.
    pub fn encode(&self) -> Bytes {
        let stored = BodyV1 {
            kind: self.kind as u8,
            key: self.key.as_deref(),
            headers: (!self.headers.is_empty()).then_some(&self.headers),
            content_type: self.content_type.as_deref(),
            encoding: self.encoding as u8,
            data: serde_bytes::Bytes::new(&self.data),
            publisher: self.publisher.as_deref(),
            trace: self.trace.as_deref(),
            bounds: self.bounds.map(|bounds| (bounds.keys, bounds.bytes)),
            evicts: &self.evicts,
        };
        let mut out = vec![BODY_FORMAT];
        rmp_serde::encode::write_named(&mut out, &stored)
            .expect("invariant: a body of plain fields always encodes into memory");
        out.into()
    }

    /// Reads stored bytes. A reader keeps the place of what it cannot read: see `unreadable`.
    pub fn decode(stored: &[u8]) -> Result<Self, BodyError> {
        let (format, rest) = stored.split_first().ok_or(BodyError::Damaged)?;
        match *format {
            BODY_FORMAT => {}
            0 => return Err(BodyError::Damaged),
            newer => return Err(BodyError::Newer(newer)),
        }
        let body: OwnedBodyV1 = rmp_serde::from_slice(rest).map_err(|_| BodyError::Damaged)?;
        Ok(Self {
            kind: match body.kind {
                0 => EventKind::Publish,
                1 => EventKind::Remove,
                _ => return Err(BodyError::Damaged),
            },
            key: body.key,
            headers: body.headers,
            content_type: body.content_type,
            encoding: match body.encoding {
                0 => Encoding::Plain,
                1 => Encoding::Delta,
                2 => Encoding::Encrypted,
                _ => return Err(BodyError::Damaged),
            },
            data: body.data.into_vec().into(),
            publisher: body.publisher,
            trace: body.trace,
            bounds: body.bounds.map(|(keys, bytes)| FeedBounds { keys, bytes }),
            evicts: body.evicts,
        })
    }

    /// What stands in the place of a body that cannot be read, alike in all regions.
    pub fn unreadable() -> Self {
        Self { kind: EventKind::Unreadable, ..Self::default() }
    }

    /// The payload's media type.
    pub fn media_type(&self) -> &str {
        self.content_type.as_deref().unwrap_or("application/json")
    }

    pub(super) fn weight(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(k, v)| k.len() + v.len() + 48).sum();
        let texts = [&self.key, &self.content_type, &self.publisher, &self.trace];
        let texts: usize = texts.iter().map(|t| t.as_ref().map_or(0, String::len)).sum();
        let evicts: usize = self.evicts.iter().map(|key| key.len() + 24).sum();
        self.data.len() + headers + texts + evicts
    }
}

#[derive(Serialize)]
struct BodyV1<'a> {
    #[serde(rename = "k")]
    kind: u8,
    #[serde(rename = "y", skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(rename = "h", skip_serializing_if = "Option::is_none")]
    headers: Option<&'a BTreeMap<String, String>>,
    #[serde(rename = "c", skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    #[serde(rename = "e")]
    encoding: u8,
    #[serde(rename = "d")]
    data: &'a serde_bytes::Bytes,
    #[serde(rename = "p", skip_serializing_if = "Option::is_none")]
    publisher: Option<&'a str>,
    #[serde(rename = "t", skip_serializing_if = "Option::is_none")]
    trace: Option<&'a str>,
    #[serde(rename = "b", skip_serializing_if = "Option::is_none")]
    bounds: Option<(u64, u64)>,
    #[serde(rename = "v", skip_serializing_if = "<[String]>::is_empty")]
    evicts: &'a [String],
}

#[derive(Deserialize)]
struct OwnedBodyV1 {
    #[serde(rename = "k")]
    kind: u8,
    #[serde(rename = "y", default)]
    key: Option<String>,
    #[serde(rename = "h", default)]
    headers: BTreeMap<String, String>,
    #[serde(rename = "c", default)]
    content_type: Option<String>,
    #[serde(rename = "e")]
    encoding: u8,
    #[serde(rename = "d")]
    data: serde_bytes::ByteBuf,
    #[serde(rename = "p", default)]
    publisher: Option<String>,
    #[serde(rename = "t", default)]
    trace: Option<String>,
    #[serde(rename = "b", default)]
    bounds: Option<(u64, u64)>,
    #[serde(rename = "v", default)]
    evicts: Vec<String>,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        let end = self.at.checked_add(len).ok_or(RecordError)?;
        let slice = self.bytes.get(self.at..end).ok_or(RecordError)?;
        self.at = end;
        Ok(slice)
    }

    fn text(&mut self, len: usize) -> Result<&'a str, RecordError> {
        std::str::from_utf8(self.take(len)?).map_err(|_| RecordError)
    }

    fn short_text(&mut self) -> Result<&'a str, RecordError> {
        let len = usize::from(self.take(1)?[0]);
        self.text(len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Record {
        Record {
            key: ChannelKey {
                tenant: Tenant::parse("demo").unwrap(),
                channel: Channel::parse("flights:SFO").unwrap(),
            },
            scope: Scope::of_token("meridian", "ann"),
            id: EventId::parse("a1").unwrap(),
            epoch: Epoch(1),
            body: Body { data: Bytes::from_static(b"{\"a\":1}"), ..Body::default() }.encode(),
        }
    }

    /// What is stored is dear to change: these bytes are on disks.
    #[test]
    fn golden_bytes() {
        let expected: &[u8] = b"M\x01\0\0\0\x01\x04demo\x0bflights:SFO\0\x0e8:meridian:ann\x02a1\
            \x01\x83\xa1k\0\xa1e\0\xa1d\xc4\x07{\"a\":1}";
        assert_eq!(&sample().encode()[..], expected);
        assert_eq!(Record::decode(&Bytes::from_static(expected)).unwrap(), sample());
    }

    #[test]
    fn golden_bytes_of_a_feed() {
        let expected: &[u8] =
            b"\x01\x86\xa1k\0\xa1y\xa1a\xa1e\0\xa1d\xc4\x011\xa1b\x92\x02\x09\xa1v\x91\xa1z";
        let body = Body {
            key: Some("a".into()),
            data: Bytes::from_static(b"1"),
            bounds: Some(FeedBounds { keys: 2, bytes: 9 }),
            evicts: vec!["z".into()],
            ..Body::default()
        };
        assert_eq!(&body.encode()[..], expected);
        assert_eq!(Body::decode(expected), Ok(body));
    }

    #[test]
    fn unreadable_bodies_are_told_apart() {
        assert_eq!(Body::decode(b""), Err(BodyError::Damaged));
        assert_eq!(Body::decode(b"\x02anything"), Err(BodyError::Newer(2)));
        assert_eq!(Body::decode(b"\x01\x83"), Err(BodyError::Damaged));
    }

    proptest! {
        #[test]
        fn body_round_trip(key in proptest::option::of(".{0,20}"), data: Vec<u8>, content_type in proptest::option::of("[a-z/]{1,20}"), name in "[a-z]{1,8}", value in ".{0,8}") {
            let body = Body { key, data: data.into(), content_type, headers: BTreeMap::from([(name, value)]), kind: EventKind::Remove, ..Body::default() };
            prop_assert_eq!(Body::decode(&body.encode()).unwrap(), body);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = Body::decode(&bytes);
            if let Ok(record) = Record::decode(&Bytes::from(bytes.clone())) {
                prop_assert_eq!(&record.encode()[..], &bytes[..]);
            }
        }
    }
}
