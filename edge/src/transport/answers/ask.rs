//! What a request for an event stream or a long poll asks for, from its query or its JSON body. Pure.

use std::time::Duration;

use meridian_core::protocol::{
    Bookmark, Code, Command, CommandFrame, Connect, Fallback, ReplyError, Subscribe,
};
use serde::Deserialize;

/// No query is longer; who has more to say sends a body.
pub(super) const QUERY_BYTES_MOST: usize = 8 * 1024;
const PADDING_MOST: usize = 8 * 1024;
const WAIT: Duration = Duration::from_secs(25);
const WAIT_MOST: Duration = Duration::from_secs(60);

/// A request's channels, where they start, and how it is to be answered.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) channels: Vec<Subscribe>,
    pub(super) bookmark: Bookmark,
    connect: Connect,
    /// How long a poll may wait.
    pub(super) wait: Duration,
    /// A comment of so many bytes before anything else, for what buffers on the way.
    pub(super) padding: usize,
    /// A poll is to tell where each channel begins, and is answered at once.
    pub(super) greet: bool,
}

/// Members have the names and meanings of the protocol's.
#[derive(Debug, Default, Deserialize)]
struct Body {
    #[serde(default)]
    channels: Vec<BodyChannel>,
    last_event_id: Option<String>,
    wait_ms: Option<u64>,
    padding: Option<usize>,
    #[serde(default)]
    greet: bool,
    reconnect: Option<String>,
    redirected: Option<String>,
    fallback: Option<BodyFallback>,
}

#[derive(Debug, Deserialize)]
struct BodyChannel {
    channel: String,
    cursor: Option<String>,
    last: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct BodyFallback {
    from: String,
    reason: String,
}

impl Ask {
    /// Reads a query: each `channel` may be followed by its `cursor` or `last`.
    pub(super) fn from_query(query: &str, last_event_id: Option<&str>) -> Result<Self, ReplyError> {
        if query.len() > QUERY_BYTES_MOST {
            return Err(ReplyError::of(Code::FrameTooLarge).limit(QUERY_BYTES_MOST as u64));
        }
        let mut body = Body::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            body.take(name, value)?;
        }
        body.into_ask(last_event_id)
    }

    /// Reads a JSON body.
    pub(super) fn from_body(bytes: &[u8], last_event_id: Option<&str>) -> Result<Self, ReplyError> {
        let body: Body =
            serde_json::from_slice(bytes).map_err(|_| ReplyError::of(Code::Malformed))?;
        body.into_ask(last_event_id)
    }

    /// As a session's commands: `connect` has the id 1, the channels follow in order.
    pub(super) fn commands(&self) -> Vec<CommandFrame> {
        let connect = CommandFrame { id: Some(1), command: Command::Connect(self.connect.clone()) };
        let subscribe = |(at, subscribe): (usize, &Subscribe)| {
            let command = Command::Subscribe(subscribe.clone());
            CommandFrame { id: Some(at as u64 + 2), command }
        };
        let channels = self.channels.iter().enumerate().map(subscribe);
        std::iter::once(connect).chain(channels).collect()
    }

    /// The channel that the command of this id names.
    pub(super) fn channel_of(&self, id: u64) -> Option<&str> {
        let at = usize::try_from(id).ok()?.checked_sub(2)?;
        self.channels.get(at).map(|subscribe| subscribe.channel.as_str())
    }
}

impl Body {
    fn take(&mut self, name: &str, value: &str) -> Result<(), ReplyError> {
        if !["channel", "cursor", "last", "lastEventId", "wait_ms", "padding"].contains(&name)
            && !["greet", "reconnect", "redirected", "fallback"].contains(&name)
        {
            return Ok(());
        }
        let value = crate::http_api::percent_decode(value).ok_or_else(bad_request)?;
        match name {
            "channel" => {
                self.channels.push(BodyChannel { channel: value, cursor: None, last: None });
            }
            "cursor" => self.channel()?.cursor = Some(value),
            "last" => self.channel()?.last = Some(number(&value)?),
            "lastEventId" => self.last_event_id = Some(value),
            "wait_ms" => self.wait_ms = Some(number(&value)?),
            "padding" => self.padding = Some(number(&value)?),
            "greet" => self.greet = value.parse().map_err(|_| bad_request())?,
            "reconnect" => self.reconnect = Some(value),
            "redirected" => self.redirected = Some(value),
            _ => {
                let (from, reason) = value.split_once(':').ok_or_else(bad_request)?;
                let (from, reason) = (from.to_owned(), reason.to_owned());
                self.fallback = Some(BodyFallback { from, reason });
            }
        }
        Ok(())
    }

    /// The channel that was named last.
    fn channel(&mut self) -> Result<&mut BodyChannel, ReplyError> {
        self.channels.last_mut().ok_or_else(bad_request)
    }

