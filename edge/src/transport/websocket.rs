//! A WebSocket connection: the upgrade's answer, and the session's view of the socket.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::rc::Rc;

use http::HeaderMap;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use meridian_core::protocol::{Code, Codec};
use tungstenite::handshake::derive_accept_key;

use super::socket::{Socket, SocketLane};
use super::websocket_frames::{FrameDecoder, Item, close, close_echo, pong};
use crate::frame::{Format, Framing};
use crate::http_api::Asked;
use crate::session::{Connection, LaneWriter, Received, SessionParts, session};
use crate::worker::{Admission, Context};

/// What an upgrade request asked for.
pub(crate) struct Upgrade {
    accept: String,
    pub(crate) codec: Codec,
    /// The client named the codec as a subprotocol.
    echoes: bool,
}

impl Upgrade {
    /// Reads the request's headers (RFC 6455 §4.2.1) and query.
    pub(crate) fn parse(headers: &HeaderMap, codec_in_query: Option<&str>) -> Result<Self, Code> {
        let has = |name, token: &str| {
            headers.get_all(name).iter().any(|value| {
                value.to_str().is_ok_and(|value| {
                    value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token))
                })
            })
        };
        let key = headers.get(SEC_WEBSOCKET_KEY).ok_or(Code::BadRequest)?;
        if !has(UPGRADE, "websocket")
            || !has(CONNECTION, "upgrade")
            || !has(SEC_WEBSOCKET_VERSION, "13")
        {
            return Err(Code::BadRequest);
        }
        let offered = headers
            .get_all(SEC_WEBSOCKET_PROTOCOL)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .find_map(|name| Codec::from_subprotocol(name.trim()));
        let codec = match (offered, codec_in_query) {
            (Some(codec), _) => codec,
            (None, None) => Codec::Json,
            (None, Some(name)) => Codec::from_name(name).ok_or(Code::Unsupported)?,
        };
        Ok(Self { accept: derive_accept_key(key.as_bytes()), codec, echoes: offered.is_some() })
    }

    /// The 101 answer.
    pub(crate) fn answer<B: Default>(&self) -> http::Response<B> {
        let mut answer = http::Response::builder()
            .status(http::StatusCode::SWITCHING_PROTOCOLS)
            .header(UPGRADE, "websocket")
            .header(CONNECTION, "Upgrade")
            .header(SEC_WEBSOCKET_ACCEPT, &self.accept);
        if self.echoes {
            answer = answer.header(SEC_WEBSOCKET_PROTOCOL, self.codec.subprotocol());
        }
        answer.body(B::default()).expect("invariant: the headers are plain ASCII")
    }
}

/// The session of an upgraded socket. `early` is what the client sent right behind its request.
pub(crate) fn run(
    context: Rc<Context>,
    socket: Socket,
    mut early: Vec<u8>,
    codec: Codec,
    asked: Asked,
    admission: Admission,
) -> impl Future<Output = ()> {
    let socket = Rc::new(socket);
    let limit = context.node.settings.limits.frame_bytes as usize;
    let mut connection = WebSocket {
        socket: socket.clone(),
        context: context.clone(),
        codec,
        decoder: FrameDecoder::new(limit),
        received: VecDeque::new(),
    };
    if !early.is_empty() {
        connection.take(&mut early);
    }
    drop(early);
    let parts = SessionParts {
        id: context.next_session(),
        format: Format { codec, framing: Framing::WebSocket },
        transport: "websocket",
        own_lane: Box::new(SocketLane(socket)),
        lanes: 0,
        token: asked.token,
        client: asked.client,
        admission: Some(admission),
        answers: None,
    };
    session(context, connection, parts)
}

struct WebSocket {
    socket: Rc<Socket>,
    context: Rc<Context>,
    codec: Codec,
    decoder: FrameDecoder,
    received: VecDeque<Received>,
}

impl WebSocket {
    fn take(&mut self, bytes: &mut [u8]) {
        let mut items = Vec::new();
        let result = self.decoder.feed(bytes, &mut items);
        let mut frames = Vec::new();
        for item in items {
            match (item, self.codec) {
                (Item::Text(payload), Codec::Json)
                | (Item::Binary(payload), Codec::MessagePack) => {
                    frames.push(payload);
                }
                (Item::Text(_) | Item::Binary(_), _) => {
                    self.received.push_back(Received::Violation(Code::Malformed));
                }
                (Item::Ping(payload), _) => {
                    self.received.push_back(Received::Answer(pong(&payload)));
                }
                (Item::Pong, _) => self.received.push_back(Received::Alive),
                (Item::Close(payload), _) => {
                    if !frames.is_empty() {
                        self.received.push_back(Received::Frames(std::mem::take(&mut frames)));
                    }
                    self.received.push_back(Received::Closed(Some(close_echo(&payload))));
                }
            }
        }
        if !frames.is_empty() {
            self.received.push_front(Received::Frames(frames));
        }
        if let Err(code) = result {
            self.received.push_back(Received::Violation(code));
        }
    }
}

impl Connection for WebSocket {
    async fn receive(&mut self) -> Received {
        loop {
            if let Some(received) = self.received.pop_front() {
                if self.received.is_empty() {
                    self.received = VecDeque::new();
                }
                return received;
            }
            if self.socket.readable().await.is_err() {
                return Received::Closed(None);
            }
            let context = self.context.clone();
            let mut scratch = context.read_scratch.borrow_mut();
            match self.socket.try_read(&mut scratch) {
                Ok(0) => return Received::Closed(None),
                Ok(count) => self.take(&mut scratch[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Received::Closed(None),
            }
        }
    }

    fn open_lane(&mut self) -> Option<Box<dyn LaneWriter>> {
        None
    }

    async fn close(self, code: Code) {
        if self.socket.write_all(&close(code)).await.is_err() {
            return;
        }
        self.socket.shut_down().await;
        // Closing with unread bytes would reset the connection, and the peer might lose our close.
        let mut left = [0; 512];
        while self.socket.readable().await.is_ok() {
            match self.socket.try_read(&mut left) {
                Ok(0) => return,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
                _ => {}
            }
        }
    }
}
