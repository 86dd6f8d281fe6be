//! The client over WebSocket.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use meridian_client::{
    CertificateHash, Choice, Client, Code, Codec, ConnectError, From, Publish, State, Transport,
    Update,
};
use meridian_core::protocol::{Command, Message, ReplyError};

use crate::server::{WebSocketServer, event, soon};

async fn client(server: &WebSocketServer, codec: Codec) -> Client {
    let builder = Client::builder(server.url())
        .token("token")
        .codec(codec)
        .reconnect_delay(Duration::from_millis(5), Duration::from_millis(50));
    soon(builder.connect()).await.unwrap()
}

async fn next_data(subscription: &mut meridian_client::Subscription) -> String {
    match soon(subscription.next()).await {
        Some(Update::Event(event)) => String::from_utf8(event.body.data.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn subscribes_publishes_and_reads_in_both_codecs() {
    for codec in Codec::ALL {
        let server = WebSocketServer::start().await;
        let play = async {
            let mut peer = server.accept_client().await;
            assert_eq!(peer.subscribe("a:b", 5).await, None);
            let frame = peer.command().await;
            let Command::Publish(item) = frame.command else { panic!("{frame:?}") };
            assert_eq!((&item.content.data[..], item.age_ms), (&b"{\"n\":1}"[..], 0));
            peer.send(event("a:b", 6, 5, "{\"n\":1}")).await;
            peer.send(Message::Published { id: frame.id, cursor: Some("c".into()) }).await;
            assert_eq!(peer.closed().await, Some(4000));
        };
        let use_it = async {
            let client = client(&server, codec).await;
            assert_eq!(client.session().unwrap().transport, Transport::WebSocket);
            let mut events = client.subscribe("a:b", From::Now).await.unwrap();
            assert_eq!(events.cursor(), Some("1.global.1.3.5"));
            let receipt = client.publish(Publish::json("a:b", "{\"n\":1}")).await.unwrap();
            assert_eq!(receipt.cursor.as_deref(), Some("c"));
            assert_eq!(next_data(&mut events).await, "{\"n\":1}");
            assert_eq!(events.cursor(), Some("1.global.1.3.6"));
            client.close().await;
            assert_eq!(soon(events.next()).await, None);
            assert!(client.publish(Publish::json("a:b", "1")).await.is_err());
        };
        tokio::join!(play, use_it);
    }
}

#[tokio::test]
async fn after_a_drop_it_resumes_and_publishes_again() {
    let server = WebSocketServer::start().await;
    let play = async {
        let mut peer = server.accept_client().await;
        peer.subscribe("a:b", 5).await;
        peer.send(event("a:b", 6, 5, "1")).await;
        let first = peer.command().await;
        drop(peer);
        let mut peer = server.accept_client().await;
        assert_eq!(peer.subscribe("a:b", 6).await.as_deref(), Some("1.global.1.3.6"));
        let again = peer.command().await;
        let (Command::Publish(first), Command::Publish(second)) = (first.command, again.command)
        else {
            panic!("two publishes")
        };
        assert_eq!(first.id, second.id);
        peer.send(event("a:b", 6, 5, "1")).await;
        peer.send(event("a:b", 7, 6, "2")).await;
        peer.send(Message::Published { id: again.id, cursor: None }).await;
        peer
    };
    let use_it = async {
        let client = client(&server, Codec::MessagePack).await;
        let mut events = client.subscribe("a:b", From::Now).await.unwrap();
        assert_eq!(next_data(&mut events).await, "1");
        soon(client.publish(Publish::json("a:b", "2"))).await.unwrap();
        assert_eq!(next_data(&mut events).await, "2");
        assert_eq!(client.session().unwrap().reconnects, 1);
    };
    tokio::join!(play, use_it);
}

#[tokio::test]
async fn a_refusal_for_good_fails_the_connect() {
    let server = WebSocketServer::start().await;
    let play = async {
        let mut peer = server.accept().await;
        let id = peer.command().await.id;
        peer.send(Message::Error(id, ReplyError::of(Code::Unauthenticated))).await;
        peer.closed().await;
    };
    let builder = Client::builder(server.url()).token("wrong");
    let (_, result) = tokio::join!(play, soon(builder.connect()));
    assert!(matches!(result, Err(ConnectError::Stopped(_))));
}

#[tokio::test]
async fn a_close_that_says_stop_is_seen_in_the_state() {
    let server = WebSocketServer::start().await;
    let (peer, client) = tokio::join!(server.accept_client(), client(&server, Codec::Json));
    peer.close(Code::TakenOver).await;
    let mut state = client.state();
    let closed = soon(state.wait_for(|state| matches!(state, State::Closed(_)))).await.unwrap();
    assert!(matches!(&*closed, State::Closed(Some(lost)) if lost.code() == Some(Code::TakenOver)));
}

#[tokio::test]
async fn dropping_the_client_ends_its_connection() {
    let server = WebSocketServer::start().await;
    let (mut peer, client) = tokio::join!(server.accept_client(), client(&server, Codec::Json));
    drop(client);
    assert_eq!(peer.closed().await, None);
}

#[tokio::test]
async fn where_udp_leads_nowhere_websocket_is_used() {
    let server = WebSocketServer::start().await;
    let builder = Client::builder(server.url())
        .token("token")
        .certificate_hash(CertificateHash([7; 32]))
        .transport(Choice::Auto);
    let (_peer, client) = tokio::join!(server.accept_client(), soon(builder.connect()));
    assert_eq!(client.unwrap().session().unwrap().transport, Transport::WebSocket);
}

#[tokio::test]
async fn tokens_come_from_the_source() {
    let server = WebSocketServer::start().await;
    let asked = Arc::new(AtomicU32::new(0));
    let counted = asked.clone();
    let builder = Client::builder(server.url()).token_source(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Ok::<_, std::io::Error>("token".to_owned()) }
    });
    let (_peer, client) = tokio::join!(server.accept_client(), soon(builder.connect()));
    assert!(client.is_ok());
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}