    /// A header of an automatic reconnect is newer than what the address says.
    fn into_ask(self, last_event_id: Option<&str>) -> Result<Ask, ReplyError> {
        let id = last_event_id.or(self.last_event_id.as_deref()).filter(|id| !id.is_empty());
        let bookmark = id.map(Bookmark::parse).transpose();
        let bookmark = bookmark.map_err(|_| ReplyError::of(Code::BadCursor))?.unwrap_or_default();
        let wait = self.wait_ms.map_or(WAIT, Duration::from_millis);
        if wait > WAIT_MOST {
            return Err(bad_request().limit(WAIT_MOST.as_millis() as u64));
        }
        let padding = self.padding.unwrap_or(0);
        if padding > PADDING_MOST {
            return Err(bad_request().limit(PADDING_MOST as u64));
        }
        let channel = |BodyChannel { channel, cursor, last }| Subscribe {
            channel,
            cursor,
            last,
            acked: false,
        };
        let connect = Connect {
            protocol: 1,
            reconnect: self.reconnect,
            redirected: self.redirected,
            fallback: self.fallback.map(|BodyFallback { from, reason }| Fallback { from, reason }),
            ..Connect::default()
        };
        let channels = self.channels.into_iter().map(channel).collect();
        Ok(Ask { channels, bookmark, connect, wait, padding, greet: self.greet })
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, ReplyError> {
    text.parse().map_err(|_| bad_request())
}

fn bad_request() -> ReplyError {
    ReplyError::of(Code::BadRequest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(result: Result<Ask, ReplyError>) -> (String, Option<u64>) {
        let error = result.expect_err("it is refused");
        (error.code, error.limit)
    }

    #[test]
    fn each_channel_has_its_own_start() {
        let query =
            "channel=a:b&cursor=1.global.1.3.17&channel=a:c&last=20&channel=a%3Ad&token=x&other";
        let ask = Ask::from_query(query, None).unwrap();
        let body = br#"{"channels":[{"channel":"a:b","cursor":"1.global.1.3.17"},
            {"channel":"a:c","last":20},{"channel":"a:d"}],"other":1}"#;
        let same = Ask::from_body(body, None).unwrap();
        for ask in [ask, same] {
            let start = |s: &Subscribe| (s.channel.clone(), s.cursor.clone(), s.last);
            let starts: Vec<_> = ask.channels.iter().map(start).collect();
            let cursor = Some("1.global.1.3.17".to_owned());
            let wanted = [
                ("a:b".to_owned(), cursor, None),
                ("a:c".to_owned(), None, Some(20)),
                ("a:d".to_owned(), None, None),
            ];
            assert_eq!(starts, wanted);
            assert_eq!((ask.wait, ask.padding), (WAIT, 0));
            assert_eq!(ask.commands().len(), 4);
            assert_eq!((ask.channel_of(3), ask.channel_of(1)), (Some("a:c"), None));
        }
    }

    #[test]
    fn a_reconnects_header_goes_before_the_address() {
        let of = |query: &str, header: Option<&str>| {
            Ask::from_query(query, header).map(|ask| ask.bookmark)
        };
        let text = "1Bmdsb2JhbAECS0nA7_LhAABy5E3Q6F0DYJU";
        let full = Bookmark::parse(text).unwrap();
        assert_eq!(of(&format!("lastEventId={text}"), None), Ok(full.clone()));
        assert_eq!(of("lastEventId=1", Some(text)), Ok(full));
        assert_eq!(of("lastEventId=", Some("")), Ok(Bookmark::default()));
        assert_eq!(of("lastEventId=x", None).map_err(|error| error.code), Err("bad_cursor".into()));
    }

    #[test]
    fn what_is_out_of_range_is_refused_with_the_limit() {
        let query = |query: &str| refusal(Ask::from_query(query, None));
        let bad = |limit| ("bad_request".to_owned(), limit);
        for text in
            ["cursor=x", "last=3", "channel=a:b&last=x", "channel=%zz", "fallback=x", "greet=1"]
        {
            assert_eq!(query(text), bad(None), "{text}");
        }
        assert_eq!(query("wait_ms=60001"), bad(Some(60_000)));
        assert_eq!(query("padding=8193"), bad(Some(8192)));
        let long = format!("channel=a:{}", "x".repeat(QUERY_BYTES_MOST));
        assert_eq!(query(&long), ("frame_too_large".to_owned(), Some(8192)));
        for body in
            ["", "[]", "{\"channels\":1}", "{\"channels\":[{}]}", "{\"wait_ms\":-1}", "\u{0}"]
        {
            let refused = refusal(Ask::from_body(body.as_bytes(), None));
            assert_eq!(refused.0, "malformed", "{body}");
        }
    }
}
