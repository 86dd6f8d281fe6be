//! Moving frames: dials a server and carries frames both ways. Gives them no meaning.

mod address;
mod dial;
mod probe;
mod tcp;
mod websocket;
mod webtransport;

use std::task::{Context, Poll};

use bytes::Bytes;
use meridian_core::protocol::Code;

use crate::error::Lost;

pub(crate) use address::Address;
pub(crate) use dial::Dialer;
pub(crate) use websocket::WebSocketLink;
pub(crate) use webtransport::WebTransportLink;

/// What carries a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    WebTransport,
    WebSocket,
}

/// Which transports to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// WebTransport, and WebSocket as well a moment later; the first that answers.
    #[default]
    Auto,
    Only(Transport),
}

/// A connection that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialed {
    pub(crate) transport: Transport,
    /// How WebTransport lost to WebSocket, where they raced.
    pub(crate) lost_race: Option<&'static str>,
}

/// An open connection. What is sent waits here until the peer takes it.
pub(crate) enum Link {
    WebSocket(Box<WebSocketLink>),
    WebTransport(Box<WebTransportLink>),
}

impl Link {
    pub(crate) fn transport(&self) -> Transport {
        match self {
            Link::WebSocket(_) => Transport::WebSocket,
            Link::WebTransport(_) => Transport::WebTransport,
        }
    }

    /// Queues a frame; `next` sends it.
    pub(crate) fn send(&mut self, frame: &[u8]) {
        match self {
            Link::WebSocket(link) => link.send(frame),
            Link::WebTransport(link) => link.send(frame),
        }
    }

    /// Sends what is queued, and yields the next frame that comes. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Bytes, Lost> {
        std::future::poll_fn(|cx| match self {
            Link::WebSocket(link) => link.poll(cx),
            Link::WebTransport(link) => link.poll(cx),
        })
        .await
    }

    /// Sends what is queued and closes with a code.
    pub(crate) async fn close(self, code: Code) {
        match self {
            Link::WebSocket(link) => link.close(code).await,
            Link::WebTransport(mut link) => {
                let _ = std::future::poll_fn(|cx: &mut Context<'_>| -> Poll<Result<(), Lost>> {
                    link.poll_flush(cx)
                })
                .await;
                link.close(code);
            }
        }
    }
}

/// A failure of the transport itself.
pub(crate) fn failure(error: impl std::error::Error + Send + Sync + 'static) -> Lost {
    Lost::Transport(std::sync::Arc::new(error))
}
