//! A server that speaks as much of the protocol as a test wants.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt as _, StreamExt as _};
use meridian_client::CertificateHash;
use meridian_core::protocol::{
    Code, Codec, Command, CommandFrame, Connected, FrameReader, Limits, Message, Subscribed,
    decode_commands, encode_message, put_frame,
};
use meridian_core::vocabulary::{Body, Epoch, Offset, Position, Prev};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self};

pub(crate) const STREAM: &str = "1.global.1.3";
const PATIENCE: Duration = Duration::from_secs(20);

/// Fails a test that would wait for ever.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it comes in time")
}

/// Where WebSockets are accepted.
pub(crate) struct WebSocketServer {
    listener: TcpListener,
    health: watch::Sender<String>,
    probes: watch::Sender<u32>,
}

/// One WebSocket, as a server sees it.
pub(crate) struct Peer {
    socket: WebSocketStream<TcpStream>,
    codec: Codec,
    commands: Vec<CommandFrame>,
}

impl WebSocketServer {
    pub(crate) async fn start() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            health: watch::Sender::new("\"state\":\"serving\"".to_owned()),
            probes: watch::Sender::new(0),
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// What probes are answered from now on: the members of the answer.
    pub(crate) fn tell(&self, members: impl Into<String>) {
        self.health.send_replace(members.into());
    }

    /// Waits until that many probes have been answered.
    pub(crate) async fn probed(&self, times: u32) {
        let mut probes = self.probes.subscribe();
        soon(probes.wait_for(|count| *count >= times)).await.unwrap();
    }

    /// The next connection that is no probe; probes are answered on the way.
    async fn next_stream(&self) -> TcpStream {
        loop {
            let (mut stream, _) = self.listener.accept().await.unwrap();
            let mut start = [0; 32];
            let read = stream.peek(&mut start).await.unwrap();
            if !start[..read].starts_with(b"GET /v1/regions ") {
                return stream;
            }
            // What is not read would be answered by a reset.
            let _ = stream.read(&mut [0; 4096]).await.unwrap();
            let body = format!("{{{}}}", *self.health.borrow());
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            self.probes.send_modify(|count| *count += 1);
        }
    }

    /// The next connection, upgraded.
    pub(crate) async fn accept(&self) -> Peer {
        let stream = soon(self.next_stream()).await;
        let mut codec = Codec::Json;
        #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
        let choose = |request: &Request, mut response: Response| {
            if let Some(name) = request.headers().get("sec-websocket-protocol") {
                codec = Codec::from_subprotocol(name.to_str().unwrap()).unwrap();
                response.headers_mut().insert("sec-websocket-protocol", name.clone());
            }
            Ok(response)
        };
        let socket = tokio_tungstenite::accept_hdr_async(stream, choose).await.unwrap();
        Peer { socket, codec, commands: Vec::new() }
    }

    /// The next connection, whose `connect` is answered.
    pub(crate) async fn accept_client(&self) -> Peer {
        let mut peer = self.accept().await;
        let frame = peer.command().await;
        let Command::Connect(connect) = frame.command else { panic!("{frame:?}") };
        assert_eq!(connect.token.as_deref(), Some("token"));
        peer.send(Message::Connected(frame.id, Box::new(connected()))).await;
        peer
    }
}

impl Peer {
    /// The next command.
    pub(crate) async fn command(&mut self) -> CommandFrame {
        while self.commands.is_empty() {
            let message = soon(self.socket.next()).await.expect("a frame").unwrap();
            if message.is_text() || message.is_binary() {
                self.commands = decode_commands(self.codec, &message.into_data()).unwrap();
            }
        }
        self.commands.remove(0)
    }

    /// The code with which the client closes.
    pub(crate) async fn closed(&mut self) -> Option<u16> {
        while let Some(Ok(message)) = soon(self.socket.next()).await {
            if let tungstenite::Message::Close(frame) = message {
                return frame.map(|frame| frame.code.into());
            }
        }
        None
    }

    pub(crate) async fn send(&mut self, message: Message) {
        let encoded = encode_message(self.codec, &message);
        let frame = match self.codec {
            Codec::Json => tungstenite::Message::text(String::from_utf8(encoded).unwrap()),
            Codec::MessagePack => tungstenite::Message::binary(encoded),
        };
        self.socket.send(frame).await.unwrap();
    }

