//! Event streams (SSE): the shared blocks of events, and behind each batch the session's own `id`, the
//! cursors of all of its channels.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use meridian_core::protocol::{BOOKMARK_CHANNELS, Bookmark, Code, Codec, Message, ReplyError, Tag};
use meridian_core::vocabulary::Channel;
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until};

use super::opening::{Opened, Opening};
use super::pipe::{Pipe, PipeReader, pipe};
use super::{Admitted, AnswerBody, Refusal, admit};
use crate::frame::{Format, Framing};
use crate::http_api;
use crate::session::{Connection, LaneWriter, Next, Received, Standing, session};
use crate::transport::ClientAddress;
use crate::worker::Context;

const FORMAT: Format = Format { codec: Codec::Json, framing: Framing::EventStream };
/// A client that is behind gets an `id` after so much, or it would get all of it again.
const MARK_BYTES: usize = 64 * 1024;
/// A page's EventSource comes back after this at the earliest, and twice as much later at the latest.
const RETRY_MS: u64 = 1000;
/// A client that is told to move and stays is moved by the end of its stream, so much later.
const STAYED: Duration = Duration::from_secs(1);

/// Answers with an event stream.
pub(crate) async fn event_stream(
    context: &Rc<Context>,
    head: &Parts,
    body: &Bytes,
    address: ClientAddress,
) -> Response<AnswerBody> {
    let posted = head.method == http::Method::POST;
    let admitted = admit(context, head, body, address).and_then(|admitted| {
        // A page comes back with the stream's last `id` only: it must hold all channels.
        let count = admitted.ask.channels.len();
        match count <= BOOKMARK_CHANNELS || posted {
            true => Ok(admitted),
            false => Err(ReplyError::of(Code::TooManyChannels).limit(BOOKMARK_CHANNELS as u64)),
        }
    });
    let opened = match admitted {
        Ok(admitted) => open(context, admitted).await,
        Err(error) => Err(Box::new((error, None))),
    };
    match opened {
        Ok(reader) => Response::builder()
            .header(CONTENT_TYPE, "text/event-stream")
            .header(CACHE_CONTROL, "no-store, no-transform")
            .header("x-accel-buffering", "no")
            .body(AnswerBody::Stream(reader))
            .expect("invariant: the headers are literals"),
        Err(refusal) => http_api::refusal(&refusal.0, refusal.1.as_deref()).map(Into::into),
    }
}

/// Starts the session and waits until it answers.
async fn open(context: &Rc<Context>, admitted: Admitted) -> Result<PipeReader, Refusal> {
    let (pipe, lane, reader) = pipe();
    pipe.put(&preamble(admitted.ask.padding));
    let (answer, answered) = oneshot::channel();
    let bookmark = admitted.ask.bookmark.clone();
    let deadline = Instant::now() + context.node.handshake_timeout;
    let connection = EventStream {
        pipe,
        opening: Opening::new(admitted.ask, answer, deadline),
        streams: false,
        tags: HashMap::new(),
        id: None,
        leave_at: None,
    };
    let parts = admitted.guest.session(context, ("sse", FORMAT), lane, bookmark);
    spawn_local(session(context.clone(), connection, parts));
    let answered = answered.await.map_err(|_| Box::new((ReplyError::of(Code::Internal), None)))?;
    answered.map(|()| reader)
}

/// What comes before the first message.
fn preamble(padding: usize) -> Vec<u8> {
    let retry_ms = RETRY_MS + rand::random_range(0..RETRY_MS * 2);
    let mut text = String::with_capacity(padding + 32);
    if padding > 0 {
        text.push(':');
        text.push_str(&" ".repeat(padding - 1));
        text.push('\n');
    }
    text.push_str(&format!("retry: {retry_ms}\n\n"));
    text.into_bytes()
}

struct EventStream {
    pipe: Pipe,
    opening: Opening<()>,
    streams: bool,
    tags: HashMap<Channel, Tag>,
    /// The last `id`.
    id: Option<String>,
    /// When a client is moved that was told to move.
    leave_at: Option<Instant>,
}

