//! Requests that the node itself makes of other services. Owns their bounds: how long one may take, how
//! large its answer may be, whom to trust. It follows no redirect and tries nothing twice.

#[cfg(test)]
pub(crate) mod testing;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::time::timeout;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// An idle connection is kept for so long, and few of them.
const IDLE: Duration = Duration::from_secs(30);
const IDLE_CONNECTIONS: usize = 8;

/// Asks services of one kind.
#[derive(Clone)]
pub(crate) struct Outbound {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    within: Duration,
    most_bytes: usize,
}

/// Why nothing can be asked.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    #[error("cannot read the roots to trust from {path}")]
    Roots { path: PathBuf, source: rustls_pki_types::pem::Error },
    #[error("{path} has no root that can be trusted")]
    NoRoots { path: PathBuf },
    #[error("the system has no roots to trust; name a file of them")]
    SystemRoots(#[source] io::Error),
    #[error("TLS settings")]
    Settings(#[source] rustls::Error),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error("the service cannot be reached")]
    Unreachable(#[source] hyper_util::client::legacy::Error),
    #[error("the answer broke off, or is larger than {0} bytes")]
    Body(usize),
}

impl Outbound {
    /// Whose answers come within a time and have so many bytes at most. `ca`: a PEM file of the roots to
    /// trust; without it, the system's. Without `tls` nothing but plain HTTP is asked.
    pub(crate) fn new(
        tls: Tls<'_>,
        within: Duration,
        most_bytes: usize,
    ) -> Result<Self, OutboundError> {
        let builder = HttpsConnectorBuilder::new();
        let builder = match tls {
            Tls::Off => builder.with_tls_config(config(RootCertStore::empty())?),
            Tls::Roots(path) => builder.with_tls_config(config(roots(path)?)?),
            Tls::System => builder
                .with_provider_and_native_roots(ring::default_provider())
                .map_err(OutboundError::SystemRoots)?,
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .retry_canceled_requests(false)
            .build(builder.https_or_http().enable_http1().wrap_connector(tcp));
        Ok(Self { client, within, most_bytes })
    }

    /// Sends one request and reads its answer whole. Dropping the future ends it.
    pub(crate) async fn ask(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, AskError> {
        let asking = async {
            let answer = self.client.request(request).await.map_err(AskError::Unreachable)?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, self.most_bytes).collect().await;
            let body = body.map_err(|_| AskError::Body(self.most_bytes))?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        timeout(self.within, asking).await.unwrap_or(Err(AskError::TimedOut(self.within)))
    }
}

/// Whom to trust.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tls<'a> {
    /// Only services on this host are asked, in clear.
    Off,
    System,
    Roots(&'a Path),
}

impl<'a> Tls<'a> {
    /// What an address and a configured file of roots come to.
    pub(crate) fn of(url: &str, ca: Option<&'a Path>) -> Self {
        match (url.starts_with("https://"), ca) {
            (false, _) => Self::Off,
            (true, None) => Self::System,
            (true, Some(path)) => Self::Roots(path),
        }
    }
}

fn roots(path: &Path) -> Result<RootCertStore, OutboundError> {
    let unreadable = |source| OutboundError::Roots { path: path.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        // One that cannot be used is left out; the others may do.
        let _ = roots.add(certificate.map_err(unreadable)?);
    }
    if roots.is_empty() {
        return Err(OutboundError::NoRoots { path: path.to_owned() });
    }
    Ok(roots)
}

fn config(roots: RootCertStore) -> Result<ClientConfig, OutboundError> {
    let config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(OutboundError::Settings)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
