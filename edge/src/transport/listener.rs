//! TCP: one listener a worker on the shared port, TLS where it is on, HTTP/1.1 and HTTP/2, and the
//! hand-over of upgraded sockets to their sessions. A slow handshake is dropped.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::activity::Activity;
use super::address::{ClientAddress, read_proxy_header};
use super::answers::AnswerBody;
use super::socket::{ClientStream, Socket};
use super::websocket::{self, Upgrade};
use crate::http_api;
use crate::worker::Context;
use meridian_core::protocol::ReplyError;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

/// Binds the port for several listeners. The first bind is without `SO_REUSEPORT`, so that a second
/// process on the same port fails loudly; it also picks the port where 0 was asked for.
pub(crate) fn bind_tcp(
    address: SocketAddr,
    count: usize,
) -> io::Result<Vec<std::net::TcpListener>> {
    let probe = raw(address, Type::STREAM, Protocol::TCP)?;
    probe.set_reuse_address(true)?;
    probe.bind(&address.into())?;
    let address = probe.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    drop(probe);
    (0..count)
        .map(|_| {
            let socket = raw(address, Type::STREAM, Protocol::TCP)?;
            socket.set_reuse_address(true)?;
            socket.set_reuse_port(true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            Ok(socket.into())
        })
        .collect()
}

pub(super) fn raw(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<RawSocket> {
    let socket = RawSocket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Accepts until the worker stops. Connections that another worker should have are handed over.
pub(crate) async fn serve_tcp(context: Rc<Context>, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = context.node.draining.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Some(stream) = context.balance(stream, peer) {
                    serve_tcp_stream(&context, stream, peer);
                }
            }
            Err(error) => {
                // Out of descriptors, mostly: others may close.
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Serves one accepted connection on this worker.
pub(crate) fn serve_tcp_stream(context: &Rc<Context>, stream: TcpStream, peer: SocketAddr) {
    let Some(guard) = context.admit() else {
        context.node.metrics.turned_away();
        return;
    };
    let context = context.clone();
    spawn_local(async move {
        let _guard = guard;
        let _ = stream.set_nodelay(true);
        let limit = context.node.handshake_timeout;
        match timeout(limit, prepare(&context, stream, peer)).await {
            Ok(Ok((stream, address))) => Box::pin(serve_http(context, stream, address)).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "handshake failed"),
            Err(_) => tracing::debug!(%peer, "handshake took too long"),
        }
    });
}

async fn prepare(
    context: &Context,
    mut stream: TcpStream,
    peer: SocketAddr,
) -> io::Result<(ClientStream, ClientAddress)> {
    let node = &context.node;
    let address = if node.proxies.proxy_protocol {
        read_proxy_header(&mut stream, peer, &node.proxies).await?
    } else {
        ClientAddress::of_peer(peer)
    };
    let stream = match &node.tcp_tls {
        None => ClientStream::Plain(stream),
        Some(config) => {
            let acceptor = TlsAcceptor::from(Arc::clone(config));
            ClientStream::Tls(Box::new(acceptor.accept(stream).await?))
        }
    };
    Ok((stream, address))
}

/// hyper's tasks stay on the worker.
#[derive(Clone)]
struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}

async fn serve_http(context: Rc<Context>, stream: ClientStream, address: ClientAddress) {
    let mut builder = auto::Builder::new(LocalExecutor);
    let head_timeout = context.node.handshake_timeout;
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(32 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .max_concurrent_streams(64)
        .max_header_list_size(16 * 1024);
    let draining = context.node.draining.clone();
    let activity = Rc::new(Activity::default());
    let active = activity.clone();
    let service = service_fn(move |request| {
        let (context, busy) = (context.clone(), active.begin());
        async move {
            let answer = answer(context, address, request).await;
            Ok::<_, std::convert::Infallible>(answer.map(|body| body.during(busy)))
        }
    });
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = activity.ceased(head_timeout) => return,
        () = draining.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                result = connection.as_mut() => result,
                () = activity.ceased(head_timeout) => return,
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "http connection ended");
    }
}

async fn answer(
    context: Rc<Context>,
    address: ClientAddress,
    mut request: Request<Incoming>,
) -> Response<AnswerBody> {
    if request.uri().path() == "/v1/ws" && request.method() == http::Method::GET {
        return upgrade(&context, &mut request, address);
    }
    let (head, body) = request.into_parts();
    let body = match http_api::read_body(&context, body).await {
        Ok(body) => body,
        Err(code) => return http_api::problem(code).map(Into::into),
    };
    http_api::handle(&context, &head, body, address).await
}

fn upgrade(
    context: &Rc<Context>,
    request: &mut Request<Incoming>,
    address: ClientAddress,
) -> Response<AnswerBody> {
    let admitted = http_api::admit_session(context, request.headers(), request.uri(), address);
    let prepared = admitted.and_then(|asked| {
        let upgrade = Upgrade::parse(request.headers(), asked.codec.as_deref());
        upgrade.map(|upgrade| (upgrade, asked)).map_err(ReplyError::of)
    });
    let (upgrade, asked) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return http_api::refusal(&error, None).map(Into::into),
    };
    let response = upgrade.answer();
    let upgraded = hyper::upgrade::on(request);
    let context = context.clone();
    let admission = context.admit_session();
    spawn_local(async move {
        let Ok(upgraded) = upgraded.await else { return };
        let Ok(parts) = auto::upgrade::downcast::<TokioIo<ClientStream>>(upgraded) else {
            tracing::error!("an upgraded connection is of another type");
            return;
        };
        let socket = Socket::from(parts.io.into_inner());
        // A slice of hyper's buffer would keep all of it for the session's life.
        let early = parts.read_buf.to_vec();
        // The session's task is small and lives long; this one's frame held hyper's parts.
        spawn_local(websocket::run(context, socket, early, upgrade.codec, asked, admission));
    });
    response
}
