//! QUIC: one endpoint a worker on the shared UDP port, HTTP/3 requests and WebTransport sessions on the
//! same connections. A peer gets little memory until it has shown what it wants.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h3::quic::BidiStream;
use h3::server::RequestStream;
use http::{Request, Response};
use meridian_core::protocol::Code;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::crypto::{HandshakeTokenKey, HmacKey};
use quinn::{
    Endpoint, EndpointConfig, IdleTimeout, Incoming, Runtime as _, ServerConfig, TokioRuntime,
    VarInt,
};
use ring::{hkdf, hmac};
use socket2::{Protocol, Type};
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::activity::{Activity, Busy};
use super::address::ClientAddress;
use super::answers::AnswerBody;
use super::listener::raw;
use super::reset_key::ResetKey;
use super::steering::{SteeredSocket, Stray};
use super::tls::TlsError;
use super::webtransport;
use crate::http_api;
use crate::node::Node;
use crate::worker::Context;

/// A connection without any packet is gone after this; sessions have their own heartbeat below it.
const IDLE: Duration = Duration::from_secs(60);
/// What a peer may send us that we have not read: a frame, and a little more.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// What we keep of a peer that does not acknowledge.
const SEND_WINDOW: u64 = 256 * 1024;
/// The CONNECT stream, the session's own, and a few requests.
const PEER_BIDI: u32 = 16;
/// HTTP/3's three, and a few that we refuse.
const PEER_UNI: u32 = 8;
const HEADERS_MOST: u64 = 16 * 1024;
/// Between two stateless resets of a worker. A restarted node owes one to each client that it had; a
/// reset is smaller than what it answers, so nobody gains by asking for many.
const RESET_INTERVAL: Duration = Duration::from_millis(1);

pub(super) type H3Connection = h3::server::Connection<h3_quinn::Connection, Bytes>;
pub(super) type H3Stream = RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

/// Binds the port for several endpoints, like `bind_tcp`.
pub(crate) fn bind_udp(address: SocketAddr, count: usize) -> io::Result<Vec<UdpSocket>> {
    let probe = raw(address, Type::DGRAM, Protocol::UDP)?;
    probe.bind(&address.into())?;
    drop(probe);
    (0..count)
        .map(|_| {
            let socket = raw(address, Type::DGRAM, Protocol::UDP)?;
            socket.set_reuse_port(true)?;
            // Bursts of a fan-out's ACKs; the kernel caps it at its own limit.
            let _ = socket.set_recv_buffer_size(4 << 20);
            let _ = socket.set_send_buffer_size(4 << 20);
            socket.bind(&address.into())?;
            Ok(socket.into())
        })
        .collect()
}

/// Keys that all workers of a node share, so that any of them can check another's retry tokens and
/// reset its connections.
pub(crate) struct QuicKeys {
    reset: Arc<dyn HmacKey>,
    token: Arc<dyn HandshakeTokenKey>,
}

impl QuicKeys {
    /// Handshakes that a restart cuts begin again: their key is a fresh one.
    pub(crate) fn new(reset: &ResetKey) -> Self {
        let reset = hmac::Key::new(hmac::HMAC_SHA256, &reset.0);
        let token = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&rand::random::<[u8; 64]>());
        Self { reset: Arc::new(reset), token: Arc::new(token) }
    }
}

/// A worker's endpoint on the current runtime.
pub(crate) fn endpoint(
    node: &Node,
    worker: usize,
    socket: UdpSocket,
    strays: mpsc::Receiver<Stray>,
) -> Result<Endpoint, QuicError> {
    let tls = QuicServerConfig::try_from(node.certificates.quic_config()?)
        .expect("invariant: the ring provider has TLS13_AES_128_GCM_SHA256");
    let mut config = ServerConfig::new(Arc::new(tls), node.quic_keys.token.clone());
    let mut transport = quinn::TransportConfig::default();
    transport
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok())
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(SEND_WINDOW)
        .max_concurrent_bidi_streams(VarInt::from_u32(PEER_BIDI))
        .max_concurrent_uni_streams(VarInt::from_u32(PEER_UNI))
        .datagram_send_buffer_size(64 * 1024)
        .datagram_receive_buffer_size(Some(64 * 1024));
    config.transport_config(Arc::new(transport));
    let steering = node.steering.clone();
    let mut endpoint = EndpointConfig::new(node.quic_keys.reset.clone());
    endpoint.cid_generator(move || steering.ids(worker)).min_reset_interval(RESET_INTERVAL);
    let socket = TokioRuntime.wrap_udp_socket(socket)?;
    let socket = SteeredSocket::new(socket, node.steering.clone(), worker, strays);
    let runtime = Arc::new(TokioRuntime);
    Ok(Endpoint::new_with_abstract_socket(endpoint, Some(config), Arc::new(socket), runtime)?)
}

