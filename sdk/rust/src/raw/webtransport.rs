//! A bare WebTransport session: the first bidirectional stream, and all lanes that the server opens.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{SelectAll, Stream, StreamExt as _};
use meridian_core::protocol::{FrameError, FrameReader, put_frame};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use wtransport::endpoint::ConnectOptions;
use wtransport::error::{ConnectingError, ConnectionError, StreamOpeningError};
use wtransport::tls::{Sha256Digest, WEBTRANSPORT_ALPN};
use wtransport::{ClientConfig, Connection, RecvStream, SendStream, VarInt};

use crate::tls::{TlsError, Trust};

/// No frame that a server sends is larger.
const MAX_FRAME_BYTES: usize = 16 << 20;

/// A UDP socket from which sessions are opened; many sessions may share one.
pub struct Endpoint(wtransport::Endpoint<wtransport::endpoint::endpoint_side::Client>);

/// Where a frame came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The first bidirectional stream.
    Session,
    /// A lane, by its stream id.
    Lane(u64),
}

/// A bare WebTransport session.
pub struct WebTransport {
    connection: Arc<Connection>,
    send: SendStream,
    session: Lane,
    lanes: SelectAll<Lane>,
    accepting: Pin<Box<dyn Future<Output = RecvStream> + Send>>,
    closed: Pin<Box<dyn Future<Output = ConnectionError> + Send>>,
}

