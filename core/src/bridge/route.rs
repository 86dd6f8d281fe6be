//! Routes: how the records of one source become events. Owns the order of the steps and the bounds of what
//! they make; every reason why a record can't become an event is in `Poison`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{Document, Fields, Filter, Template};
use crate::policy::{
    EVENT_KEY_BYTES_MOST, HEADER_BYTES_MOST, HEADERS_MOST, MEDIA_TYPE_JSON, TRACE_BYTES_MOST,
};
use crate::protocol::check_payload;
use crate::seams::SourceRecord;
use crate::vocabulary::{Body, Channel, ChannelKey, EventKind, NameError, SourceName, Tenant};

/// The header that carries a trace on (W3C Trace Context).
const TRACE_HEADER: &str = "traceparent";

/// What the records of a source become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its name, and the source's in the marks: another name is another source.
    pub name: SourceName,
    pub tenant: Template,
    /// Begins with its namespace, as text.
    pub channel: Template,
    pub filter: Filter,
    pub fields: Fields,
    pub kind: Kind,
    pub key: Option<Template>,
    /// The headers that leave.
    pub headers: BTreeSet<String>,
    pub content_type: String,
    /// The namespace's bound.
    pub event_bytes: usize,
}

/// What an event does to its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Publish,
    Remove,
    /// Removes where the record has no payload.
    Upsert,
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mapped {
    Made(Box<Made>),
    /// The filter left it out.
    Skipped,
    Poison(Poison),
}

/// An event to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    pub key: ChannelKey,
    pub body: Body,
}

/// Why a record can't become an event, now or ever.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Poison {
    #[error("the payload is not one JSON value")]
    NotJson,
    #[error("the payload does not match its content type")]
    BadPayload,
    #[error("there is no payload")]
    NoPayload,
    #[error("`{0}` is missing or empty")]
    Missing(String),
    #[error("`{0}` is no text, number or boolean")]
    NoText(String),
    #[error("`{0}` holds the character that ends its place in the template")]
    Ambiguous(String),
    #[error("the tenant is not valid: {0}")]
    Tenant(NameError),
    #[error("the channel is not valid: {0}")]
    Channel(NameError),
    #[error("the event key has {0} bytes, at most {EVENT_KEY_BYTES_MOST} are allowed")]
    KeyTooLong(usize),
    #[error("the headers that leave are too many or too long, or no text")]
    Headers,
    #[error("the payload has {bytes} bytes, the namespace allows {limit}")]
    TooLarge { bytes: usize, limit: usize },
}

impl Route {
    /// What becomes of a record; alike whenever it is asked.
    pub fn map(&self, record: &SourceRecord) -> Mapped {
        match self.try_map(record) {
            Ok(Some(made)) => Mapped::Made(Box::new(made)),
            Ok(None) => Mapped::Skipped,
            Err(poison) => Mapped::Poison(poison),
        }
    }

    fn try_map(&self, record: &SourceRecord) -> Result<Option<Made>, Poison> {
        let document = self.document(record)?;
        if !self.filter.passes(record, document) {
            return Ok(None);
        }
        let tenant = self.tenant.render(record, document)?;
        let channel = self.channel.render(record, document)?;
        let key = ChannelKey {
            tenant: Tenant::parse(&tenant).map_err(Poison::Tenant)?,
            channel: Channel::parse(&channel).map_err(Poison::Channel)?,
        };
        let kind = match (self.kind, &record.payload) {
            (Kind::Remove, _) | (Kind::Upsert, None) => EventKind::Remove,
            (Kind::Publish, None) => return Err(Poison::NoPayload),
            (Kind::Publish | Kind::Upsert, Some(_)) => EventKind::Publish,
        };
        let data = match kind {
            EventKind::Publish => self.payload(record, document)?,
            _ => Bytes::new(),
        };
        let body = Body {
            kind,
            key: self.event_key(record, document)?,
            headers: self.headers(record)?,
            content_type: (self.content_type != MEDIA_TYPE_JSON).then(|| self.content_type.clone()),
            data,
            trace: trace(record),
            ..Body::default()
        };
        Ok(Some(Made { key, body }))
    }