    pub(crate) async fn close(mut self, code: Code) {
        let frame = CloseFrame { code: code.number().into(), reason: code.name().into() };
        self.socket.close(Some(frame)).await.unwrap();
    }

    /// Answers a subscribe; the cursor that it named.
    pub(crate) async fn subscribe(&mut self, channel: &str, passed: i64) -> Option<String> {
        let frame = self.command().await;
        let Command::Subscribe(subscribe) = frame.command else { panic!("{frame:?}") };
        assert_eq!(subscribe.channel, channel);
        self.send(subscribed(frame.id, channel, passed)).await;
        subscribe.cursor
    }
}

/// Where WebTransport sessions are accepted.
pub(crate) struct WebTransportServer {
    endpoint: wtransport::Endpoint<wtransport::endpoint::endpoint_side::Server>,
    pub(crate) hash: CertificateHash,
}

/// One session, as a server sees it.
pub(crate) struct Session {
    pub(crate) connection: wtransport::Connection,
    pub(crate) path: String,
    send: wtransport::SendStream,
    recv: wtransport::RecvStream,
    reader: FrameReader,
}

impl WebTransportServer {
    pub(crate) fn start() -> Self {
        let identity = wtransport::Identity::self_signed(["127.0.0.1"]).unwrap();
        let der = identity.certificate_chain().as_slice()[0].der().to_vec();
        let config = wtransport::ServerConfig::builder()
            .with_bind_address("127.0.0.1:0".parse().unwrap())
            .with_identity(identity)
            .build();
        let endpoint = wtransport::Endpoint::server(config).unwrap();
        Self { endpoint, hash: CertificateHash::of(&der) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.endpoint.local_addr().unwrap())
    }

    /// The next session with its first stream.
    pub(crate) async fn accept(&self) -> Session {
        let request = soon(async { self.endpoint.accept().await.await }).await.unwrap();
        let path = request.path().to_owned();
        let connection = request.accept().await.unwrap();
        let (send, recv) = soon(connection.accept_bi()).await.unwrap();
        Session { connection, path, send, recv, reader: FrameReader::new(1 << 20) }
    }
}

impl Session {
    pub(crate) async fn frame(&mut self) -> Bytes {
        loop {
            if let Some(frame) = self.reader.next_frame().unwrap() {
                return frame;
            }
            let mut scratch = [0; 4096];
            let read = soon(self.recv.read(&mut scratch)).await.unwrap().expect("more");
            self.reader.push(&scratch[..read]);
        }
    }

    pub(crate) async fn command(&mut self) -> CommandFrame {
        let frame = self.frame().await;
        decode_commands(Codec::MessagePack, &frame).unwrap().remove(0)
    }

    pub(crate) async fn send(&mut self, message: Message) {
        self.send.write_all(&framed(&message)).await.unwrap();
    }

    pub(crate) async fn lane(&self) -> wtransport::SendStream {
        self.connection.open_uni().await.unwrap().await.unwrap()
    }
}

pub(crate) fn framed(message: &Message) -> BytesMut {
    let mut out = BytesMut::new();
    put_frame(&mut out, &encode_message(Codec::MessagePack, message));
    out
}

pub(crate) fn connected() -> Connected {
    let limits = Limits { heartbeat_ms: 25_000, ..Limits::default() };
    Connected { session: "s1".to_owned(), limits, ..Connected::default() }
}

pub(crate) fn subscribed(id: Option<u64>, channel: &str, passed: i64) -> Message {
    Message::Subscribed(
        id,
        Subscribed {
            channel: channel.to_owned(),
            class: "strict".to_owned(),
            at: Some((STREAM.to_owned(), Position { epoch: Epoch(1), passed })),
            behind: None,
        },
    )
}

pub(crate) fn event(channel: &str, offset: u64, prev: i64, json: &'static str) -> Message {
    let prev = Prev::At(Position { epoch: Epoch(1), passed: prev });
    let body = Body { data: Bytes::from_static(json.as_bytes()), ..Body::default() };
    Message::Events {
        channel: channel.to_owned(),
        stream: Some(STREAM.to_owned()),
        epoch: Some(Epoch(1)),
        events: vec![meridian_core::protocol::EventView {
            at: Some((Offset(offset), prev)),
            time_ms: 1,
            id: Some(format!("e{offset}")),
            body,
        }],
    }
}
