//! Transports move bytes: sockets, TLS, HTTP upgrades, QUIC and its streams. They never read what a
//! message means.

mod address;
mod listener;
mod quic;
mod socket;
pub(crate) mod tls;
mod websocket;
mod websocket_frames;
mod webtransport;

pub(crate) use address::ClientAddress;
pub(crate) use listener::{bind_tcp, serve_tcp, serve_tcp_stream};
pub(crate) use quic::{bind_udp, endpoint, serve_quic};
pub use tls::{Certificates, TlsError};
