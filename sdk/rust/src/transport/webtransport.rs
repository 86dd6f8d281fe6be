//! Frames over a WebTransport session: commands on its first stream, answers and pushes from all.

use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use meridian_core::protocol::{Code, Codec, put_frame};
use tokio::io::AsyncWrite as _;

use super::{Address, failure};
use crate::error::Lost;
use crate::raw::{Endpoint, WebTransport, WebTransportError};
use crate::tls::Trust;

/// An open session with the socket it uses.
pub(crate) struct WebTransportLink {
    session: WebTransport,
    outbox: BytesMut,
    unflushed: bool,
    _endpoint: Endpoint,
}

impl WebTransportLink {
    pub(crate) async fn dial(address: &Address, codec: Codec, trust: &Trust) -> Result<Self, Lost> {
        let endpoint = Endpoint::new(trust).map_err(failure)?;
        let url = address.webtransport_url(codec);
        let session = WebTransport::connect(&endpoint, &url);
        let session = Box::pin(session).await.map_err(lost)?;
        Ok(Self { session, outbox: BytesMut::new(), unflushed: false, _endpoint: endpoint })
    }

    pub(crate) fn send(&mut self, frame: &[u8]) {
        put_frame(&mut self.outbox, frame);
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Lost>> {
        if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
            // Why the session ended tells more than that its stream did.
            return match self.session.poll_frame(cx) {
                Poll::Ready(Ok((_, frame))) => Poll::Ready(Ok(frame)),
                Poll::Ready(Err(why)) => Poll::Ready(Err(lost(why))),
                Poll::Pending => Poll::Ready(Err(error)),
            };
        }
        let frame = ready!(self.session.poll_frame(cx));
        Poll::Ready(frame.map(|(_, frame)| frame).map_err(lost))
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        while !self.outbox.is_empty() {
            let sent = self.session.sender().poll_write(cx, &self.outbox);
            match ready!(sent).map_err(failure)? {
                0 => return Poll::Ready(Err(Lost::Closed { number: 0, reason: String::new() })),
                n => self.outbox.advance(n),
            }
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(self.session.sender().poll_flush(cx)).map_err(failure)?;
            self.unflushed = false;
            self.outbox = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) fn close(self, code: Code) {
        self.session.close(u32::from(code.number()), code.name());
    }
}

fn lost(error: WebTransportError) -> Lost {
    match error {
        WebTransportError::Closed { code, reason } => Lost::Closed { number: code, reason },
        WebTransportError::Frame(_) => Lost::Malformed,
        other => failure(other),
    }
}
