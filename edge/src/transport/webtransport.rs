//! WebTransport sessions (draft-ietf-webtrans-http3) on quinn and h3: the CONNECT's answer, the
//! session's own stream, lanes, and the close with a code.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Task, Poll, Waker};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use meridian_core::protocol::{Code, Codec, FrameReader, ReplyError};
use quinn::{RecvStream, SendStream, VarInt, WriteError};
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::address::ClientAddress;
use super::capsules::Capsules;
use super::quic::{H3Connection, H3Stream, respond};
use crate::frame::{Format, Framing};
use crate::http_api;
use crate::session::{Connection, LaneBroken, LaneWriter, Received, SessionParts, session};
use crate::worker::Context;

/// Stream types and capsules of the draft.
const BIDI_PREAMBLE: u64 = 0x41;
const UNI_PREAMBLE: u16 = 0x4000 | 0x54;
const CLOSE_CAPSULE: u16 = 0x4000 | 0x2843;
/// Lanes for channels, beyond the session's own stream.
const LANES: usize = 4;
/// The first error code of the range that WebTransport maps stream codes to (draft §4.4).
const FIRST_STREAM_CODE: u64 = 0x52e4_a40f_a8db;
/// The peer gets this long to take our close.
const CLOSE_WAIT: Duration = Duration::from_secs(3);

/// Answers a CONNECT and starts its session. From here on h3 is only kept alive: it must not take the
/// session's streams.
pub(super) async fn accept(
    context: Rc<Context>,
    quic: quinn::Connection,
    h3: H3Connection,
    request: Request<()>,
    mut connect: H3Stream,
    address: ClientAddress,
) {
    let (head, ()) = request.into_parts();
    let admitted = if head.uri.path() == "/v1/wt" {
        http_api::admit_session(&context, &head.headers, &head.uri, address)
    } else {
        Err(ReplyError::of(Code::NotFound))
    };
    let negotiated = admitted.and_then(|asked| {
        let negotiated = negotiate(&head.headers, asked.codec.as_deref());
        negotiated.map(|codec| (codec, asked)).map_err(ReplyError::of)
    });
    let ((codec, protocol), asked) = match negotiated {
        Ok(negotiated) => negotiated,
        Err(error) => {
            respond(&mut connect, http_api::refusal(&error, None).map(Into::into)).await;
            // The page only learns that it failed; our side is done when the peer has the answer.
            let _ = timeout(CLOSE_WAIT, quic.closed()).await;
            return;
        }
    };
    let mut response = Response::builder().status(StatusCode::OK);
    if let Some(protocol) = protocol {
        response = response.header("wt-protocol", format!("\"{protocol}\""));
    }
    let response = response.body(()).expect("invariant: the headers are plain ASCII");
    if connect.send_response(response).await.is_err() {
        return;
    }
    let session_id = connect.id().into_inner();
    let first = timeout(context.node.handshake_timeout, first_stream(&quic, session_id)).await;
    let Ok(Some((send, receive))) = first else {
        let _ = timeout(CLOSE_WAIT, close_session(&mut connect, &quic, Code::ConnectTimeout)).await;
        return;
    };
    // Control before events.
    let _ = send.set_priority(1);
    let admission = context.admit_session();
    let limit = context.node.settings.limits.frame_bytes as usize;
    let connection = WebTransport {
        quic,
        _h3: h3,
        connect,
        capsules: Capsules::default(),
        held: Vec::new(),
        receive,
        reader: FrameReader::new(limit),
        session_id,
    };
    let parts = SessionParts {
        id: context.next_session(),
        format: Format { codec, framing: Framing::Stream },
        transport: "webtransport",
        own_lane: Box::new(QuicLane(send)),
        lanes: LANES,
        token: asked.token,
        client: asked.client,
        admission: Some(admission),
        answers: None,
    };
    // A task of its own: this one's frame held the handshake.
    spawn_local(session(context, connection, parts));
}

type Negotiated = (Codec, Option<&'static str>);

/// The codec: a subprotocol that the page offered, else the query's.
fn negotiate(headers: &http::HeaderMap, in_query: Option<&str>) -> Result<Negotiated, Code> {
    let offered = headers
        .get_all("wt-available-protocols")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|name| Codec::from_subprotocol(name.trim().trim_matches('"')));
    let codec = match (offered, in_query) {
        (Some(codec), _) => codec,
        (None, None) => Codec::Json,
        (None, Some(name)) => Codec::from_name(name).ok_or(Code::Unsupported)?,
    };
    Ok((codec, offered.map(Codec::subprotocol)))
}

/// The client's first bidirectional stream of this session.
async fn first_stream(quic: &quinn::Connection, session: u64) -> Option<(SendStream, RecvStream)> {
    loop {
        let (send, mut receive) = quic.accept_bi().await.ok()?;
        if read_varint(&mut receive).await? == BIDI_PREAMBLE
            && read_varint(&mut receive).await? == session
        {
            return Some((send, receive));
        }
    }
}

async fn read_varint(stream: &mut RecvStream) -> Option<u64> {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes[..1]).await.ok()?;
    let len = 1usize << (bytes[0] >> 6);
    stream.read_exact(&mut bytes[1..len]).await.ok()?;
    let first = u64::from(bytes[0] & 0x3f);
    Some(bytes[1..len].iter().fold(first, |value, byte| value << 8 | u64::from(*byte)))
}

struct WebTransport {
    quic: quinn::Connection,
    /// Dropping it would close the connection.
    _h3: H3Connection,
    connect: H3Stream,
    capsules: Capsules,
    /// HTTP/3's own streams that came late: to stop one would be a connection error. As many as the
    /// peer may open in all.
    held: Vec<RecvStream>,
    receive: RecvStream,
    reader: FrameReader,
    session_id: u64,
}

