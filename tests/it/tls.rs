//! TLS on TCP, and certificates that change while the node runs.

use meridian_client::{Choice, Client, From, Io, Publish, Transport, Trust};
use rustls::pki_types::ServerName;

use crate::certificate;
use crate::client::{next_ids, token};
use crate::node::{Node, eventually_async};
use crate::request::Request;

fn client(node: &Node, transport: Transport) -> meridian_client::Builder {
    Client::builder(format!("https://{}", node.client))
        .certificate_hash(node.certificate)
        .transport(Choice::Only(transport))
        .token(token("ann"))
}

/// Whether a new handshake shows this certificate, over TCP.
async fn shows(node: &Node, certificate: meridian_client::CertificateHash) -> bool {
    let trust = Trust::Hashes(vec![certificate]);
    let config = trust.client_config(&[b"http/1.1"]).expect("a configuration");
    let io = Io::connect(node.client, None).await.expect("a connection");
    io.secure(config, ServerName::from(node.client.ip())).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_serves_sessions_and_requests_and_plain_text_nothing() {
    let node = Node::start_with("", &["--listen", "127.0.0.1:0", "--tls"]).await;
    for transport in [Transport::WebSocket, Transport::WebTransport] {
        let client = client(&node, transport).connect().await.expect("a connection");
        let mut room = client.subscribe("room:tls", From::Now).await.expect("a subscription");
        let text = "x".repeat(60_000);
        for n in 0..20 {
            let event = Publish::text("room:tls", text.clone()).id(format!("{transport:?}-{n}"));
            client.publish(event).await.expect("acknowledged");
        }
        let wanted: Vec<_> = (0..20).map(|n| format!("{transport:?}-{n}")).collect();
        assert_eq!(next_ids(&mut room, 20).await, wanted);
    }
    let config = node.trust().client_config(&[b"http/1.1"]).expect("a configuration");
    let io = Io::connect(node.client, None).await.expect("a connection");
    let io = io.secure(config, ServerName::from(node.client.ip())).await.expect("TLS");
    let body = serde_json::json!({ "channel": "room:tls", "data": 1 });
    let answer = Request::publish(&token("ann"), &body).send_over(io, "node").await;
    assert_eq!(answer.expect("an answer").status, 200);
    assert!(Request::publish(&token("ann"), &body).send(node.client).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_certificate_is_shown_without_a_restart_and_sessions_live_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let old = certificate::write(dir.path());
    let node =
        Node::start_in(dir, certificate::SECTION, &["--listen", "127.0.0.1:0", "--tls"]).await;
    assert_eq!(node.certificate, old);
    assert!(shows(&node, old).await);
    let mut living = Vec::new();
    for transport in [Transport::WebSocket, Transport::WebTransport] {
        let client = client(&node, transport).connect().await.expect("a connection");
        let room = client.subscribe("room:tls", From::Now).await.expect("a subscription");
        living.push((client, room));
    }
    let new = certificate::write(node.dir());
    assert_ne!(new, old);
    eventually_async("the new certificate", || async { shows(&node, new).await.then_some(()) })
        .await;
    assert!(!shows(&node, old).await);
    let renewed = Client::builder(format!("https://{}", node.client))
        .certificate_hash(new)
        .transport(Choice::Only(Transport::WebTransport))
        .token(token("ann"))
        .connect()
        .await
        .expect("a connection");
    renewed.publish(Publish::json("room:tls", "1").id("after")).await.expect("acknowledged");
    for (client, room) in &mut living {
        assert_eq!(next_ids(room, 1).await, ["after"]);
        assert_eq!(client.session().expect("connected").reconnects, 0);
    }
    // Damaged files are told of and change nothing.
    std::fs::write(node.dir().join("chain.pem"), "damaged").expect("a file");
    eventually_async("the complaint", || async {
        node.log().to_lowercase().contains("certificate").then_some(())
    })
    .await;
    assert!(shows(&node, new).await);
}
