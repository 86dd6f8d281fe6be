//! Revocations and tickets among the nodes of one region, on real servers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::token;
use crate::peer::{Closed, Peer};
use crate::request::{Answer, Request};
use crate::servers::Regions;

fn revoked() -> Closed {
    (4016, "token_revoked".to_owned())
}

async fn revoke(admin: SocketAddr, user: &str) -> Answer {
    let body = json!({ "tenant": "acme", "user": user, "reason": "left" });
    let request = Request::new("POST", "/ops/v1/revoke")
        .by_operator()
        .body("application/json", body.to_string());
    request.send(admin).await.expect("an answer")
}

async fn connect(at: SocketAddr, token: &str) -> (Peer, Value) {
    let mut peer = Peer::open_at(at).await;
    let reply = peer.ask("connect", json!({ "protocol": 1, "token": token })).await;
    (peer, reply)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_reaches_every_node_and_a_ticket_is_good_on_any_once() {
    let mut regions = Regions::prepare();
    regions.revive("router1").await;
    regions.revive("edge1").await;
    let other = regions.add_edge("edge11", 1).await;
    let (here, admin) = (regions.client(1), regions.admin("edge1"));
    let (ann, bob) = (token("ann"), token("bob"));

    let (mut on_here, _) = connect(here, &ann).await;
    let (mut on_other, reply) = connect(other, &ann).await;
    assert!(reply["connected"].is_object(), "{reply}");
    on_other.subscribe("room:r", json!({})).await;
    let answer = revoke(admin, "ann").await;
    let began = Instant::now();
    assert_eq!((answer.status, &answer.json()["region"]), (200, &json!(true)), "{answer:?}");
    assert_eq!(on_other.closed().await, revoked());
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(on_here.closed().await, revoked());
    // A node that starts knows it before it lets anybody in.
    regions.kill("edge11");
    regions.revive("edge11").await;
    for at in [here, other] {
        let (_, reply) = connect(at, &ann).await;
        assert_eq!(reply["error"]["code"], "token_revoked", "{reply}");
    }

    let request =
        Request::new("POST", "/v1/ticket").header("Authorization", &format!("Bearer {bob}"));
    let answer = request.send(here).await.expect("an answer");
    let ticket = answer.json()["ticket"].as_str().expect("a ticket").to_owned();
    let (mut bob_there, reply) = connect(other, &ticket).await;
    assert_eq!(reply["connected"]["user"], "bob", "{reply}");
    for at in [here, other] {
        let (_, reply) = connect(at, &ticket).await;
        assert_eq!(reply["error"]["code"], "unauthenticated", "{reply}");
    }

    // Without Redis it counts here, and in the region as soon as Redis is back.
    let (mut bob_here, _) = connect(here, &bob).await;
    regions.kill("redis1");
    let answer = revoke(admin, "bob").await;
    assert_eq!((answer.status, &answer.json()["region"]), (202, &json!(false)), "{answer:?}");
    assert_eq!(bob_here.closed().await, revoked());
    assert!(bob_there.ask("ping", json!({})).await["pong"].is_object(), "not told yet");
    regions.revive("redis1").await;
    assert_eq!(bob_there.closed().await, revoked());
}
