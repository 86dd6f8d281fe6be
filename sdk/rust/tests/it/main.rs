//! The client against a server that each test plays itself, over real sockets.

mod bare;
mod server;
mod websocket;
mod webtransport;
