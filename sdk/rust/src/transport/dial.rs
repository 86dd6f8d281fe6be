//! Opening a connection: one transport, or a race of both.

use std::sync::Arc;
use std::time::Duration;

use meridian_core::protocol::Codec;

use super::{Address, Choice, Dialed, Link, Transport, WebSocketLink, WebTransportLink};
use crate::connection::{Health, PROBE_TIMEOUT};
use crate::error::{ConnectError, Lost};
use crate::tls::Trust;

/// WebTransport is tried alone for so long; where UDP is blocked this is what it costs.
const HEAD_START: Duration = Duration::from_millis(500);

/// What is needed to open connections, again and again.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    secure: bool,
    codec: Codec,
    trust: Trust,
    tls: Option<Arc<rustls::ClientConfig>>,
    timeout: Duration,
}

impl Dialer {
    /// For addresses that are all `secure`, or none of them.
    pub(crate) fn new(
        secure: bool,
        codec: Codec,
        trust: Trust,
        timeout: Duration,
    ) -> Result<Self, ConnectError> {
        let tls = match secure {
            true => Some(trust.client_config(&[b"http/1.1"])?),
            false => None,
        };
        Ok(Self { secure, codec, trust, tls, timeout })
    }

    /// Which transports can work at all, and why WebTransport can't: it needs a certificate to trust.
    pub(crate) fn narrow(
        &self,
        choice: Choice,
    ) -> Result<(Choice, Option<&'static str>), ConnectError> {
        let has_certificate = self.secure || !matches!(self.trust, Trust::System);
        match choice {
            Choice::Only(Transport::WebTransport) if !has_certificate => {
                Err(ConnectError::NeedsCertificate)
            }
            Choice::Auto if !has_certificate => {
                Ok((Choice::Only(Transport::WebSocket), Some("unsupported")))
            }
            Choice::Only(Transport::WebSocket) => Ok((choice, Some("forced"))),
            choice => Ok((choice, None)),
        }
    }

    /// Opens a connection within the timeout.
    pub(crate) async fn dial(
        self,
        address: Address,
        choice: Choice,
    ) -> Result<(Link, Dialed), Lost> {
        let dialed = async {
            match choice {
                Choice::Only(Transport::WebSocket) => won(self.websocket(&address).await?, None),
                Choice::Only(Transport::WebTransport) => {
                    won(self.webtransport(&address).await?, None)
                }
                Choice::Auto => self.race(&address).await,
            }
        };
        tokio::time::timeout(self.timeout, dialed).await.unwrap_or(Err(Lost::TimedOut))
    }

    /// Asks a region how it is.
    pub(crate) async fn probe(self, address: Address) -> (Address, Option<Health>) {
        let asked = super::probe::ask(&address, self.tls);
        let health = tokio::time::timeout(PROBE_TIMEOUT, asked).await;
        let health = health.map_err(|_| Lost::TimedOut).and_then(|health| health);
        if let Err(lost) = &health {
            tracing::debug!(region = %address.base_url(), cause = %lost, "a probe was not answered");
        }
        (address, health.ok())
    }

    async fn websocket(&self, address: &Address) -> Result<Link, Lost> {
        let link = WebSocketLink::dial(address, self.codec, self.tls.clone()).await?;
        Ok(Link::WebSocket(Box::new(link)))
    }

    async fn webtransport(&self, address: &Address) -> Result<Link, Lost> {
        let link = WebTransportLink::dial(address, self.codec, &self.trust).await?;
        Ok(Link::WebTransport(Box::new(link)))
    }

    /// The first that answers; where both fail, what WebSocket said.
    async fn race(&self, address: &Address) -> Result<(Link, Dialed), Lost> {
        let mut webtransport = Box::pin(self.webtransport(address));
        let early = tokio::time::timeout(HEAD_START, &mut webtransport).await;
        match early {
            Ok(Ok(link)) => return won(link, None),
            Ok(Err(_)) => return won(self.websocket(address).await?, Some("failed")),
            Err(_) => {}
        }
        let mut websocket = Box::pin(self.websocket(address));
        tokio::select! {
            link = &mut websocket => match link {
                Ok(link) => won(link, Some("timeout")),
                Err(lost) => match webtransport.await {
                    Ok(link) => won(link, None),
                    Err(_) => Err(lost),
                },
            },
            link = &mut webtransport => match link {
                Ok(link) => won(link, None),
                Err(_) => won(websocket.await?, Some("failed")),
            },
        }
    }
}

fn won(link: Link, lost_race: Option<&'static str>) -> Result<(Link, Dialed), Lost> {
    let transport = link.transport();
    Ok((link, Dialed { transport, lost_race }))
}
