//! A bare WebSocket: the upgrade, then frames and bytes as the caller wants them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::BytesMut;
use meridian_core::protocol::{Codec, CommandFrame, Message, decode_messages, encode_command};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::ws_frame::{Frame, Frames, Opcode, put_client_frame};
use crate::io::Io;

const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// Where and how to open a WebSocket.
#[derive(Debug, Clone)]
pub struct Options {
    pub addr: SocketAddr,
    /// Path with query.
    pub path: String,
    /// Further request headers.
    pub headers: Vec<(String, String)>,
    /// TLS, where wanted.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The local address; many of them lift the limit of ports.
    pub source: Option<IpAddr>,
}

/// A bare WebSocket.
#[derive(Debug)]
pub struct WebSocket {
    io: Io,
    frames: Frames,
}

/// A bare WebSocket that failed.
#[derive(Debug, thiserror::Error)]
pub enum WebSocketError {
    #[error("the connection failed")]
    Io(#[from] io::Error),
    #[error("the server answered the upgrade with status {status}")]
    Refused { status: u16, response: String },
    #[error("the server's answer to the upgrade is not HTTP")]
    NotHttp,
    #[error("the server closed with {code} {reason:?}")]
    Closed { code: u16, reason: String },
    #[error("the frame is not a message of the protocol")]
    Malformed,
}

impl Options {
    /// A plain WebSocket without further headers.
    pub fn new(addr: SocketAddr, path: impl Into<String>) -> Self {
        Self { addr, path: path.into(), headers: Vec::new(), tls: None, source: None }
    }

    /// With a subprotocol, which names the codec.
    pub fn codec(self, codec: Codec) -> Self {
        self.header("Sec-WebSocket-Protocol", codec.subprotocol())
    }

    /// With one more request header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Over TLS.
    pub fn tls(mut self, config: Arc<rustls::ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// From this local address.
    pub fn source(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    fn request(&self) -> String {
        let key = BASE64.encode(rand::random::<[u8; 16]>());
        let mut request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n",
            self.path, self.addr
        );
        for (name, value) in &self.headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request + "\r\n"
    }
}

impl WebSocket {
    /// Opens a plain WebSocket.
    pub async fn connect(addr: SocketAddr, path: &str) -> Result<Self, WebSocketError> {
        Self::open(&Options::new(addr, path)).await
    }

    /// Opens a WebSocket.
    pub async fn open(options: &Options) -> Result<Self, WebSocketError> {
        let mut io = Io::connect(options.addr, options.source).await?;
        if let Some(tls) = &options.tls {
            io = io.secure(tls.clone(), ServerName::from(options.addr.ip())).await?;
        }
        io.write_all(options.request().as_bytes()).await?;
        let frames = read_response(&mut io).await?;
        Ok(Self { io, frames })
    }

    /// Sends bytes as they are, no frame around them.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.io.write_all(bytes).await?;
        self.io.flush().await
    }

    /// Sends a message in one frame.
    pub async fn send_frame(&mut self, opcode: Opcode, payload: &[u8]) -> io::Result<()> {
        let mut out = BytesMut::with_capacity(payload.len() + 14);
        put_client_frame(&mut out, opcode, payload);
        self.send_bytes(&out).await
    }

    /// Sends a text message.
    pub async fn send_text(&mut self, text: &str) -> io::Result<()> {
        self.send_frame(Opcode::Text, text.as_bytes()).await
    }

    /// Sends a command.
    pub async fn send(&mut self, codec: Codec, command: &CommandFrame) -> io::Result<()> {
        let opcode = match codec {
            Codec::Json => Opcode::Text,
            Codec::MessagePack => Opcode::Binary,
        };
        self.send_frame(opcode, &encode_command(codec, command)).await
    }

    /// The next frame of any kind; `None` where the server ended the stream. Cancel safe.
    pub async fn next_frame(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.frames.next_frame() {
                return Ok(Some(frame));
            }
            if self.io.read_buf(self.frames.space()).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// The messages of the next text or binary frame; a close is an error. Cancel safe.
    pub async fn next_messages(&mut self, codec: Codec) -> Result<Vec<Message>, WebSocketError> {
        loop {
            let closed = || WebSocketError::Io(io::ErrorKind::UnexpectedEof.into());
            let frame = self.next_frame().await?.ok_or_else(closed)?;
            match frame.opcode {
                Opcode::Text | Opcode::Binary => {
                    return decode_messages(codec, &frame.payload)
                        .map_err(|_| WebSocketError::Malformed);
                }
                Opcode::Close => {
                    let (code, reason) = frame.close_code().unwrap_or((1005, String::new()));
                    return Err(WebSocketError::Closed { code, reason });
                }
                _ => {}
            }
        }
    }

    /// The connection, and what was read of it but not taken yet.
    pub fn into_parts(self) -> (Io, Frames) {
        (self.io, self.frames)
    }
}

/// Reads the answer to the upgrade; what stands behind it are frames.
async fn read_response(io: &mut Io) -> Result<Frames, WebSocketError> {
    let mut response = BytesMut::with_capacity(1024);
    let end = loop {
        if let Some(at) = response.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if response.len() > MAX_RESPONSE_BYTES || io.read_buf(&mut response).await? == 0 {
            return Err(WebSocketError::NotHttp);
        }
    };
    let text = String::from_utf8_lossy(&response);
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok());
    match status {
        Some(101) => {}
        Some(status) => {
            return Err(WebSocketError::Refused { status, response: text.into_owned() });
        }
        None => return Err(WebSocketError::NotHttp),
    }
    let mut frames = Frames::default();
    frames.push(&response[end..]);
    Ok(frames)
}
