//! Bare connections that speak a transport and nothing above it: for load generators, which must
//! hold ten thousand cheaply, and for tests that send what no honest client would. Keeps no state
//! of the protocol, answers nothing by itself and checks nothing that it need not.

mod websocket;
mod webtransport;
mod ws_frame;

pub use websocket::{Options, WebSocket, WebSocketError};
pub use webtransport::{Endpoint, Source, WebTransport, WebTransportError};
pub use ws_frame::{Frame, Frames, Opcode, put_client_frame};
