//! A bare client that speaks JSON on either transport and does only what a test tells it.

use std::collections::VecDeque;
use std::net::SocketAddr;

use meridian_client::{Transport, Trust, raw};
use serde_json::{Value, json};

use crate::node::{Node, in_time};

/// How a session ended: the code, and its name as the reason.
pub(crate) type Closed = (u64, String);

pub(crate) enum Link {
    WebSocket(Box<raw::WebSocket>),
    /// With the socket that it lives on.
    WebTransport(Box<raw::WebTransport>, #[allow(dead_code)] raw::Endpoint),
}

pub(crate) struct Peer {
    pub(crate) link: Link,
    inbox: VecDeque<Value>,
    last_id: u64,
}

/// Where and how a session is opened.
pub(crate) struct Opening {
    at: Option<SocketAddr>,
    query: String,
    headers: Vec<(String, String)>,
}

impl Opening {
    pub(crate) fn new() -> Self {
        Self { at: None, query: String::new(), headers: Vec::new() }
    }

    /// Through what stands there before the node.
    pub(crate) fn at(mut self, address: SocketAddr) -> Self {
        self.at = Some(address);
        self
    }

    pub(crate) fn query(mut self, query: &str) -> Self {
        self.query = format!("?{query}");
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Opens it; the error is the status with which it was refused, where there is one.
    pub(crate) async fn open(self, node: &Node, transport: Transport) -> Result<Peer, String> {
        let at = self.at.unwrap_or(node.client);
        self.open_at(at, &node.trust(), transport).await
    }

    /// The same of a node that may be away.
    pub(crate) async fn open_at(
        self,
        at: SocketAddr,
        trust: &Trust,
        transport: Transport,
    ) -> Result<Peer, String> {
        let link = match transport {
            Transport::WebSocket => {
                let mut options = raw::Options::new(at, format!("/v1/ws{}", self.query));
                options.headers = self.headers;
                let opened = in_time("the upgrade", raw::WebSocket::open(&options)).await;
                Link::WebSocket(Box::new(opened.map_err(|error| format!("{error:?}"))?))
            }
            Transport::WebTransport => {
                let endpoint = raw::Endpoint::new(trust).expect("a UDP socket");
                let url = format!("https://{at}/v1/wt{}", self.query);
                let headers: Vec<_> =
                    self.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                let opening = raw::WebTransport::connect_with(&endpoint, &url, &headers);
                let opened = in_time("the session", opening).await;
                let opened = opened.map_err(|error| format!("{error:?}"))?;
                Link::WebTransport(Box::new(opened), endpoint)
            }
        };
        Ok(Peer { link, inbox: VecDeque::new(), last_id: 0 })
    }
}

impl Peer {
    /// Opens a session and says nothing.
    pub(crate) async fn open(node: &Node, transport: Transport) -> Self {
        Opening::new().open(node, transport).await.expect("a session")
    }

    /// The same over WebSocket at an address.
    pub(crate) async fn open_at(at: SocketAddr) -> Self {
        let options = raw::Options::new(at, "/v1/ws".to_owned());
        let opened = in_time("the upgrade", raw::WebSocket::open(&options)).await;
        let link = Link::WebSocket(Box::new(opened.expect("a session")));
        Self { link, inbox: VecDeque::new(), last_id: 0 }
    }

    /// Opens a session and connects.
    pub(crate) async fn connect(node: &Node, transport: Transport, token: &str) -> Self {
        let mut peer = Self::open(node, transport).await;
        peer.introduce(token).await;
        peer
    }

    /// Connects an open session.
    pub(crate) async fn introduce(&mut self, token: &str) {
        let reply = self.ask("connect", json!({ "protocol": 1, "token": token })).await;
        assert!(reply["connected"].is_object(), "{reply}");
    }

    /// The same under a subscriber's name.
    pub(crate) async fn subscriber(
        node: &Node,
        transport: Transport,
        token: &str,
        name: &str,
    ) -> Self {
        let mut peer = Self::open(node, transport).await;
        let connect = json!({ "protocol": 1, "token": token, "subscriber": name });
        let reply = peer.ask("connect", connect).await;
        assert!(reply["connected"].is_object(), "{reply}");
        peer
    }

    /// Sends one frame.
    pub(crate) async fn send(&mut self, frame: &[u8]) -> std::io::Result<()> {
        match &mut self.link {
            Link::WebSocket(socket) => socket.send_frame(raw::Opcode::Text, frame).await,
            Link::WebTransport(session, _) => session.send_frame(frame).await,
        }
    }

    /// Sends bytes as they are.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.link {
            Link::WebSocket(socket) => socket.send_bytes(bytes).await,
            Link::WebTransport(session, _) => session.send_bytes(bytes).await,
        }
    }

    /// Sends a command; its id.
    pub(crate) async fn command(&mut self, name: &str, body: Value) -> u64 {
        self.last_id += 1;
        let frame = json!({ "id": self.last_id, name: body }).to_string();
        self.send(frame.as_bytes()).await.expect("the session takes a command");
        self.last_id
    }

    /// Sends a command and waits for its reply; what else comes stays in order.
    pub(crate) async fn ask(&mut self, name: &str, body: Value) -> Value {
        let id = self.command(name, body).await;
        self.reply(id).await
    }

    /// The reply to a command.
    pub(crate) async fn reply(&mut self, id: u64) -> Value {
        self.find(&format!("the reply to {id}"), |message| message["id"] == id).await
    }

