//! Long polls: one answer with what there is, and the cursors from which the next request goes on.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context as Task, Poll};

use bytes::{Bytes, BytesMut};
use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use meridian_core::protocol::{Code, Codec, Message, ReplyError};
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until};

use super::opening::{Opened, Opening};
use super::{Admitted, AnswerBody, Refusal, admit};
use crate::frame::{Format, Framing};
use crate::http_api;
use crate::session::{Connection, LaneBroken, LaneWriter, Next, Received, Standing, session};
use crate::transport::ClientAddress;
use crate::worker::Context;

const FORMAT: Format = Format { codec: Codec::Json, framing: Framing::Element };
/// An answer that has so much goes out, though there be more.
const ANSWER_BYTES: usize = 256 * 1024;

/// Answers once there is something, or the time is over.
pub(crate) async fn poll(
    context: &Rc<Context>,
    head: &Parts,
    body: &Bytes,
    address: ClientAddress,
) -> Response<AnswerBody> {
    let answered = match admit(context, head, body, address) {
        Ok(admitted) => wait(context, admitted).await,
        Err(error) => Err(Box::new((error, None))),
    };
    match answered {
        Ok(answer) => Response::builder()
            .header(CONTENT_TYPE, "application/json")
            .header(CACHE_CONTROL, "no-store")
            .body(answer.into())
            .expect("invariant: the headers are literals"),
        Err(refusal) => http_api::refusal(&refusal.0, refusal.1.as_deref()).map(Into::into),
    }
}

/// Starts the session and waits for its answer.
async fn wait(context: &Rc<Context>, admitted: Admitted) -> Result<Bytes, Refusal> {
    let (answer, answered) = oneshot::channel();
    let events = Rc::default();
    let lane = BatchLane(Rc::clone(&events));
    let bookmark = admitted.ask.bookmark.clone();
    let greets = admitted.ask.greet;
    let now = Instant::now();
    let connection = LongPoll {
        due: now + admitted.ask.wait,
        opening: Opening::new(admitted.ask, answer, now + context.node.handshake_timeout),
        opened: false,
        at_once: greets,
        greets,
        first: BytesMut::new(),
        events,
        own: BytesMut::new(),
    };
    let parts = admitted.guest.session(context, ("longpoll", FORMAT), lane, bookmark);
    spawn_local(session(context.clone(), connection, parts));
    answered.await.map_err(|_| Box::new((ReplyError::of(Code::Internal), None)))?
}

/// What is to be answered so far.
type Events = Rc<RefCell<BytesMut>>;

/// The lane of a poll: what the session's task gathers becomes one answer, whole.
struct BatchLane(Events);

impl LaneWriter for BatchLane {
    fn poll_write(
        &mut self,
        task: Option<&mut Task<'_>>,
        bytes: &[u8],
    ) -> Poll<Result<usize, LaneBroken>> {
        let mut events = self.0.borrow_mut();
        // The fan-out may begin an answer; the task, which looks at its size, goes on with it.
        if task.is_none() && !events.is_empty() {
            return Poll::Pending;
        }
        // Never a part: a cursor would pass what is not in the answer.
        events.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(&mut self, _: Option<&mut Task<'_>>) -> Poll<Result<(), LaneBroken>> {
        Poll::Ready(Ok(()))
    }
}

struct LongPoll {
    opening: Opening<Bytes>,
    opened: bool,
    due: Instant,
    /// Something is to be answered that is no event.
    at_once: bool,
    /// The answer tells who it is for and where its channels begin.
    greets: bool,
    /// Messages before the events.
    first: BytesMut,
    events: Events,
    /// Messages that are about the session.
    own: BytesMut,
}

impl LongPoll {
    /// `{"messages":[…],"cursors":{…}}`
    fn answer(&self, standing: &Standing<'_>) -> Bytes {
        let mut messages = self.first.clone();
        messages.extend_from_slice(&self.events.take());
        messages.extend_from_slice(&self.own);
        let messages = messages.strip_suffix(b",").unwrap_or(&messages);
        let cursors = standing.cursors();
        let mut answer = BytesMut::with_capacity(messages.len() + 64 + cursors.len() * 64);
        answer.extend_from_slice(b"{\"messages\":[");
        answer.extend_from_slice(messages);
        answer.extend_from_slice(b"],\"cursors\":{");
        for (at, (channel, cursor)) in cursors.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            // Neither has a character that JSON would escape.
            answer.extend_from_slice(format!("{comma}\"{channel}\":\"{cursor}\"").as_bytes());
        }
        answer.extend_from_slice(b"}}");
        answer.freeze()
    }

    /// Whether to answer now.
    fn is_ready(&self, standing: &Standing<'_>) -> bool {
        let bytes = self.events.borrow().len();
        if !standing.is_idle() {
            return bytes >= ANSWER_BYTES;
        }
        bytes > 0 || Instant::now() >= self.due || (self.at_once && standing.is_caught_up())
    }
}

impl Connection for LongPoll {
    async fn receive(&mut self) -> Received {
        if let Some(commands) = self.opening.take_commands() {
            return Received::Commands(commands);
        }
        let until = if self.opened { self.due } else { self.opening.deadline };
        tokio::select! {
            () = self.opening.gone() => Received::Closed(None),
            () = sleep_until(until) => match self.opened {
                true => Received::Alive,
                false => Received::Violation(Code::Unavailable),
            },
        }
    }

    fn open_lane(&mut self) -> Option<Box<dyn LaneWriter>> {
        None
    }

    fn outgoing(&mut self, message: &Message, frame: Bytes) -> Option<Bytes> {
        self.opening.hear(message);
        match message {
            Message::Connected(_, connected) if self.greets => {
                let told = Message::Connected(None, connected.clone());
                self.first.extend_from_slice(&FORMAT.message(&told));
            }
            // A client that has no cursor gets one before anything is waited for.
            Message::Subscribed(_, subscribed) => {
                if self.greets {
                    let told = Message::Subscribed(None, subscribed.clone());
                    self.first.extend_from_slice(&FORMAT.message(&told));
                }
                self.at_once |= subscribed.at.is_some() && self.opening.is_new(&subscribed.channel);
            }
            Message::Unsubscribed { .. } => self.own.extend_from_slice(&frame),
            // One that stood before is no news; the client that stays would ask in vain for ever.
            Message::Drain { .. } | Message::Redirect(_) | Message::Mode(_) => {
                self.own.extend_from_slice(&frame);
                self.at_once |= self.opened;
            }
            _ => {}
        }
        None
    }

    fn turn(&mut self, standing: &Standing<'_>) -> Next {
        match self.opening.opened() {
            Opened::Waits => Next::GoOn,
            Opened::Refused(code) => Next::Close(code),
            Opened::Yes => {
                self.opened = true;
                if !self.is_ready(standing) {
                    return Next::GoOn;
                }
                self.opening.answer(self.answer(standing));
                Next::Close(Code::Requested)
            }
        }
    }

    fn lives(&self) -> bool {
        true
    }

    async fn close(mut self, code: Code) {
        self.opening.refuse(ReplyError::of(code), None);
    }
}
