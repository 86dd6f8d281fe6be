//! Tokens that an issuer signs with its private key, of which the node has the public one in a file.

use meridian_client::Transport;
use meridian_core::auth::{SigningKey, mint};
use serde_json::json;

use crate::client::{claims, now_ms, token};
use crate::node::Node;
use crate::peer::Peer;
use crate::request::Request;
use crate::test_key;

/// A node that has an issuer's public key beside its own secret.
async fn node() -> Node {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::copy(test_key("es256-public.pem"), dir.path().join("issuer.pem")).expect("a key");
    let key = "[[auth.keys]]\nid = 'issuer'\nalgorithm = 'ES256'\npem_file = 'issuer.pem'\n";
    Node::start_in(dir, key, &["--listen", "127.0.0.1:0"]).await
}

/// Ann's token under a key id, signed with a private key.
fn signed(id: &str, pem: &str) -> String {
    let key = SigningKey::from_pem(id, pem).expect("a private key on P-256");
    mint(&key, &claims("ann"), now_ms()).expect("claims within the bounds")
}

fn issuers_key() -> String {
    std::fs::read_to_string(test_key("es256-private.pem")).expect("a test key")
}

/// Tokens that look like the issuer's, and whose they are.
fn foreign_tokens() -> [(&'static str, String); 4] {
    let stranger = rcgen::KeyPair::generate().expect("a key on P-256").serialize_pem();
    let good = signed("issuer", &issuers_key());
    let (head, _) = good.rsplit_once('.').expect("a signature");
    let other = signed("issuer", &stranger);
    let (_, signature) = other.rsplit_once('.').expect("a signature");
    [
        ("signed with another key", other.clone()),
        ("another key's signature", format!("{head}.{signature}")),
        ("under the id of a key that is for HS256", signed("main", &issuers_key())),
        ("under an id that is not there", signed("nobody", &issuers_key())),
    ]
}

on_both! {
    async fn an_issuers_tokens_open_sessions_and_no_others_do(transport: Transport) {
        let node = node().await;
        for good in [signed("issuer", &issuers_key()), token("ann")] {
            let mut peer = Peer::connect(&node, transport, &good).await;
            peer.subscribe("room:es", json!({})).await;
            peer.publish("room:es", &good.len().to_string()).await;
            let event = peer.events("room:es", 1).await.remove(0);
            assert_eq!(event["publisher"], "ann");
        }
        for (what, token) in foreign_tokens() {
            let mut peer = Peer::open(&node, transport).await;
            let reply = peer.ask("connect", json!({ "protocol": 1, "token": token })).await;
            assert_eq!(reply["error"]["code"], "unauthenticated", "{what}: {reply}");
            assert_eq!(peer.closed().await, (4010, "unauthenticated".to_owned()), "{what}");
        }
    }
}

#[tokio::test]
async fn an_issuers_tokens_publish_over_http_and_no_others_do() {
    let node = node().await;
    let mut reader = Peer::connect(&node, Transport::WebSocket, &token("reader")).await;
    reader.subscribe("room:es", json!({})).await;
    let event = |id: &str| json!({ "channel": "room:es", "id": id, "data": 1 });
    for (what, token) in foreign_tokens() {
        let answer = Request::publish(&token, &event("foreign")).send(node.client).await;
        answer.expect(what).assert_problem(401, "unauthenticated");
    }
    let good = signed("issuer", &issuers_key());
    let answer = Request::publish(&good, &event("good")).send(node.client).await;
    assert_eq!(answer.expect("an answer").status, 200);
    assert_eq!(reader.event_ids("room:es", 1).await, ["good"]);
}
