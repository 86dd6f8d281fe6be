//! Authentication and authorisation over the wire.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use meridian_client::Transport;
use serde_json::{Value, json};

use crate::SECRET;
use crate::client::{Rights, claims, now_ms, signed, token, token_with};
use crate::node::Node;
use crate::peer::{Opening, Peer};
use crate::request::Request;

/// Every token that must not pass, with the code of its refusal.
fn bad_tokens() -> Vec<(&'static str, String, &'static str)> {
    let ann = claims("ann");
    let hour = 3_600_000;
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let body = encode(&json!({ "tenant": "acme", "sub": "ann", "exp": now_ms() / 1000 + 3600 }));
    let none = encode(&json!({ "alg": "none", "typ": "JWT" }));
    let good = token("ann");
    let (head, signature) = good.rsplit_once('.').expect("a signature");
    let tampered = format!("{}.{body}.{signature}", head.split('.').next().expect("a header"));
    vec![
        ("no token at all", "nonsense".to_owned(), "unauthenticated"),
        ("empty", String::new(), "unauthenticated"),
        ("alg none", format!("{none}.{body}."), "unauthenticated"),
        ("alg none, signed", format!("{none}.{body}.{signature}"), "unauthenticated"),
        ("changed", tampered, "unauthenticated"),
        (
            "another key's",
            signed(&ann, "another secret of thirty-two bytes", now_ms()),
            "unauthenticated",
        ),
        ("expired", signed(&ann, SECRET, now_ms() - 2 * hour), "token_expired"),
        ("from the future", signed(&ann, SECRET, now_ms() + hour), "unauthenticated"),
        ("too long", format!("{good}{}", "A".repeat(9000)), "unauthenticated"),
    ]
}

