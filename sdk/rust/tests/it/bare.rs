//! Bare connections.

use meridian_client::Trust;
use meridian_client::raw::{Endpoint, Options, Source, WebSocket, WebSocketError, WebTransport};
use meridian_core::protocol::{Code, Codec, Command, CommandFrame, Message};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::server::{WebSocketServer, WebTransportServer, event, framed, soon};

const PING: CommandFrame = CommandFrame { id: Some(1), command: Command::Ping };

#[tokio::test]
async fn a_bare_websocket_sends_and_reads() {
    let server = WebSocketServer::start().await;
    let options = Options::new(server.addr(), "/v1/ws").codec(Codec::MessagePack);
    let (mut peer, socket) = tokio::join!(server.accept(), soon(WebSocket::open(&options)));
    let mut socket = socket.unwrap();
    socket.send(Codec::MessagePack, &PING).await.unwrap();
    assert_eq!(peer.command().await, PING);
    peer.send(Message::Pong { id: Some(1) }).await;
    let messages = soon(socket.next_messages(Codec::MessagePack)).await.unwrap();
    assert_eq!(messages, [Message::Pong { id: Some(1) }]);
    peer.close(Code::Forbidden).await;
    let closed = soon(socket.next_messages(Codec::MessagePack)).await;
    assert!(
        matches!(closed, Err(WebSocketError::Closed { code: 4013, reason }) if reason == "forbidden")
    );
}

#[tokio::test]
async fn a_refused_upgrade_tells_its_status() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let play = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await.unwrap();
        stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").await.unwrap();
    };
    let (_, refused) = tokio::join!(play, soon(WebSocket::connect(addr, "/v1/ws")));
    assert!(matches!(refused, Err(WebSocketError::Refused { status: 503, .. })));
}

#[tokio::test]
async fn a_bare_session_sends_frames_and_reads_all_streams() {
    let server = WebTransportServer::start();
    let endpoint = Endpoint::new(&Trust::Hashes(vec![server.hash])).unwrap();
    let url = format!("{}/v1/wt", server.url().replace("http:", "https:"));
    let open = async {
        let mut session = soon(WebTransport::connect(&endpoint, &url)).await.unwrap();
        session.send_frame(b"anything").await.unwrap();
        session
    };
    let (mut peer, mut session) = tokio::join!(server.accept(), open);
    assert_eq!(&peer.frame().await[..], b"anything");
    let mut lane = peer.lane().await;
    lane.write_all(&framed(&event("a:b", 1, 0, "1"))).await.unwrap();
    peer.send(Message::Ping).await;
    let mut sources =
        [soon(session.next_frame()).await.unwrap().0, soon(session.next_frame()).await.unwrap().0];
    sources.sort_by_key(|source| matches!(source, Source::Lane(_)));
    assert!(matches!(sources, [Source::Session, Source::Lane(_)]));
    session.close(4000, "requested");
    soon(peer.connection.closed()).await;
}
