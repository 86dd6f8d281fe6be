//! Transports move bytes: sockets, TLS, HTTP upgrades, QUIC and its streams. They never read what a
//! message means.

mod activity;
mod address;
mod answers;
mod capsules;
mod listener;
mod quic;
mod reset_key;
mod socket;
mod steering;
pub(crate) mod tls;
mod websocket;
mod websocket_frames;
mod webtransport;

pub(crate) use address::ClientAddress;
pub(crate) use answers::{AnswerBody, event_stream, poll};
pub(crate) use listener::{bind_tcp, serve_tcp, serve_tcp_stream};
pub(crate) use quic::{QuicKeys, bind_udp, endpoint, serve_quic};
pub use reset_key::ResetKey;
pub(crate) use steering::{Steering, Stray};
pub use tls::{Certificates, TlsError};