on_both! {
    async fn bad_tokens_are_refused_and_the_session_closed(transport: Transport) {
        let node = Node::start("").await;
        for (what, token, code) in bad_tokens() {
            let mut peer = Peer::open(&node, transport).await;
            let reply = peer.ask("connect", json!({ "protocol": 1, "token": token })).await;
            assert_eq!(reply["error"]["code"], code, "{what}: {reply}");
            assert_eq!(reply["error"]["action"], "refresh", "{what}");
            assert_eq!(peer.closed().await.1, code, "{what}");
        }
        let mut peer = Peer::open(&node, transport).await;
        let reply = peer.ask("connect", json!({ "protocol": 1 })).await;
        assert_eq!(reply["error"]["code"], "unauthenticated");
        assert_eq!(peer.closed().await, (4010, "unauthenticated".to_owned()));
    }

    async fn a_token_may_stand_in_header_query_or_message(transport: Transport) {
        let node = Node::start("").await;
        let bearer = format!("Bearer {}", token("header"));
        let query = format!("token={}", token("query"));
        for (opening, in_message, user) in [
            (Opening::new().header("authorization", &bearer), None, "header"),
            (Opening::new().query(&query), None, "query"),
            (Opening::new(), Some(token("message")), "message"),
            (Opening::new().header("authorization", &bearer).query(&query), None, "header"),
            (Opening::new().header("authorization", &bearer), Some(token("message")), "message"),
        ] {
            let mut peer = opening.open(&node, transport).await.expect("a session");
            let mut connect = json!({ "protocol": 1 });
            if let Some(token) = in_message {
                connect["token"] = token.into();
            }
            let reply = peer.ask("connect", connect).await;
            assert_eq!(reply["connected"]["user"], user, "{reply}");
            assert_eq!(reply["connected"]["tenant"], "acme");
        }
    }

    async fn an_expired_session_is_closed_and_says_so(transport: Transport) {
        let node = Node::start("[auth]\nleeway_s = 0\n").await;
        let short = Rights { ttl: Some(Duration::from_millis(1500)), ..Rights::default() };
        let mut peer = Peer::connect(&node, transport, &token_with("ann", &short)).await;
        peer.subscribe("room:brief", json!({})).await;
        assert_eq!(peer.closed().await, (4011, "token_expired".to_owned()));
    }

    async fn a_refresh_keeps_the_session_past_its_first_token(transport: Transport) {
        let node = Node::start("[auth]\nleeway_s = 0\n").await;
        let lasting = |ms| Rights { ttl: Some(Duration::from_millis(ms)), ..Rights::default() };
        let mut peer = Peer::connect(&node, transport, &token_with("ann", &lasting(1500))).await;
        peer.subscribe("room:long", json!({})).await;
        let reply = peer.ask("refresh", json!({ "token": token_with("ann", &lasting(4000)) })).await;
        let left = reply["refreshed"]["expires_in_ms"].as_u64().expect("a time");
        assert!((1500..=4000).contains(&left), "{reply}");
        let began = std::time::Instant::now();
        assert_eq!(peer.closed().await, (4011, "token_expired".to_owned()));
        assert!(began.elapsed() > Duration::from_millis(1500), "{:?}", began.elapsed());
    }

    async fn a_refresh_for_someone_else_is_refused_and_changes_nothing(transport: Transport) {
        let node = Node::start("").await;
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        peer.subscribe("room:mine", json!({})).await;
        assert_eq!(peer.refusal("refresh", json!({ "token": token("bob") })).await, "wrong_identity");
        let mut other = claims("ann");
        other.tenant = meridian_core::vocabulary::Tenant::parse("rival").expect("a tenant");
        let other = signed(&other, SECRET, now_ms());
        assert_eq!(peer.refusal("refresh", json!({ "token": other })).await, "wrong_identity");
        for (what, token, code) in bad_tokens() {
            assert_eq!(peer.refusal("refresh", json!({ "token": token })).await, code, "{what}");
        }
        peer.publish("room:mine", "a").await;
        let event = peer.events("room:mine", 1).await.remove(0);
        assert_eq!(event["publisher"], "ann");
    }

    async fn a_refresh_that_narrows_rights_ends_what_it_no_longer_covers(transport: Transport) {
        let node = Node::start("").await;
        let wide = Rights {
            roles: &["insider"],
            grants: &["granted:a=subscribe", "granted:b=subscribe"],
            ..Rights::default()
        };
        let mut peer = Peer::connect(&node, transport, &token_with("ann", &wide)).await;
        let channels = ["closed:x", "granted:a", "granted:b", "room:y"];
        for channel in channels {
            peer.subscribe(channel, json!({})).await;
        }
        let writer_rights = Rights {
            roles: &["insider"],
            grants: &["granted:*=publish"],
            ..Rights::default()
        };
        let mut writer = Peer::connect(&node, transport, &token_with("writer", &writer_rights)).await;
        for channel in channels {
            writer.publish(channel, "before").await;
            assert_eq!(peer.event_ids(channel, 1).await, ["before"]);
        }
        let narrow = Rights { grants: &["granted:b=subscribe"], ..Rights::default() };
        let narrow = token_with("ann", &narrow);
        let (node, channels) = (&node, &channels);
        let writing = async {
            for n in 0..50 {
                for channel in channels {
                    writer.publish(channel, &n.to_string()).await;
                }
            }
        };
        let refreshing = async {
            let reply = peer.ask("refresh", json!({ "token": narrow })).await;
            assert!(reply["refreshed"].is_object(), "{reply}");
        };
        tokio::join!(writing, refreshing);
        for channel in ["granted:b", "room:y"] {
            let wanted: Vec<_> = (0..50).map(|n| n.to_string()).collect();
            assert_eq!(peer.event_ids(channel, 50).await, wanted, "{channel}");
        }
        // Everything about the other two is here by now: the writer wrote to the lanes of all.
        let mut after = Peer::connect(node, transport, &token("ann")).await;
        assert_eq!(after.refusal("subscribe", json!({ "channel": "closed:x" })).await, "forbidden");
        for channel in ["closed:x", "granted:a"] {
            peer.find("unsubscribed", |m| {
                m["unsubscribed"]["channel"] == channel && m["unsubscribed"]["code"] == "forbidden"
            })
            .await;
        }
        assert_eq!(peer.refusal("subscribe", json!({ "channel": "closed:x" })).await, "forbidden");
        let again = json!({ "channel": "room:y" });
        assert_eq!(peer.refusal("subscribe", again).await, "already_subscribed");
    }

    async fn nothing_follows_the_unsubscribed_of_a_narrowing_refresh(transport: Transport) {
        let node = Node::start("").await;
        let insider = Rights { roles: &["insider"], ..Rights::default() };
        let mut peer = Peer::connect(&node, transport, &token_with("ann", &insider)).await;
        peer.subscribe("closed:x", json!({})).await;
        peer.subscribe("room:y", json!({})).await;
        let insider = Rights { roles: &["insider"], ..Rights::default() };
        let mut writer = Peer::connect(&node, transport, &token_with("writer", &insider)).await;
        let writing = async {
            for n in 0..100 {
                writer.publish("closed:x", &n.to_string()).await;
            }
            writer.publish("room:y", "end").await;
        };
        let watching = async {
            peer.find("an event", |m| m["events"]["channel"] == "closed:x").await;
            peer.command("refresh", json!({ "token": token("ann") })).await;
            let mut ended = false;
            loop {
                let message = peer.next().await.expect("the session goes on");
                let about_x = message["events"]["channel"] == "closed:x";
                assert!(!(ended && about_x), "after unsubscribed: {message}");
                ended |= message["unsubscribed"]["channel"] == "closed:x";
                if message["events"]["channel"] == "room:y" {
                    break;
                }
            }
            // On lanes of their own the two may come in either order.
            if !ended {
                peer.find("unsubscribed", |m| m["unsubscribed"]["channel"] == "closed:x").await;
            }
        };
        tokio::join!(writing, watching);
    }

    async fn tenants_do_not_meet(transport: Transport) {
        let node = Node::start("").await;
        let mut rival = claims("ann");
        rival.tenant = meridian_core::vocabulary::Tenant::parse("rival").expect("a tenant");
        let mut theirs = Peer::connect(&node, transport, &signed(&rival, SECRET, now_ms())).await;
        let mut ours = Peer::connect(&node, transport, &token("ann")).await;
        ours.publish("room:same", "ours-0").await;
        theirs.subscribe("room:same", json!({ "last": 10 })).await;
        ours.subscribe("room:same", json!({ "last": 10 })).await;
        ours.publish("room:same", "ours-1").await;
        theirs.publish("room:same", "theirs").await;
        assert_eq!(theirs.event_ids("room:same", 1).await, ["theirs"]);
        assert_eq!(ours.event_ids("room:same", 2).await, ["ours-0", "ours-1"]);
        assert!(theirs.held().is_empty() && ours.held().is_empty());
    }
}

#[tokio::test]
async fn bad_tokens_are_refused_over_http_as_well() {
    let node = Node::start("").await;
    let event = json!({ "channel": "room:x", "id": "a", "data": 1 });
    for (what, token, code) in bad_tokens() {
        let answer = Request::publish(&token, &event).send(node.client).await.expect(what);
        answer.assert_problem(401, code);
    }
    let bare = Request::new("POST", "/v1/publish").body("application/json", event.to_string());
    bare.send(node.client).await.expect("an answer").assert_problem(401, "unauthenticated");
    let query = format!("/v1/publish?token={}", token("ann"));
    let answer = Request::new("POST", &query).body("application/json", event.to_string());
    assert_eq!(answer.send(node.client).await.expect("an answer").status, 200);
}
