//! The admin listener: health, readiness, metrics and the console. Loopback by default, never public.

mod api;
mod console;
mod mode;
mod operator;
mod redirect;
mod revoke;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST};
use http::uri::Authority;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use meridian_core::protocol::Code;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::api::{OpsAnswer, OpsApi, OpsRequest};
use crate::lifecycle::Phase;
use crate::metrics;
use crate::node::Node;

/// Connections to the admin listener at once.
const CONNECTIONS_MOST: usize = 256;

/// What the console's own requests carry.
const FROM_CONSOLE: &str = "x-meridian-console";

/// The console's pages load nothing from elsewhere, and connect to wherever clients do.
const POLICY: &str =
    "default-src 'self'; connect-src *; img-src 'self' data:; frame-ancestors 'none'";

/// How one part of the node is doing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PartState {
    pub part: String,
    pub ready: bool,
    /// Without it the process is of no use to anyone new; others are missed, and it goes on.
    pub vital: bool,
    /// It is what makes the region one that is being rebuilt: clients with a choice go elsewhere.
    pub rebuilding: bool,
    /// What an operator should know.
    pub detail: String,
}

/// What the console's page is told; no edge of a region has one.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ConsoleInfo {
    pub client_url: String,
    pub token: String,
    /// SHA-256 of a self-made certificate, in hex, for WebTransport.
    pub certificate_hash: Option<String>,
    /// The demo that runs, if any.
    pub demo: Option<String>,
    /// Where else the page may go.
    pub regions: Vec<OtherRegion>,
    /// Whether `/ops/v1/nodes` tells how the regions are doing.
    pub nodes: bool,
    /// Whether the page may ask for its region's failure.
    pub can_fail: bool,
}

/// A region beside the page's own.
#[derive(Debug, Clone, serde::Serialize)]
pub struct OtherRegion {
    pub client_url: String,
    pub certificate_hash: Option<String>,
}

type Parts = dyn Fn() -> Vec<PartState> + Send + Sync;
type Render = dyn Fn() -> String + Send + Sync;

/// What the admin listener shows.
#[derive(Clone)]
pub struct OpsOptions {
    /// The parts behind the edge (log, router, …).
    pub parts: Arc<Parts>,
    /// Prometheus text.
    pub metrics: Arc<Render>,
    /// Given where this process's clients connect, if it has any.
    pub console: Option<Arc<dyn Fn(Option<SocketAddr>) -> ConsoleInfo + Send + Sync>>,
    /// What this process answers under `/ops/v1/` besides.
    pub api: Option<Arc<dyn OpsApi>>,
    /// Ends the node as a crash would, for a while; only where there is another region to go to.
    pub fail: Option<Arc<dyn Fn() + Send + Sync>>,
}

/// Whose health the listener shows.
pub(crate) trait Subject: Send + Sync {
    fn phase(&self) -> Phase;
    fn connections(&self) -> usize;
    /// Where clients connect, if they do.
    fn client_address(&self) -> Option<SocketAddr>;
    /// The node, if this is one.
    fn node(&self) -> Option<&Node>;
}

/// A process without clients.
struct Headless;

impl Subject for Headless {
    fn phase(&self) -> Phase {
        Phase::Serving
    }

    fn connections(&self) -> usize {
        0
    }

    fn client_address(&self) -> Option<SocketAddr> {
        None
    }

    fn node(&self) -> Option<&Node> {
        None
    }
}

impl Subject for Node {
    fn phase(&self) -> Phase {
        self.told_phase()
    }

    fn connections(&self) -> usize {
        Node::connections(self)
    }

    fn client_address(&self) -> Option<SocketAddr> {
        Some(self.client_address)
    }

    fn node(&self) -> Option<&Node> {
        Some(self)
    }
}

/// An admin listener for a process that is no edge: health, readiness and metrics. Answers its
/// address and what serves until `stop`.
pub async fn serve_admin(
    address: SocketAddr,
    options: OpsOptions,
    stop: CancellationToken,
) -> io::Result<(SocketAddr, impl Future<Output = ()> + Send)> {
    let listener = bind(address).await?;
    let bound = listener.local_addr()?;
    Ok((bound, serve(listener, Arc::new(Headless), options, stop)))
}

