//! What the commands print, as values, and their form in JSON: one object a line. Their fields are promised
//! in `docs/cli.md`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use meridian_client::{Body, Epoch, EventKind, EventView, Offset, Place, Position, Prev};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// One thing to print.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Object<'a> {
    State(Phase<'a>),
    Subscribed {
        channel: &'a str,
        class: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        behind: Option<&'a str>,
    },
    Event(Box<Shown<'a>>),
    /// What lies between the two cursors can't be had.
    Gap {
        channel: &'a str,
        reason: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<&'a str>,
        cursor: &'a str,
    },
    Skipped {
        channel: &'a str,
        count: u64,
    },
    Published {
        channel: &'a str,
        id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        line: Option<u64>,
    },
    Error {
        code: &'a str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        advice: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        channel: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        line: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        applied: Option<&'a str>,
    },
    /// The last one of a reader that began.
    End {
        reason: Reason,
        events: u64,
        cursors: &'a BTreeMap<String, String>,
    },
    /// The last one of `pub --lines`.
    #[serde(rename = "end")]
    Sent {
        reason: Reason,
        published: u64,
        failed: u64,
        /// The last line that was tried.
        line: u64,
        /// With this `--id`, the same lines again are stored once.
        id: &'a str,
    },
}

/// What becomes of the connection.
#[derive(Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(super) enum Phase<'a> {
    Connected {
        transport: &'a str,
        node: &'a str,
        region: &'a str,
        session: &'a str,
        reconnects: u64,
    },
    Waiting {
        delay_ms: u64,
        code: &'a str,
        message: &'a str,
    },
}

/// Why a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reason {
    /// All that there was, or was asked for.
    Done,
    /// `--for` is over.
    Time,
    Interrupted,
    Failed,
}

/// An event.
#[derive(Serialize)]
pub(super) struct Shown<'a> {
    pub(super) channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev: Option<Value>,
    pub(super) time: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<&'static str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    publisher: Option<&'a str>,
    #[serde(flatten)]
    pub(super) payload: Payload<'a>,
    /// Of the payload.
    #[serde(skip)]
    pub(super) bytes: usize,
}

/// A payload, in the member that carries it.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Payload<'a> {
    Data(Box<RawValue>),
    Text(&'a str),
    Bin(String),
    #[serde(untagged)]
    Nothing {},
}

impl<'a> Shown<'a> {
    /// An event as a subscription yields it.
    pub(super) fn live(channel: &'a str, event: &'a meridian_client::Event) -> Self {
        let place = event.place.as_ref().map(|place| (place, event.cursor()));
        Self::new(channel, event.id.as_deref(), event.time_ms, &event.body, place)
    }

    fn new(
        channel: &'a str,
        id: Option<&'a str>,
        time: u64,
        body: &'a Body,
        place: Option<(&Place, Option<String>)>,
    ) -> Self {
        let (place, cursor) = place.unzip();
        Self {
            channel,
            cursor: cursor.flatten(),
            epoch: place.map(|place| place.position.epoch.0),
            offset: place.map(|place| place.position.passed),
            prev: place.map(|place| prev(place.prev, place.position.epoch)),
            time,
            id,
            key: body.key.as_deref(),
            kind: match body.kind {
                EventKind::Publish => None,
                EventKind::Remove => Some("remove"),
                EventKind::Unreadable => Some("unreadable"),
            },
            headers: &body.headers,
            content_type: body.content_type.as_deref(),
            publisher: body.publisher.as_deref(),
            payload: Payload::of(body),
            bytes: body.data.len(),
        }
    }
}

/// An event of a page of history as a subscription would have yielded it.
pub(super) fn placed(stream: &str, epoch: Epoch, view: EventView) -> meridian_client::Event {
    let place = view.at.map(|(offset, prev): (Offset, Prev)| Place {
        stream: stream.into(),
        position: Position::at(epoch, offset),
        prev,
    });
    meridian_client::Event { place, time_ms: view.time_ms, id: view.id, body: view.body }
}

impl<'a> Payload<'a> {
    fn of(body: &'a Body) -> Self {
        let data = &body.data[..];
        if data.is_empty() {
            return Self::Nothing {};
        }
        let Ok(text) = std::str::from_utf8(data) else { return Self::Bin(BASE64.encode(data)) };
        let is_json = body.content_type.as_deref().is_none_or(|kind| kind == "application/json");
        match is_json.then(|| RawValue::from_string(compact(text))) {
            Some(Ok(value)) => Self::Data(value),
            Some(Err(_)) | None => Self::Text(text),
        }
    }
}

/// JSON in one line: without the white space between its tokens, and otherwise as it was written, numbers too.
fn compact(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let keep = |c: &char| {
        if in_string {
            in_string = escaped || *c != '"';
            escaped = !escaped && *c == '\\';
            return true;
        }
        in_string = *c == '"';
        !matches!(c, ' ' | '\t' | '\n' | '\r')
    };
    json.chars().filter(keep).collect()
}

fn prev(prev: Prev, epoch: Epoch) -> Value {
    match prev {
        Prev::None => Value::Null,
        Prev::Unknown => "unknown".into(),
        Prev::At(at) if at.epoch == epoch => at.passed.into(),
        Prev::At(at) => Value::from(vec![i64::from(at.epoch.0), at.passed]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(data: &'static [u8], content_type: Option<&str>) -> meridian_client::Event {
        let content_type = content_type.map(str::to_owned);
        let body = Body { data: data.into(), content_type, ..Body::default() };
        let prev = Prev::At(Position { epoch: Epoch(1), passed: 4 });
        let view =
            EventView { at: Some((Offset(7), prev)), time_ms: 5, id: Some("a".into()), body };
        placed("1.global.2.3", Epoch(2), view)
    }

    fn written(event: &meridian_client::Event) -> String {
        let object = Object::Event(Box::new(Shown::live("room:a", event)));
        serde_json::to_string(&object).unwrap()
    }

    #[test]
    fn an_event_is_one_line_with_its_payload_as_it_was_written() {
        let json = b"{ \"n\" : 1.50e400,\n \"s\": \"a \\\" b\\\\\" }";
        assert_eq!(
            written(&event(json, None)),
            r#"{"type":"event","channel":"room:a","cursor":"1.global.2.3.7","epoch":2,"offset":7,"prev":[1,4],"time":5,"id":"a","data":{"n":1.50e400,"s":"a \" b\\"}}"#
        );
        let end = |data, kind| {
            written(&event(data, kind)).split("\"id\":\"a\",").last().unwrap().to_owned()
        };
        assert_eq!(
            end(b"hi\n", Some("text/plain")),
            r#""content_type":"text/plain","text":"hi\n"}"#
        );
        assert_eq!(end(b"\xff", Some("image/png")), r#""content_type":"image/png","bin":"/w=="}"#);
        assert_eq!(end(b"not JSON", None), r#""text":"not JSON"}"#);
        assert!(written(&event(b"", None)).ends_with(r#""id":"a"}"#));
    }
}