    /// The payload as JSON, where the route looks into it.
    fn document<'r>(&self, record: &'r SourceRecord) -> Result<Option<Document<'r>>, Poison> {
        let templates = [Some(&self.tenant), Some(&self.channel), self.key.as_ref()];
        let reads = !self.fields.is_whole()
            || self.filter.reads_payload()
            || templates.into_iter().flatten().any(Template::reads_payload);
        match record.payload.as_deref().filter(|_| reads) {
            Some(payload) => Document::parse(payload).map(Some).ok_or(Poison::NotJson),
            None => Ok(None),
        }
    }

    fn payload(
        &self,
        record: &SourceRecord,
        document: Option<Document<'_>>,
    ) -> Result<Bytes, Poison> {
        let data = match document.filter(|_| !self.fields.is_whole()) {
            Some(document) => self.fields.scope(document).into(),
            None => record.payload.clone().unwrap_or_default(),
        };
        check_payload(&self.content_type, &data).map_err(|_| Poison::BadPayload)?;
        match data.len() <= self.event_bytes {
            true => Ok(data),
            false => Err(Poison::TooLarge { bytes: data.len(), limit: self.event_bytes }),
        }
    }

    fn event_key(
        &self,
        record: &SourceRecord,
        document: Option<Document<'_>>,
    ) -> Result<Option<String>, Poison> {
        let Some(template) = &self.key else { return Ok(None) };
        let key = template.render(record, document)?;
        match key.len() <= EVENT_KEY_BYTES_MOST {
            true => Ok(Some(key)),
            false => Err(Poison::KeyTooLong(key.len())),
        }
    }

    fn headers(&self, record: &SourceRecord) -> Result<BTreeMap<String, String>, Poison> {
        let mut headers = BTreeMap::new();
        for name in &self.headers {
            let Some(value) = record.header(name) else { continue };
            let value = std::str::from_utf8(value).map_err(|_| Poison::Headers)?;
            headers.insert(name.clone(), value.to_owned());
        }
        let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        match headers.len() <= HEADERS_MOST && bytes <= HEADER_BYTES_MOST {
            true => Ok(headers),
            false => Err(Poison::Headers),
        }
    }
}

