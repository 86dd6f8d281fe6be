//! The client in front of several regions.

use std::sync::Arc;
use std::time::Duration;

use meridian_client::{
    Builder, CertificateHash, Choice, Client, Codec, ConnectError, From, Moves, Reason, Region,
    Transport, Update,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::server::{Peer, WebSocketServer, event, soon};

fn builder(home: &WebSocketServer, other: &WebSocketServer) -> Builder {
    Client::builder(home.url())
        .region(other.url())
        .token("token")
        .codec(Codec::Json)
        .reconnect_delay(Duration::from_millis(5), Duration::from_millis(50))
        .home_return(Duration::from_millis(20), Duration::from_millis(20))
}

async fn arrives(client: &Client, reason: Reason) -> Region {
    let mut region = client.region();
    let is_there = |region: &Option<Region>| region.as_ref().is_some_and(|r| r.reason == reason);
    soon(region.wait_for(is_there)).await.unwrap().clone().unwrap()
}

async fn next(subscription: &mut meridian_client::Subscription) -> Option<String> {
    match soon(subscription.next()).await {
        Some(Update::Event(event)) => event.cursor(),
        other => panic!("{other:?}"),
    }
}

/// Plays a region that is only probed.
async fn only_probed(server: &WebSocketServer) -> Peer {
    server.accept_client().await
}

#[tokio::test]
async fn a_region_that_is_gone_is_left_and_everything_goes_on_elsewhere() {
    let (home, other) = (WebSocketServer::start().await, WebSocketServer::start().await);
    let home_url = home.url();
    other.tell("\"state\":\"degraded\",\"region\":\"us\"");
    let connecting = builder(&home, &other).connect();
    let play = async {
        tokio::select! {
            peer = home.accept_client() => peer,
            _ = only_probed(&other) => panic!("the other is no better"),
        }
    };
    let (mut peer, client) = tokio::join!(play, soon(connecting));
    let client = client.unwrap();
    let region = client.region().borrow().clone().unwrap();
    assert_eq!((region.url, region.reason), (home_url, Reason::Start));
    let (subscription, _) = tokio::join!(client.subscribe("a:b", From::Now), async {
        peer.subscribe("a:b", 5).await;
        peer.send(event("a:b", 6, 5, "1")).await;
    });
    let mut events = subscription.unwrap();
    assert_eq!(next(&mut events).await.as_deref(), Some("1.global.1.3.6"));
    drop((peer, home));
    let mut peer = other.accept_client().await;
    assert_eq!(peer.subscribe("a:b", 6).await.as_deref(), Some("1.global.1.3.6"));
    peer.send(event("a:b", 7, 6, "2")).await;
    assert_eq!(next(&mut events).await.as_deref(), Some("1.global.1.3.7"));
    let region = arrives(&client, Reason::Failure).await;
    assert_eq!(region.url, other.url());
    assert_eq!(region.moves, Moves { failure: 1, ..Moves::default() });
}

#[tokio::test]
async fn home_is_gone_back_to_once_it_is_well() {
    let (home, other) = (WebSocketServer::start().await, WebSocketServer::start().await);
    home.tell("\"state\":\"starting\"");
    let play = async {
        tokio::select! {
            peer = other.accept_client() => peer,
            _ = only_probed(&home) => panic!("home is not well"),
        }
    };
    let (mut peer, client) = tokio::join!(play, soon(builder(&home, &other).connect()));
    let client = client.unwrap();
    let (subscription, _) = tokio::join!(client.subscribe("a:b", From::Now), async {
        peer.subscribe("a:b", 5).await;
    });
    let mut events = subscription.unwrap();
    home.tell("\"state\":\"serving\",\"region\":\"eu\"");
    let mut new = home.accept_client().await;
    assert_eq!(new.subscribe("a:b", 5).await.as_deref(), Some("1.global.1.3.5"));
    new.send(event("a:b", 6, 5, "1")).await;
    assert_eq!(next(&mut events).await.as_deref(), Some("1.global.1.3.6"));
    assert_eq!(peer.closed().await, Some(4000), "the old session is closed");
    let region = arrives(&client, Reason::Home).await;
    assert_eq!((region.name.as_str(), region.moves.home), ("eu", 1));
}

#[tokio::test]
async fn regions_that_an_answer_names_are_used_where_asked_for() {
    let (home, other) = (WebSocketServer::start().await, WebSocketServer::start().await);
    home.tell(format!(
        "\"state\":\"serving\",\"regions\":[{{\"name\":\"us\",\"url\":\"{}\"}}]",
        other.url()
    ));
    let builder = Client::builder(home.url())
        .region("http://127.0.0.1:9")
        .discover_regions()
        .token("token")
        .reconnect_delay(Duration::from_millis(5), Duration::from_millis(50));
    let (peer, client) = tokio::join!(home.accept_client(), soon(builder.connect()));
    let client = client.unwrap();
    home.probed(1).await;
    drop((peer, home));
    let _peer = other.accept_client().await;
    assert_eq!(arrives(&client, Reason::Failure).await.name, "us");
}

#[tokio::test]
async fn probes_are_secure_where_the_address_is() {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let _client = Client::builder(format!("{url}/eu"))
        .region("https://127.0.0.1:9")
        .certificate_hash(CertificateHash::of(cert.der()))
        .transport(Choice::Only(Transport::WebSocket))
        .start()
        .unwrap();
    let mut asked = Vec::new();
    while asked.len() < 2 {
        let (stream, _) = soon(listener.accept()).await.unwrap();
        let mut stream = soon(acceptor.accept(stream)).await.unwrap();
        let mut request = [0; 4096];
        let read = soon(stream.read(&mut request)).await.unwrap();
        let request = String::from_utf8_lossy(&request[..read]).into_owned();
        asked.push(request.lines().next().unwrap().to_owned());
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 19\r\n\r\n{\"state\":\"serving\"}";
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
    assert_eq!(asked, ["GET /eu/v1/regions HTTP/1.1", "GET /eu/v1/ws HTTP/1.1"]);
}

#[tokio::test]
async fn addresses_that_do_not_fit_are_refused() {
    let mixed = Client::builder("https://eu.example").region("http://us.example").start();
    assert!(matches!(mixed, Err(ConnectError::MixedRegions)));
    let none = Client::builder("https://eu.example").regions(["us.example"]).start();
    assert!(matches!(none, Err(ConnectError::Url(_))));
}