/// A bare WebTransport session that failed.
#[derive(Debug, thiserror::Error)]
pub enum WebTransportError {
    #[error("the UDP socket could not be opened")]
    Bind(#[from] io::Error),
    #[error("no TLS configuration could be made")]
    Tls(#[from] TlsError),
    #[error("the session could not be opened")]
    Connecting(#[from] Box<ConnectingError>),
    #[error("the first stream could not be opened")]
    Opening(#[from] StreamOpeningError),
    #[error("the session was lost")]
    Lost(#[from] ConnectionError),
    #[error("the server closed with {code} {reason:?}")]
    Closed { code: u64, reason: String },
    #[error("the server ended the session's first stream")]
    Ended,
    #[error("the server sent a frame that is too large")]
    Frame(#[from] FrameError),
}

impl Endpoint {
    /// Opens a socket on any port of any local address.
    pub fn new(trust: &Trust) -> Result<Self, WebTransportError> {
        Self::with_keep_alive(trust, Some(Duration::from_secs(10)))
    }

    /// The same with another interval of QUIC keep-alives.
    pub fn with_keep_alive(
        trust: &Trust,
        interval: Option<Duration>,
    ) -> Result<Self, WebTransportError> {
        let builder = ClientConfig::builder().with_bind_default();
        let builder = match trust {
            Trust::System => builder.with_native_certs(),
            Trust::Authorities(_) => {
                let tls = trust.client_config(&[WEBTRANSPORT_ALPN])?;
                builder.with_custom_tls(Arc::unwrap_or_clone(tls))
            }
            Trust::Hashes(hashes) => builder
                .with_server_certificate_hashes(hashes.iter().map(|h| Sha256Digest::new(h.0))),
        };
        let config = builder.keep_alive_interval(interval).build();
        Ok(Self(wtransport::Endpoint::client(config)?))
    }
}

impl WebTransport {
    /// Opens a session and its first bidirectional stream. `url` begins with `https://`.
    pub async fn connect(endpoint: &Endpoint, url: &str) -> Result<Self, WebTransportError> {
        Self::connect_with(endpoint, url, &[]).await
    }

    /// The same with further request headers.
    pub async fn connect_with(
        endpoint: &Endpoint,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, WebTransportError> {
        let request = headers
            .iter()
            .fold(ConnectOptions::builder(url), |request, (name, value)| {
                request.add_header(*name, *value)
            })
            .build();
        let connection = endpoint.0.connect(request).await.map_err(Box::new)?;
        let connection = Arc::new(connection);
        let (send, recv) = connection.open_bi().await?.await?;
        Ok(Self {
            accepting: accept(connection.clone()),
            closed: closed(connection.clone()),
            connection,
            send,
            session: Lane::new(recv),
            lanes: SelectAll::new(),
        })
    }

    /// The session underneath, for what a client should not do.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Sends bytes on the first stream as they are, no frame around them.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        AsyncWriteExt::write_all(&mut self.send, bytes).await?;
        self.send.flush().await
    }

    /// Sends a frame on the first stream.
    pub async fn send_frame(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut out = BytesMut::with_capacity(payload.len() + 8);
        put_frame(&mut out, payload);
        self.send_bytes(&out).await
    }

    /// The first stream's sending half, for writers that poll.
    pub(crate) fn sender(&mut self) -> Pin<&mut SendStream> {
        Pin::new(&mut self.send)
    }

    /// The next frame of any stream. Cancel safe.
    pub async fn next_frame(&mut self) -> Result<(Source, Bytes), WebTransportError> {
        std::future::poll_fn(|cx| self.poll_frame(cx)).await
    }

    /// The next frame of any stream. A lane that ends is forgotten; the session goes on.
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(Source, Bytes), WebTransportError>> {
        while let Poll::Ready(stream) = self.accepting.as_mut().poll(cx) {
            self.lanes.push(Lane::new(stream));
            self.accepting = accept(self.connection.clone());
        }
        if let Poll::Ready(Some(frame)) = self.session.poll_next_unpin(cx) {
            return Poll::Ready(frame.map(|(_, bytes)| (Source::Session, bytes)));
        }
        if let Poll::Ready(Some(frame)) = self.lanes.poll_next_unpin(cx) {
            return Poll::Ready(frame.map(|(id, bytes)| (Source::Lane(id), bytes)));
        }
        if let Poll::Ready(why) = self.closed.as_mut().poll(cx) {
            self.closed = closed(self.connection.clone());
            return Poll::Ready(Err(lost(why)));
        }
        // Where the whole session is over, `closed` tells why in a moment.
        let over = self.connection.quic_connection().close_reason().is_some();
        if self.session.done && !over {
            Poll::Ready(Err(WebTransportError::Ended))
        } else {
            Poll::Pending
        }
    }

    /// Closes the session with a code.
    pub fn close(&self, code: u32, reason: &str) {
        self.connection.close(VarInt::from_u32(code), reason.as_bytes());
    }

    /// Waits for the end of the session.
    pub async fn closed(&self) -> WebTransportError {
        lost(closed(self.connection.clone()).await)
    }
}

/// The next lane. Never comes once the session is lost, which `closed` tells.
fn accept(connection: Arc<Connection>) -> Pin<Box<dyn Future<Output = RecvStream> + Send>> {
    Box::pin(async move {
        match connection.accept_uni().await {
            Ok(stream) => stream,
            Err(_) => std::future::pending().await,
        }
    })
}

/// The end, with the server's code. `Connection::closed` would name our own answer to the server's
/// close; what waits for a stream is told the close itself. A server opens no bidirectional streams.
fn closed(connection: Arc<Connection>) -> Pin<Box<dyn Future<Output = ConnectionError> + Send>> {
    Box::pin(async move {
        loop {
            if let Err(why) = connection.accept_bi().await {
                return why;
            }
        }
    })
}

fn lost(why: ConnectionError) -> WebTransportError {
    match why {
        ConnectionError::ApplicationClosed(close) => WebTransportError::Closed {
            code: close.code().into_inner(),
            reason: String::from_utf8_lossy(close.reason()).into_owned(),
        },
        other => WebTransportError::Lost(other),
    }
}

/// A stream of frames. Ends where the peer ends or resets it.
struct Lane {
    stream: RecvStream,
    reader: FrameReader,
    done: bool,
}

impl Lane {
    fn new(stream: RecvStream) -> Self {
        Self { stream, reader: FrameReader::new(MAX_FRAME_BYTES), done: false }
    }
}

impl Stream for Lane {
    type Item = Result<(u64, Bytes), WebTransportError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.done {
                return Poll::Ready(None);
            }
            match self.reader.next_frame() {
                Ok(Some(frame)) => {
                    let id = self.stream.id().into_u64();
                    return Poll::Ready(Some(Ok((id, frame))));
                }
                Ok(None) => {}
                Err(error) => {
                    self.done = true;
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
            let mut scratch = [std::mem::MaybeUninit::uninit(); 8 * 1024];
            let mut buf = ReadBuf::uninit(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => self.reader.push(buf.filled()),
                Poll::Ready(_) => self.done = true,
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
