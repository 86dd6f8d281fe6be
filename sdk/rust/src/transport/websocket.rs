//! Frames over a WebSocket: one message each.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Sink, SinkExt as _, Stream};
use meridian_core::protocol::{Code, Codec};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::{Address, failure};
use crate::error::Lost;
use crate::io::Io;

/// An open WebSocket.
pub(crate) struct WebSocketLink {
    socket: WebSocketStream<Io>,
    codec: Codec,
    outbox: VecDeque<Message>,
    unflushed: bool,
}

impl WebSocketLink {
    /// Resolves, connects and upgrades.
    pub(crate) async fn dial(
        address: &Address,
        codec: Codec,
        tls: Option<std::sync::Arc<rustls::ClientConfig>>,
    ) -> Result<Self, Lost> {
        let io = super::tcp::connect(address, tls).await?;
        let mut request = address.websocket_url().into_client_request().map_err(failure)?;
        request
            .headers_mut()
            .insert("sec-websocket-protocol", HeaderValue::from_static(codec.subprotocol()));
        let config = WebSocketConfig::default().read_buffer_size(16 * 1024);
        let upgrade = tokio_tungstenite::client_async_with_config(request, io, Some(config));
        let (socket, _) = Box::pin(upgrade).await.map_err(lost)?;
        Ok(Self { socket, codec, outbox: VecDeque::new(), unflushed: false })
    }

    pub(crate) fn send(&mut self, frame: &[u8]) {
        self.outbox.push_back(match self.codec {
            Codec::MessagePack => Message::Binary(Bytes::copy_from_slice(frame)),
            Codec::Json => match Utf8Bytes::try_from(frame.to_vec()) {
                Ok(text) => Message::Text(text),
                Err(_) => return,
            },
        });
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Lost>> {
        if let Poll::Ready(Err(error)) = self.poll_send(cx) {
            return Poll::Ready(Err(lost(error)));
        }
        loop {
            return Poll::Ready(match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Text(text))) => Ok(text.into()),
                Some(Ok(Message::Binary(data))) => Ok(data),
                Some(Ok(Message::Close(frame))) => Err(closed(frame)),
                Some(Ok(_)) => continue,
                Some(Err(error)) => Err(lost(error)),
                None => Err(closed(None)),
            });
        }
    }

    pub(crate) async fn close(mut self, code: Code) {
        let _ = std::future::poll_fn(|cx| self.poll_send(cx)).await;
        let frame = CloseFrame { code: CloseCode::from(code.number()), reason: code.name().into() };
        let _ = self.socket.close(Some(frame)).await;
        let _ = self.socket.flush().await;
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while !self.outbox.is_empty() {
            ready!(Pin::new(&mut self.socket).poll_ready(cx))?;
            if let Some(message) = self.outbox.pop_front() {
                Pin::new(&mut self.socket).start_send(message)?;
                self.unflushed = true;
            }
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

fn closed(frame: Option<CloseFrame>) -> Lost {
    match frame {
        Some(frame) => Lost::Closed {
            number: u16::from(frame.code).into(),
            reason: frame.reason.as_str().to_owned(),
        },
        None => Lost::Closed { number: 1006, reason: String::new() },
    }
}

fn lost(error: Error) -> Lost {
    match error {
        Error::Http(response) => Lost::Handshake(response.status().as_u16()),
        other => failure(other),
    }
}