impl EventStream {
    /// What ends a batch: the `id`, where it is another one.
    fn mark(&mut self, standing: &Standing<'_>) -> Bytes {
        self.pipe.mark();
        let id = self.bookmark(standing);
        if id.is_none() || id == self.id {
            return Bytes::from_static(b"\n\n");
        }
        self.id = id;
        let id = self.id.as_deref().unwrap_or_default();
        let mut mark = BytesMut::with_capacity(id.len() + 6);
        for part in ["id: ", id, "\n\n"] {
            mark.extend_from_slice(part.as_bytes());
        }
        mark.freeze()
    }

    fn bookmark(&mut self, standing: &Standing<'_>) -> Option<String> {
        // More don't fit, or hardly: who asked for so many goes by the events' cursors.
        if standing.channels() > BOOKMARK_CHANNELS {
            return None;
        }
        let mut bookmark = Bookmark::default();
        for (channel, cursor) in standing.cursors() {
            let known = self.tags.get(channel).copied();
            let tag = known.unwrap_or_else(|| {
                let tag = Tag::of(channel);
                self.tags.insert(channel.clone(), tag);
                tag
            });
            bookmark.insert(tag, cursor);
        }
        bookmark.to_text()
    }
}

impl Connection for EventStream {
    async fn receive(&mut self) -> Received {
        if let Some(commands) = self.opening.take_commands() {
            return Received::Commands(commands);
        }
        let until = match self.streams {
            false => Some(self.opening.deadline),
            true => self.leave_at,
        };
        tokio::select! {
            () = self.pipe.gone() => Received::Closed(None),
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                Received::Violation(if self.streams { Code::Draining } else { Code::Unavailable })
            }
        }
    }

    fn open_lane(&mut self) -> Option<Box<dyn LaneWriter>> {
        None
    }

    fn outgoing(&mut self, message: &Message, frame: Bytes) -> Option<Bytes> {
        self.opening.hear(message);
        if let Message::Drain { after_ms, .. } = message {
            self.leave_at = Some(Instant::now() + Duration::from_millis(*after_ms) + STAYED);
        }
        Some(match message {
            // The ids are those of commands that nobody sent.
            Message::Connected(_, connected) => {
                FORMAT.message(&Message::Connected(None, connected.clone()))
            }
            Message::Subscribed(_, subscribed) => {
                FORMAT.message(&Message::Subscribed(None, subscribed.clone()))
            }
            _ => frame,
        })
    }

    fn turn(&mut self, standing: &Standing<'_>) -> Next {
        if !self.streams {
            match self.opening.opened() {
                Opened::Waits => return Next::GoOn,
                Opened::Refused(code) => return Next::Close(code),
                Opened::Yes => {
                    self.opening.answer(());
                    self.streams = true;
                }
            }
        }
        if standing.is_idle() {
            if !self.pipe.is_whole() {
                return Next::Write(self.mark(standing));
            }
            self.pipe.release();
        } else if !standing.has_queue() && self.pipe.since_mark() >= MARK_BYTES {
            return Next::Write(self.mark(standing));
        }
        Next::GoOn
    }

    fn lives(&self) -> bool {
        !self.pipe.is_full()
    }

    async fn close(mut self, code: Code) {
        if !self.streams {
            self.opening.refuse(ReplyError::of(code), None);
        } else if self.pipe.is_full() {
            self.pipe.give_up();
        } else {
            let error = Message::Error(None, ReplyError::of(code));
            self.pipe.put(&FORMAT.message(&error));
            self.pipe.put(b"\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_begins_with_what_was_asked_for_and_when_to_come_back() {
        for padding in [0, 1, 2048] {
            let text = String::from_utf8(preamble(padding)).unwrap();
            let (comment, retry) = text.split_at(text.find("retry: ").unwrap());
            assert!(comment.len() >= padding && comment.len() <= padding + 1, "{comment:?}");
            assert!(comment.is_empty() || comment.starts_with(':') && comment.ends_with('\n'));
            let ms: u64 = retry["retry: ".len()..].trim_end().parse().unwrap();
            assert!((RETRY_MS..RETRY_MS * 3).contains(&ms) && retry.ends_with("\n\n"));
        }
    }
}