enum Event {
    Bytes(Bytes),
    Hold(RecvStream),
    Refuse(SendStream, RecvStream),
    /// The peer closed the session.
    Closed,
    /// Nothing to the session.
    Other,
    Over,
}

impl WebTransport {
    async fn event(&mut self) -> Event {
        tokio::select! {
            chunk = self.receive.read_chunk(64 * 1024, true) => match chunk {
                Ok(Some(chunk)) => Event::Bytes(chunk.bytes),
                _ => Event::Over,
            },
            // The closing capsule ends the session, and so does the stream's end.
            data = self.connect.recv_data() => match data {
                Ok(Some(data)) => if self.capsules.end_in(data) { Event::Closed } else { Event::Other },
                Ok(None) => Event::Closed,
                Err(_) => Event::Over,
            },
            stream = self.quic.accept_uni() => match stream {
                Ok(stream) => Event::Hold(stream),
                Err(_) => Event::Over,
            },
            stream = self.quic.accept_bi() => match stream {
                Ok((send, receive)) => Event::Refuse(send, receive),
                Err(_) => Event::Over,
            },
        }
    }
}

impl Connection for WebTransport {
    async fn receive(&mut self) -> Received {
        loop {
            match self.event().await {
                Event::Over => return Received::Closed(None),
                Event::Closed => return Received::Closed(Some(Bytes::new())),
                Event::Other => {}
                Event::Hold(stream) => self.held.push(stream),
                Event::Refuse(mut send, mut receive) => {
                    let code = stream_code(Code::Unsupported);
                    let _ = receive.stop(code);
                    let _ = send.reset(code);
                }
                Event::Bytes(bytes) => {
                    self.reader.push(&bytes);
                    let mut frames = Vec::new();
                    loop {
                        match self.reader.next_frame() {
                            Ok(Some(frame)) => frames.push(frame),
                            Ok(None) => break,
                            Err(_) => return Received::Violation(Code::FrameTooLarge),
                        }
                    }
                    return if frames.is_empty() {
                        Received::Alive
                    } else {
                        Received::Frames(frames)
                    };
                }
            }
        }
    }

    fn open_lane(&mut self) -> Option<Box<dyn LaneWriter>> {
        let opening = self.quic.open_uni();
        let mut opening = std::pin::pin!(opening);
        let mut task = Task::from_waker(Waker::noop());
        // Pending: the peer's limit is reached. We don't wait for it to be raised.
        let Poll::Ready(Ok(stream)) = opening.as_mut().poll(&mut task) else { return None };
        let mut preamble = BytesMut::new();
        preamble.put_u16(UNI_PREAMBLE);
        put_varint(&mut preamble, self.session_id);
        let mut lane = QuicLane(stream);
        // A new stream takes so few bytes at once, unless the connection's window is full.
        match lane.poll_write(None, &preamble) {
            Poll::Ready(Ok(written)) if written == preamble.len() => Some(Box::new(lane)),
            _ => None,
        }
    }

    async fn close(mut self, code: Code) {
        close_session(&mut self.connect, &self.quic, code).await;
    }
}

/// Says why in a capsule, ends the CONNECT stream, and waits for the peer to close: without the wait
/// the capsule may be lost with the connection.
async fn close_session(connect: &mut H3Stream, quic: &quinn::Connection, code: Code) {
    let mut capsule = BytesMut::new();
    capsule.put_u16(CLOSE_CAPSULE);
    put_varint(&mut capsule, 4 + code.name().len() as u64);
    capsule.put_u32(u32::from(code.number()));
    capsule.put_slice(code.name().as_bytes());
    if connect.send_data(capsule.freeze()).await.is_ok() && connect.finish().await.is_ok() {
        let _ = timeout(CLOSE_WAIT, quic.closed()).await;
    }
    quic.close(VarInt::from_u32(0x100), b"");
}

/// Values below 2^14, as session ids and lengths here are; larger ones in their own form.
fn put_varint(out: &mut BytesMut, value: u64) {
    match value {
        0..=0x3f => out.put_u8(value as u8),
        0x40..=0x3fff => out.put_u16(value as u16 | 0x4000),
        0x4000..=0x3fff_ffff => out.put_u32(value as u32 | 0x8000_0000),
        _ => out.put_u64(value | 0xc000_0000_0000_0000),
    }
}

/// A code on a stream of a session, mapped as the draft says.
fn stream_code(code: Code) -> VarInt {
    let code = u64::from(code.number());
    VarInt::from_u64(FIRST_STREAM_CODE + code + code / 0x1e).unwrap_or(VarInt::MAX)
}

/// A QUIC stream as a lane.
struct QuicLane(SendStream);

impl LaneWriter for QuicLane {
    fn poll_write(
        &mut self,
        task: Option<&mut Task<'_>>,
        bytes: &[u8],
    ) -> Poll<Result<usize, LaneBroken>> {
        let mut nobody = Task::from_waker(Waker::noop());
        let task = task.unwrap_or(&mut nobody);
        Pin::new(&mut self.0).poll_write(task, bytes).map_err(|error| match error {
            WriteError::Stopped(_) | WriteError::ClosedStream => LaneBroken::Stopped,
            _ => LaneBroken::Connection,
        })
    }

    fn poll_flush(&mut self, _: Option<&mut Task<'_>>) -> Poll<Result<(), LaneBroken>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_codes_are_mapped_as_the_draft_says() {
        assert_eq!(stream_code(Code::Requested).into_inner(), FIRST_STREAM_CODE + 4000 + 133);
    }
}
