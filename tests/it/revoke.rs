//! Revocation of tokens, users and devices by the admin API, against sessions that live and tokens that
//! come after.

use std::time::Duration;

use meridian_client::Transport;
use meridian_core::vocabulary::{DeviceId, Tenant};
use serde_json::{Value, json};

use crate::SECRET;
use crate::client::{Rights, claims, now_ms, operator_token, signed, token, token_with};
use crate::node::Node;
use crate::peer::Peer;
use crate::request::{Answer, Request};

const REVOKED: (u64, &str) = (4016, "token_revoked");

async fn ask(node: &Node, token: &str, body: &Value) -> Answer {
    let request = Request::new("POST", "/ops/v1/revoke")
        .header("Authorization", &format!("Bearer {token}"))
        .body("application/json", body.to_string());
    request.send(node.admin).await.expect("an answer")
}

/// Ann's token with an id and a device, made some time ago.
fn marked(id: &str, device: &str) -> String {
    let mut claims = claims("ann");
    claims.token_id = Some(id.to_owned());
    claims.device = Some(DeviceId::parse(device).expect("a device"));
    signed(&claims, SECRET, now_ms() - 60_000)
}

async fn refused(node: &Node, transport: Transport, token: &str) {
    let mut peer = Peer::open(node, transport).await;
    let reply = peer.ask("connect", json!({ "protocol": 1, "token": token })).await;
    assert_eq!(reply["error"]["code"], REVOKED.1, "{reply}");
    assert_eq!(peer.closed().await, (REVOKED.0, REVOKED.1.to_owned()));
    let event = json!({ "channel": "room:r", "data": 1 });
    let answer = Request::publish(token, &event).send(node.client).await;
    answer.expect("an answer").assert_problem(401, REVOKED.1);
}

on_both! {
    async fn what_is_revoked_ends_at_once_and_nothing_else_does(transport: Transport) {
        let node = Node::start("").await;
        let tokens = [marked("one", "phone"), marked("two", "phone"), marked("three", "tablet")];
        let revocations = [
            json!({ "tenant": "acme", "token": "one", "reason": "leaked" }),
            json!({ "tenant": "acme", "user": "ann", "device": "phone", "reason": "stolen" }),
            json!({ "tenant": "acme", "user": "ann", "reason": "left" }),
        ];
        let mut sessions = Vec::new();
        for token in &tokens {
            let mut peer = Peer::connect(&node, transport, token).await;
            peer.subscribe("room:r", json!({})).await;
            sessions.push(peer);
        }
        let mut bob = Peer::connect(&node, transport, &token("bob")).await;
        bob.subscribe("room:r", json!({})).await;
        for (number, body) in revocations.iter().enumerate() {
            let began = std::time::Instant::now();
            let answer = ask(&node, &operator_token(), body).await;
            assert_eq!((answer.status, &answer.json()["region"]), (200, &json!(true)), "{answer:?}");
            let mut peer = sessions.remove(0);
            assert_eq!(peer.closed().await, (REVOKED.0, REVOKED.1.to_owned()), "{body}");
            assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
            refused(&node, transport, &tokens[number]).await;
            for peer in sessions.iter_mut().chain([&mut bob]) {
                assert!(peer.ask("ping", json!({})).await["pong"].is_object(), "it lives");
            }
        }
        bob.publish("room:r", "after").await;
        assert_eq!(bob.events("room:r", 1).await.len(), 1);
        // A user's new token counts: whoever made it knew.
        let mut new = claims("ann");
        new.token_id = Some("four".to_owned());
        let new = signed(&new, SECRET, now_ms() + 1000);
        Peer::connect(&node, transport, &new).await;
        assert!(node.log().contains("olga") && node.log().contains("stolen"), "who and why");
    }
}

#[tokio::test]
async fn only_operators_revoke_and_only_what_is_named() {
    let node = Node::start("").await;
    let good = json!({ "tenant": "acme", "user": "ann", "reason": "left" });
    let viewer = token_with("vic", &Rights { roles: &["meridian-viewer"], ..Rights::default() });
    ask(&node, "nonsense", &good).await.assert_refused(401, "unauthenticated");
    ask(&node, &token("ann"), &good).await.assert_refused(403, "forbidden");
    ask(&node, &viewer, &good).await.assert_refused(403, "forbidden");
    for bad in [json!({}), json!({ "tenant": "acme", "reason": "x" }), json!("x")] {
        ask(&node, &operator_token(), &bad).await.assert_refused(400, "bad_request");
    }
    let list = async |token: &str| {
        let request = Request::new("GET", "/ops/v1/revoke")
            .header("Authorization", &format!("Bearer {token}"));
        request.send(node.admin).await.expect("an answer")
    };
    assert_eq!(list(&viewer).await.json(), json!({ "revoked": [] }));
    assert_eq!(ask(&node, &operator_token(), &good).await.status, 200);
    assert_eq!(list(&viewer).await.json()["revoked"][0]["user"], "ann");
    list(&token("bob")).await.assert_refused(403, "forbidden");
    let form = Request::new("POST", "/ops/v1/revoke").body("text/plain", good.to_string());
    form.send(node.admin).await.expect("an answer").assert_refused(405, "method_not_allowed");
}

/// An issuer that speaks for one tenant makes nobody an operator of another.
#[tokio::test]
async fn an_operator_counts_for_the_issuers_tenants_only() {
    let issuer = "[[auth.issuers]]\nname = 'id'\ntenants = ['rival']\n\
                  [[auth.keys]]\nid = 'rival'\nalgorithm = 'HS256'\nissuer = 'id'\n\
                  secret = 'another secret of thirty-two bytes'\n";
    let node = Node::start(issuer).await;
    let mut rival = claims("olga");
    rival.tenant = Tenant::parse("rival").expect("a tenant");
    rival.issuer = Some("id".to_owned());
    rival.roles = ["meridian-admin".to_owned()].into();
    let key =
        meridian_core::auth::SigningKey::hs256("rival", b"another secret of thirty-two bytes");
    let key = key.expect("a good secret");
    let token = meridian_core::auth::mint(&key, &rival, now_ms()).expect("claims");
    let of = |tenant: &str| json!({ "tenant": tenant, "user": "ann", "reason": "x" });
    ask(&node, &token, &of("acme")).await.assert_refused(403, "forbidden");
    assert_eq!(ask(&node, &token, &of("rival")).await.status, 200);
}