/// A trace that can't be carried on is no reason to refuse an event.
fn trace(record: &SourceRecord) -> Option<String> {
    let text = std::str::from_utf8(record.header(TRACE_HEADER)?).ok()?;
    (text.is_ascii() && text.len() <= TRACE_BYTES_MOST).then(|| text.to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bridge::{Condition, Pointer};

    pub(in crate::bridge) fn record(key: &str, payload: &str) -> SourceRecord {
        SourceRecord {
            partition: 0,
            offset: 7,
            key: Some(Bytes::copy_from_slice(key.as_bytes())),
            headers: vec![("kind".to_owned(), Bytes::from_static(b"created"))],
            payload: Some(Bytes::copy_from_slice(payload.as_bytes())),
        }
    }

    fn template(text: &str) -> Template {
        Template::parse(text).unwrap()
    }

    fn route() -> Route {
        Route {
            name: SourceName::parse("orders").unwrap(),
            tenant: template("acme"),
            channel: template("orders:{/customer}"),
            filter: Filter::new(vec![Condition::parse("/type != test").unwrap()]),
            fields: Fields::new(&[Pointer::parse("/id").unwrap()]),
            kind: Kind::Publish,
            key: Some(template("{key}")),
            headers: ["kind".to_owned()].into(),
            content_type: MEDIA_TYPE_JSON.to_owned(),
            event_bytes: 40,
        }
    }

    fn made(route: &Route, record: &SourceRecord) -> Made {
        match route.map(record) {
            Mapped::Made(made) => *made,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_record_becomes_an_event_of_named_fields() {
        let mut record = record("k1", r#"{"id":1,"customer":"c9","card":"4111"}"#);
        record.headers.push(("secret".to_owned(), Bytes::from_static(b"x")));
        record.headers.push((TRACE_HEADER.to_owned(), Bytes::from_static(b"00-ab-cd-01")));
        let made = made(&route(), &record);
        assert_eq!((made.key.tenant.as_str(), made.key.channel.as_str()), ("acme", "orders:c9"));
        let expected = Body {
            key: Some("k1".to_owned()),
            headers: [("kind".to_owned(), "created".to_owned())].into(),
            data: Bytes::from_static(b"{\"id\":1}"),
            trace: Some("00-ab-cd-01".to_owned()),
            ..Body::default()
        };
        assert_eq!(made.body, expected);
    }

    #[test]
    fn a_filter_leaves_records_out() {
        assert_eq!(route().map(&record("k", r#"{"type":"test"}"#)), Mapped::Skipped);
    }

    #[test]
    fn each_reason_is_told() {
        let long = "x".repeat(60);
        for (key, payload, poison) in [
            ("k", "{".to_owned(), Poison::NotJson),
            ("k", "{}".to_owned(), Poison::Missing("/customer".to_owned())),
            ("k", r#"{"customer":[]}"#.to_owned(), Poison::NoText("/customer".to_owned())),
            (
                "k",
                r#"{"customer":"a b"}"#.to_owned(),
                Poison::Channel(NameError::BadCharacter { what: "channel" }),
            ),
            (
                "k",
                format!(r#"{{"customer":"c","id":"{long}"}}"#),
                Poison::TooLarge { bytes: 69, limit: 40 },
            ),
            (&"k".repeat(256), r#"{"customer":"c"}"#.to_owned(), Poison::KeyTooLong(256)),
        ] {
            assert_eq!(route().map(&record(key, &payload)), Mapped::Poison(poison), "{payload}");
        }
        let mut bytes = record("k", r#"{"customer":"c"}"#);
        bytes.headers[0].1 = Bytes::from_static(b"\xff");
        assert_eq!(route().map(&bytes), Mapped::Poison(Poison::Headers));
        let gone = SourceRecord { payload: None, ..bytes };
        assert_eq!(
            route().map(&gone),
            Mapped::Poison(Poison::Missing("/customer".to_owned())),
            "no payload holds no channel"
        );
    }

    #[test]
    fn a_record_without_a_payload_removes() {
        let route = Route { channel: template("orders:all"), kind: Kind::Upsert, ..route() };
        let mut gone = record("k1", "");
        gone.payload = None;
        let removal = made(&route, &gone).body;
        assert_eq!((removal.kind, removal.key.as_deref()), (EventKind::Remove, Some("k1")));
        let publish = Route { kind: Kind::Publish, ..route };
        assert_eq!(publish.map(&gone), Mapped::Poison(Poison::NoPayload));
    }

    #[test]
    fn a_whole_payload_may_be_any_bytes_of_its_type() {
        let whole = Fields::new(&[Pointer::default()]);
        let route = Route {
            fields: whole,
            filter: Filter::default(),
            channel: template("orders:{key}"),
            content_type: "application/octet-stream".to_owned(),
            ..route()
        };
        let mut record = record("k1", "");
        record.payload = Some(Bytes::from_static(b"\xff\0"));
        let body = made(&route, &record).body;
        assert_eq!(
            (&body.data[..], body.media_type()),
            (&b"\xff\0"[..], "application/octet-stream")
        );
        let json = Route { content_type: MEDIA_TYPE_JSON.to_owned(), ..route };
        assert_eq!(json.map(&record), Mapped::Poison(Poison::BadPayload));
    }
}
