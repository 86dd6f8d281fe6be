//! Sessions that answer an HTTP request, over HTTP/1.1, 2 and 3 alike: event streams (SSE) and long polls.
//! They are sessions as any other; the request says all that there is to know, and nothing of it is
//! kept behind the answer.

mod ask;
mod body;
mod event_stream;
mod opening;
mod pipe;
mod poll;

use std::net::IpAddr;
use std::rc::Rc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{Method, Version};
use meridian_core::protocol::{Bookmark, Code, ReplyError};

use super::address::ClientAddress;
use crate::frame::Format;
use crate::http_api;
use crate::session::{LaneWriter, SessionParts};
use crate::worker::{Admission, Context};
use ask::Ask;

pub(crate) use body::AnswerBody;
pub(crate) use event_stream::event_stream;
pub(crate) use poll::poll;

/// A request that may be answered by a session.
struct Admitted {
    ask: Ask,
    guest: Guest,
}

/// Who came, and the place that is taken for them.
struct Guest {
    token: Option<String>,
    client: IpAddr,
    admission: Option<Admission>,
}

impl Guest {
    /// The parts of a session that answers one request, which resumes from `bookmark`.
    fn session(
        self,
        context: &Context,
        (transport, format): (&'static str, Format),
        lane: impl LaneWriter + 'static,
        bookmark: Bookmark,
    ) -> SessionParts {
        SessionParts {
            id: context.next_session(),
            format,
            transport,
            own_lane: Box::new(lane),
            lanes: 0,
            token: self.token,
            client: self.client,
            admission: self.admission,
            answers: Some(bookmark),
        }
    }
}

/// Why a request is refused: the error, and the channel that it is about.
type Refusal = Box<(ReplyError, Option<String>)>;

/// Checks a request and reads what it asks for.
fn admit(
    context: &Rc<Context>,
    head: &Parts,
    body: &Bytes,
    address: ClientAddress,
) -> Result<Admitted, ReplyError> {
    let asked = http_api::admit_session(context, &head.headers, &head.uri, address)?;
    if asked.codec.is_some_and(|codec| codec != "json") {
        return Err(ReplyError::of(Code::Unsupported));
    }
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let last_event_id = text("last-event-id");
    let ask = if head.method == Method::POST {
        let media_type = text(CONTENT_TYPE.as_str()).map(|value| value.split(';').next());
        if !matches!(media_type, Some(Some("application/json"))) {
            return Err(ReplyError::of(Code::Unsupported));
        }
        Ask::from_body(body, last_event_id)?
    } else {
        Ask::from_query(head.uri.query().unwrap_or(""), last_event_id)?
    };
    // Before HTTP/2 a connection carries one answer at a time, and is counted itself.
    let alone = head.version < Version::HTTP_2;
    let admission = (!alone).then(|| context.admit_session());
    let guest = Guest { token: asked.token, client: asked.client, admission };
    Ok(Admitted { ask, guest })
}
