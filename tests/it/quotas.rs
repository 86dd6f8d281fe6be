//! Quotas over the wire: who is refused, how they are told, and that a place gets free again.

use meridian_client::Transport;
use serde_json::{Value, json};

use crate::client::token;
use crate::node::{Node, eventually_async};
use crate::peer::{Opening, Peer};
use crate::request::Request;

async fn connecting(node: &Node, transport: Transport, user: &str) -> (Peer, Value) {
    let mut peer = Peer::open(node, transport).await;
    let reply = peer.ask("connect", json!({ "protocol": 1, "token": token(user) })).await;
    (peer, reply)
}

fn assert_told(error: &Value, code: &str, quota: &str, limit: u64) {
    assert_eq!((&error["code"], &error["limit"]), (&json!(code), &json!(limit)), "{error}");
    assert_eq!(error["message"], format!("the quota {quota} is used up"), "{error}");
    assert!(error["retry_after_ms"].as_u64().is_some_and(|ms| ms > 0), "{error}");
}

on_both! {
    async fn a_user_has_so_many_connections_and_no_more(transport: Transport) {
        let node = Node::start("[quotas.user]\nconnections = 2\n").await;
        let first = Peer::connect(&node, transport, &token("ann")).await;
        let _second = Peer::connect(&node, transport, &token("ann")).await;
        let (mut third, reply) = connecting(&node, transport, "ann").await;
        assert_told(&reply["error"], "quota_exceeded", "user.connections", 2);
        assert_eq!(third.closed().await, (4017, "quota_exceeded".to_owned()));
        Peer::connect(&node, transport, &token("bob")).await;
        drop(first);
        let node = &node;
        eventually_async("a free place", || async move {
            let (peer, reply) = connecting(node, transport, "ann").await;
            reply["connected"].is_object().then_some(peer)
        })
        .await;
    }

    async fn a_session_publishes_so_much_and_no_more(transport: Transport) {
        let config = "[quotas.session]\npublishes_per_s = 1\npublishes_burst = 3\n\
                      [quotas.user]\nbytes_per_s = 1\nbytes_burst = 100\n";
        let node = Node::start(config).await;
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        let event = |n: usize| json!({ "channel": "room:q", "data": "x".repeat(n) });
        for _ in 0..3 {
            let reply = peer.ask("publish", event(1)).await;
            assert!(reply["published"].is_object(), "{reply}");
        }
        let reply = peer.ask("publish", event(1)).await;
        assert_told(&reply["error"], "rate_limited", "session.publishes_per_s", 1);
        let mut other = Peer::connect(&node, transport, &token("ann")).await;
        assert!(other.ask("publish", event(50)).await["published"].is_object());
        let reply = other.ask("publish", event(50)).await;
        assert_told(&reply["error"], "rate_limited", "user.bytes_per_s", 1);
        // The user's quota counts over HTTP as well; there the header tells the time.
        let answer = Request::publish(&token("ann"), &event(80)).send(node.client).await;
        let answer = answer.expect("an answer");
        answer.assert_problem(429, "rate_limited");
        assert_told(&answer.json(), "rate_limited", "user.bytes_per_s", 1);
        let seconds = answer.header("retry-after").and_then(|text| text.parse::<u64>().ok());
        assert!(seconds.is_some_and(|seconds| seconds > 0), "{answer:?}");
    }

    async fn an_address_begins_so_many_sessions_and_no_more(transport: Transport) {
        let config = "[quotas.ip]\nhandshakes_per_s = 1\nhandshakes_burst = 2\n\
                      [proxies]\ntrusted = ['127.0.0.1']\n";
        let node = Node::start(config).await;
        let from = |address: &str| Opening::new().header("x-forwarded-for", address);
        let mut refused = None;
        for _ in 0..20 {
            if let Err(error) = from("192.0.2.1").open(&node, transport).await {
                refused = Some(error);
                break;
            }
        }
        let refused = refused.expect("a refusal");
        if transport == Transport::WebSocket {
            assert!(refused.contains("429"), "{refused}");
        }
        from("192.0.2.2").open(&node, transport).await.expect("another address has its own");
    }
}