    /// Takes the first message that fits; those before it stay.
    pub(crate) async fn find(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let mut seen = 0;
        loop {
            if let Some(at) = self.inbox.iter().skip(seen).position(&fits) {
                return self.inbox.remove(seen + at).expect("it is there");
            }
            seen = self.inbox.len();
            if let Err(closed) = in_time(what, self.pull()).await {
                panic!("closed with {closed:?} before {what}; held: {:?}", self.inbox);
            }
        }
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Result<Value, Closed> {
        loop {
            if let Some(message) = self.inbox.pop_front() {
                return Ok(message);
            }
            in_time("a message", self.pull()).await?;
        }
    }

    /// Reads to the end of the session.
    pub(crate) async fn closed(&mut self) -> Closed {
        loop {
            if let Err(closed) = in_time("the close", self.pull()).await {
                return closed;
            }
        }
    }

    /// What came and was not taken.
    pub(crate) fn held(&self) -> &VecDeque<Value> {
        &self.inbox
    }

    /// The same, and lets go of it.
    pub(crate) fn take_held(&mut self) -> Vec<Value> {
        self.inbox.drain(..).collect()
    }

    /// Reads one frame into the inbox.
    async fn pull(&mut self) -> Result<(), Closed> {
        let payload = match &mut self.link {
            Link::WebSocket(socket) => websocket_frame(socket).await?,
            Link::WebTransport(session, _) => match session.next_frame().await {
                Ok((_, payload)) => payload,
                Err(raw::WebTransportError::Closed { code, reason }) => return Err((code, reason)),
                Err(error) => return Err((0, format!("{error:?}"))),
            },
        };
        match serde_json::from_slice(&payload).expect("a message is JSON") {
            Value::Array(messages) => self.inbox.extend(messages),
            message => self.inbox.push_back(message),
        }
        Ok(())
    }

    /// Subscribes and succeeds.
    pub(crate) async fn subscribe(&mut self, channel: &str, more: Value) -> Value {
        let mut body = json!({ "channel": channel });
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        let mut reply = self.ask("subscribe", body).await;
        assert!(reply["subscribed"].is_object(), "{channel}: {reply}");
        reply["subscribed"].take()
    }

    /// Publishes with an id and succeeds; the cursor.
    pub(crate) async fn publish(&mut self, channel: &str, id: &str) -> String {
        let event = json!({ "channel": channel, "id": id, "data": { "id": id } });
        let reply = self.ask("publish", event).await;
        let cursor = reply["published"]["cursor"].as_str();
        cursor.unwrap_or_else(|| panic!("{channel} {id}: {reply}")).to_owned()
    }

    /// The code with which a command is refused.
    pub(crate) async fn refusal(&mut self, name: &str, body: Value) -> String {
        let reply = self.ask(name, body).await;
        let code = reply["error"]["code"].as_str();
        code.unwrap_or_else(|| panic!("not refused: {reply}")).to_owned()
    }

    /// The ids of the channel's next `count` events, whose chain is checked.
    pub(crate) async fn event_ids(&mut self, channel: &str, count: usize) -> Vec<String> {
        self.events(channel, count).await.iter().map(id_of).collect()
    }

    /// The channel's next `count` events, whose chain is checked.
    pub(crate) async fn events(&mut self, channel: &str, count: usize) -> Vec<Value> {
        let events = self.events_while(channel, |events| events.len() < count).await;
        assert_eq!(events.len(), count, "more than was asked for: {events:?}");
        events
    }

    /// The channel's next events up to the one with this id, whose chain is checked.
    pub(crate) async fn events_until(&mut self, channel: &str, id: &str) -> Vec<Value> {
        let is_last = |event: &Value| event["id"] == id;
        self.events_while(channel, |events| !events.last().is_some_and(is_last)).await
    }

    async fn events_while(
        &mut self,
        channel: &str,
        goes_on: impl Fn(&[Value]) -> bool,
    ) -> Vec<Value> {
        let mut events: Vec<Value> = Vec::new();
        while goes_on(&events) {
            let mut push = self
                .find(&format!("events of {channel} behind {}", events.len()), |message| {
                    message["events"]["channel"] == channel || message["gap"]["channel"] == channel
                })
                .await;
            let Value::Array(new) = push["events"]["events"].take() else { panic!("{push}") };
            for event in new {
                let before = events.last().map(|last| last["offset"].clone());
                if let (Some(before), true) = (before, event["offset"].is_i64()) {
                    assert_eq!(event["prev"], before, "the chain of {channel}");
                }
                events.push(event);
            }
        }
        events
    }
}

pub(crate) fn id_of(event: &Value) -> String {
    event["id"].as_str().expect("an event's id").to_owned()
}

/// The next text message; the server's pongs are passed over.
async fn websocket_frame(socket: &mut raw::WebSocket) -> Result<bytes::Bytes, Closed> {
    loop {
        let frame = match socket.next_frame().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return Err((0, "the end of the stream".to_owned())),
            Err(error) => return Err((0, error.to_string())),
        };
        match frame.opcode {
            raw::Opcode::Text => return Ok(frame.payload),
            raw::Opcode::Close => {
                let (code, reason) = frame.close_code().unwrap_or_default();
                return Err((u64::from(code), reason));
            }
            _ => {}
        }
    }
}
