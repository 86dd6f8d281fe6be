//! The client against a server that each test plays itself, over real sockets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bare;
mod regions;
mod server;
mod websocket;
mod webtransport;