/// Why there is no endpoint.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QuicError {
    #[error("QUIC settings")]
    Tls(#[from] TlsError),
    #[error("cannot use the UDP socket")]
    Socket(#[from] io::Error),
}

/// Accepts until the worker stops.
pub(crate) async fn serve_quic(context: Rc<Context>, endpoint: Endpoint) {
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            () = context.node.draining.cancelled() => return,
        };
        let Some(incoming) = incoming else { return };
        let Some(guard) = context.admit() else {
            context.node.metrics.turned_away();
            incoming.refuse();
            continue;
        };
        let context = context.clone();
        spawn_local(async move {
            let _guard = guard;
            Box::pin(serve_connection(context, incoming)).await;
        });
    }
}

async fn serve_connection(context: Rc<Context>, incoming: Incoming) {
    let address = ClientAddress::of_peer(incoming.remote_address());
    let limit = context.node.handshake_timeout;
    let handshake = async {
        let quic = incoming.await.ok()?;
        let h3 = h3::server::builder()
            .enable_webtransport(true)
            .enable_extended_connect(true)
            .enable_datagram(true)
            .max_webtransport_sessions(1)
            .max_field_section_size(HEADERS_MOST)
            .build(h3_quinn::Connection::new(quic.clone()))
            .await
            .ok()?;
        Some((quic, h3))
    };
    let Ok(Some((quic, mut h3))) = timeout(limit, handshake).await else { return };
    // A connection that asks for nothing holds memory for nothing; one that asked may ask again.
    let activity = Rc::new(Activity::default());
    loop {
        let accepted = tokio::select! {
            accepted = h3.accept() => accepted,
            () = activity.ceased(limit) => return,
        };
        let Ok(Some(resolver)) = accepted else { return };
        let Ok(resolved) = timeout(limit, resolver.resolve_request()).await else { return };
        let Ok((request, stream)) = resolved else { continue };
        let busy = activity.begin();
        if is_webtransport(&request) {
            return webtransport::accept(context, quic, h3, request, stream, address).await;
        }
        let (context, quic) = (context.clone(), quic.clone());
        spawn_local(async move {
            tokio::select! {
                () = answer(&context, request, stream, address, busy) => {}
                // Whoever waits for something to say has to learn that nobody listens.
                _ = quic.closed() => {}
            }
        });
    }
}

fn is_webtransport(request: &Request<()>) -> bool {
    request.method() == http::Method::CONNECT
        && request.extensions().get::<h3::ext::Protocol>()
            == Some(&h3::ext::Protocol::WEB_TRANSPORT)
}

async fn answer(
    context: &Rc<Context>,
    request: Request<()>,
    mut stream: H3Stream,
    address: ClientAddress,
    busy: Busy,
) {
    let (head, ()) = request.into_parts();
    let limit = context.node.handshake_timeout;
    let response = match timeout(limit, read_body(context, &mut stream)).await {
        Ok(Some(body)) => http_api::handle(context, &head, body, address).await,
        Ok(None) => http_api::problem(Code::FrameTooLarge).map(Into::into),
        Err(_) => http_api::problem(Code::ConnectTimeout).map(Into::into),
    };
    let response = response.map(|body| body.during(busy));
    if matches!(response.body(), AnswerBody::Stream(_)) {
        respond(&mut stream, response).await;
    } else {
        let _ = timeout(limit, respond(&mut stream, response)).await;
    }
}

async fn read_body(context: &Context, stream: &mut H3Stream) -> Option<Bytes> {
    let most = context.node.settings.limits.frame_bytes as usize;
    let mut body = BytesMut::new();
    while let Ok(Some(mut data)) = stream.recv_data().await {
        if body.len() + data.remaining() > most {
            return None;
        }
        body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    Some(body.freeze())
}

/// Sends a response to its end. A peer that is gone does not need it.
pub(super) async fn respond<S>(stream: &mut RequestStream<S, Bytes>, response: Response<AnswerBody>)
where
    S: BidiStream<Bytes>,
{
    let (head, mut body) = response.into_parts();
    if stream.send_response(Response::from_parts(head, ())).await.is_err() {
        return;
    }
    while let Some(bytes) = body.next().await {
        if !bytes.is_empty() && stream.send_data(bytes).await.is_err() {
            return;
        }
    }
    let _ = stream.finish().await;
}