pub(crate) async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until `stop`.
pub(crate) async fn serve(
    listener: TcpListener,
    subject: Arc<dyn Subject>,
    options: OpsOptions,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted
                    && connections.len() < CONNECTIONS_MOST
                {
                    connections.spawn(serve_connection(stream, subject.clone(), options.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn serve_connection(stream: TcpStream, subject: Arc<dyn Subject>, options: OpsOptions) {
    let service = service_fn(move |request| {
        let (subject, options) = (subject.clone(), options.clone());
        async move {
            let path = request.uri().path();
            let response = match (subject.node(), &options.api) {
                (Some(node), _) if path == redirect::PATH => redirect::answer(node, request).await,
                (Some(node), _) if path == mode::PATH => mode::answer(node, request).await,
                (Some(node), _) if path == revoke::PATH => revoke::answer(node, request).await,
                (_, Some(api)) if path.starts_with(api.prefix()) => {
                    self::api::serve(&**api, request).await
                }
                _ => answer(&*subject, &options, &request),
            };
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(std::time::Duration::from_secs(30))
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "admin connection ended");
    }
}

fn answer(
    subject: &dyn Subject,
    options: &OpsOptions,
    request: &Request<Incoming>,
) -> Response<Full<Bytes>> {
    if let (&Method::POST, "/ops/v1/fail", Some(fail)) =
        (request.method(), request.uri().path(), &options.fail)
    {
        // No other site's page can send this header here.
        if !request.headers().contains_key(FROM_CONSOLE) {
            return text(StatusCode::FORBIDDEN, "text/plain", "only for the console\n");
        }
        fail();
        return text(StatusCode::ACCEPTED, "text/plain", "ok\n");
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n");
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "text/plain", "ok\n"),
        "/readyz" => ready(subject, options),
        "/metrics" => {
            metrics::parts(&(options.parts)());
            text(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", (options.metrics)())
        }
        "/ops/v1/console" if !is_own_name(request.headers()) => {
            text(StatusCode::MISDIRECTED_REQUEST, "text/plain", "open the console by its address\n")
        }
        "/ops/v1/console" => match &options.console {
            Some(info) => {
                let info = info(subject.client_address());
                let body = serde_json::to_string(&info).unwrap_or_default();
                text(StatusCode::OK, "application/json", body)
            }
            None => {
                text(StatusCode::NOT_FOUND, "text/plain", "the console is a development node's\n")
            }
        },
        path => match console::file(path) {
            Some((media_type, body)) if options.console.is_some() => {
                text(StatusCode::OK, media_type, body)
            }
            _ => text(StatusCode::NOT_FOUND, "text/plain", "not found\n"),
        },
    }
}

/// Another site's name may be made to lead here, and its page would read the answer: a name that is no
/// address is nobody's here but `localhost`.
fn is_own_name(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let Some(Ok(host)) = host.map(str::parse::<Authority>) else { return false };
    let host = host.host().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok()
}

fn ready(subject: &dyn Subject, options: &OpsOptions) -> Response<Full<Bytes>> {
    let phase = subject.phase();
    let parts = (options.parts)();
    let ready = phase == Phase::Serving && parts.iter().all(|part| part.ready || !part.vital);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({
        "ready": ready,
        "degraded": parts.iter().any(|part| !part.ready),
        "phase": phase.name(),
        "connections": subject.connections(),
        "parts": parts,
    });
    text(status, "application/json", body.to_string())
}

fn is_json(request: &Request<Incoming>) -> bool {
    let value = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| value.split(';').next().unwrap_or("").trim() == "application/json")
}

fn text(status: StatusCode, media_type: &str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, media_type)
        .header(CACHE_CONTROL, "no-store")
        .header("x-content-type-options", "nosniff")
        .header(CONTENT_SECURITY_POLICY, POLICY)
        .body(Full::new(body.into()))
        .expect("invariant: the headers are plain ASCII")
}

/// A problem document (RFC 9457) with the protocol's code.
fn problem((status, code): (StatusCode, Code), detail: &str) -> Response<Full<Bytes>> {
    let body = serde_json::json!({
        "type": "about:blank", "status": status.as_u16(), "code": code.name(),
        "title": status.canonical_reason(), "detail": detail,
    });
    text(status, "application/problem+json", body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_own_names() {
        let own = |host: &str| is_own_name(&HeaderMap::from_iter([(HOST, host.parse().unwrap())]));
        for host in ["127.0.0.1:8441", "localhost:8441", "[::1]:8441", "10.0.0.5"] {
            assert!(own(host), "{host}");
        }
        for host in ["evil.example:8441", "127.0.0.1.evil.example", "localhost.evil.example", ""] {
            assert!(!own(host), "{host}");
        }
        assert!(!is_own_name(&HeaderMap::new()));
    }
}
