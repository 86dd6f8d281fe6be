//! Clients sent elsewhere: by an operator, by a full node, by a channel whose records are not here.

use std::collections::HashSet;
use std::time::Duration;

use meridian_client::{Choice, Client, Transport};
use serde_json::{Value, json};

use crate::client::token;
use crate::node::{Node, eventually, eventually_async};
use crate::peer::{Opening, Peer};
use crate::request::{Answer, Request};
use crate::witnesses::{Cast, Witnesses};

/// Another region, which nobody ever dials.
const ELSEWHERE: &str = "[regions.far]\nurl = \"https://far.example\"\n";

const BOTH: [Transport; 2] = [Transport::WebSocket, Transport::WebTransport];

async fn operator(node: &Node, method: &'static str, body: Option<Value>) -> Answer {
    let request = Request::new(method, "/ops/v1/redirect").by_operator();
    let request = match body {
        Some(body) => request.body("application/json", body.to_string()),
        None => request,
    };
    request.send(node.admin).await.expect("an answer")
}

fn read(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).expect("JSON")
}

async fn redirect_of(peer: &mut Peer) -> Value {
    peer.find("a redirect", |message| message["redirect"].is_object()).await["redirect"].take()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sends_every_client_spread_over_the_time() {
    let node = Node::start(ELSEWHERE).await;
    let mut peers = Vec::new();
    for n in 0..30 {
        for transport in BOTH {
            let mut peer = Peer::connect(&node, transport, &token(&format!("user-{n}"))).await;
            peer.subscribe("room:one", json!({})).await;
            peers.push(peer);
        }
    }
    let ask = json!({ "region": "far", "spread_ms": 60_000, "why": "a test" });
    let answer = operator(&node, "POST", Some(ask)).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    assert_eq!(read(&answer)["redirect"]["url"], "https://far.example");
    let mut moments = HashSet::new();
    for peer in &mut peers {
        let told = redirect_of(peer).await;
        let where_to = (&told["region"], &told["url"], &told["reason"]);
        assert_eq!(where_to, (&json!("far"), &json!("https://far.example"), &json!("drain")));
        assert_eq!(told["deadline_ms"], Value::Null, "who stays may");
        moments.insert(told["after_ms"].as_u64().expect("a time"));
    }
    assert!(moments.iter().all(|after| *after < 60_000));
    assert!(moments.len() >= 20, "spread: {moments:?}");
    // The node serves on, and says that it is no place to come to.
    peers[0].publish("room:one", "e1").await;
    for peer in &mut peers {
        assert_eq!(peer.event_ids("room:one", 1).await, ["e1"]);
    }
    let regions = crate::request::get(node.client, "/v1/regions").await.expect("an answer");
    assert_eq!(read(&regions)["state"], "draining");
    assert_eq!(crate::request::get(node.admin, "/readyz").await.expect("an answer").status, 503);
    assert!(node.metric("meridian_redirects_total", "drain").await >= 60.0);
}

/// Opens a session and connects, as one that a server sent where a reason is given; the refusal where it is
/// refused.
async fn connect_in(
    node: &Node,
    transport: Transport,
    user: &str,
    redirected: Option<&str>,
) -> Result<Peer, (Value, (u64, String))> {
    let mut peer = Opening::new().open(node, transport).await.expect("a session");
    let mut body = json!({ "protocol": 1, "token": token(user) });
    if let Some(reason) = redirected {
        body["redirected"] = reason.into();
    }
    let mut reply = peer.ask("connect", body).await;
    if reply["connected"].is_object() {
        Ok(peer)
    } else {
        Err((reply["error"].take(), peer.closed().await))
    }
}

on_both! {
    async fn who_comes_while_the_order_stands_is_sent_on_unless_it_was_sent_here(transport: Transport) {
        let node = Node::start(ELSEWHERE).await;
        operator(&node, "POST", Some(json!({ "region": "far" }))).await;
        let mut sent = connect_in(&node, transport, "ann", Some("drain")).await.expect("let in");
        let mut comes = connect_in(&node, transport, "ben", None).await.expect("let in");
        redirect_of(&mut comes).await;
        sent.publish("room:one", "e1").await;
        assert!(sent.held().iter().all(|message| message["redirect"].is_null()));
        assert_eq!(node.metric("meridian_redirected_total", "drain").await, 1.0);
        let answer = operator(&node, "DELETE", None).await;
        assert_eq!((answer.status, &read(&answer)["redirect"]), (200, &Value::Null));
        let mut later = connect_in(&node, transport, "cid", None).await.expect("let in");
        later.publish("room:one", "e2").await;
        assert!(later.held().iter().all(|message| message["redirect"].is_null()));
    }

    async fn who_stays_beyond_the_deadline_is_closed(transport: Transport) {
        let node = Node::start(ELSEWHERE).await;
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        let ask = json!({ "region": "far", "deadline_ms": 300 });
        assert_eq!(operator(&node, "POST", Some(ask)).await.status, 202);
        let told = redirect_of(&mut peer).await;
        assert_eq!(told["deadline_ms"], 300);
        assert_eq!(peer.closed().await, (4050, "draining".to_owned()));
    }

    async fn a_full_node_names_the_other_regions_and_keeps_places_for_who_is_sent(transport: Transport) {
        // Of eight places one is kept.
        let node = Node::start(&format!("[limits]\nsessions = 8\n{ELSEWHERE}")).await;
        let mut inside = Vec::new();
        let (refusal, closed) = loop {
            match connect_in(&node, transport, "ann", None).await {
                Ok(peer) => inside.push(peer),
                Err(refused) => break refused,
            }
            assert!(inside.len() <= 7, "there is no end");
        };
        assert_eq!(inside.len(), 7);
        assert_eq!(refusal["code"], "too_many_sessions");
        assert_eq!(refusal["elsewhere"], json!([{ "region": "far", "url": "https://far.example" }]));
        assert_eq!(closed, (4043, "too_many_sessions".to_owned()));
        // The one that was refused may take a moment to be gone.
        let sent = eventually_async("a place", || async {
            let mut peer = Opening::new().open(&node, transport).await.ok()?;
            let body = json!({ "protocol": 1, "token": token("ben"), "redirected": "overload" });
            let reply = peer.ask("connect", body).await;
            reply["connected"].is_object().then_some(peer)
        });
        let mut sent = sent.await;
        sent.publish("room:one", "e1").await;
        assert!(node.metric("meridian_redirects_total", "overload").await >= 1.0);
        assert!(node.metric("meridian_redirected_total", "overload").await >= 1.0);
    }

    async fn a_channel_of_another_regions_zone_names_that_region(transport: Transport) {
        let node = Node::start(&format!(
            "{ELSEWHERE}[regions.else]\nurl = \"https://else.example\"\n[zones.remote]\nregions = [\"far\"]\n\
             [namespaces.remote]\nzone = \"remote\"\nsubscribe = [\"tenant\"]\npublish = [\"tenant\"]\n"
        ))
        .await;
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        let far = json!([{ "region": "far", "url": "https://far.example" }]);
        let history = json!({ "channel": "remote:x", "last": 1 });
        let publish = json!({ "channel": "remote:x", "id": "e1", "data": 1 });
        for (name, body) in
            [("subscribe", json!({ "channel": "remote:x" })), ("history", history), ("publish", publish)]
        {
            let reply = peer.ask(name, body).await;
            assert_eq!(reply["error"]["code"], "wrong_region", "{name}");
            assert_eq!(reply["error"]["elsewhere"], far, "{name}");
        }
        peer.subscribe("room:one", json!({})).await;
        let over_http = Request::publish(&token("ann"), &json!({ "channel": "remote:x", "data": 1 }));
        let answer = over_http.send(node.client).await.expect("an answer");
        assert_eq!((answer.status, &read(&answer)["elsewhere"]), (421, &far));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_that_make_no_sense_are_refused() {
    let node = Node::start(ELSEWHERE).await;
    let status = async |body: Value| operator(&node, "POST", Some(body)).await.status;
    assert_eq!(status(json!({ "region": "nowhere" })).await, 404);
    assert_eq!(status(json!({ "region": "local" })).await, 404, "where they are");
    assert_eq!(status(json!({ "region": "far", "spread": 1 })).await, 400);
    let late = json!({ "region": "far", "spread_ms": 9_000, "deadline_ms": 1 });
    assert_eq!(status(late).await, 400);
    let simple =
        Request::new("POST", "/ops/v1/redirect").body("text/plain", "{\"region\":\"far\"}");
    assert_eq!(simple.by_operator().send(node.admin).await.expect("an answer").status, 415);
    assert_eq!(operator(&node, "PUT", None).await.status, 405);
    for (token, status) in [(None, 401), (Some(token("ann")), 403)] {
        let order = Request::new("POST", "/ops/v1/redirect")
            .body("application/json", json!({ "region": "far" }).to_string());
        let order = match token {
            Some(token) => order.header("Authorization", &format!("Bearer {token}")),
            None => order,
        };
        assert_eq!(order.send(node.admin).await.expect("an answer").status, status);
    }
    let answer = operator(&node, "GET", None).await;
    assert_eq!((answer.status, &read(&answer)["redirect"]), (200, &Value::Null));
}

/// An embedded pair of regions: clients of both transports move at an operator's word, while others
/// publish and move as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_move_to_the_other_region_without_a_gap_or_a_repeat() {
    let node = Node::start_with("", &["--listen", "127.0.0.1:0", "--regions", "2"]).await;
    let (other, certificate) = node.others[0];
    let door = |_, transport| {
        Client::builder(node.url())
            .region(format!("http://{other}"))
            .certificate_hash(node.certificate)
            .certificate_hash(certificate)
            .transport(Choice::Only(transport))
            .connect_timeout(Duration::from_secs(30))
    };
    let cast = Cast { publishers: 2, readers: 16, channels: 4, pace: Duration::from_millis(5) };
    let witnesses = Witnesses::start_at(&door, &cast).await;
    eventually("events", || (witnesses.acknowledged() >= 100).then_some(())).await;
    let here = read(&operator(&node, "GET", None).await)["connections"].as_u64().expect("a number");
    assert!(here >= 9, "most found the first region as near as the second: {here}");
    let ask = json!({ "region": "region-2", "spread_ms": 1_000 });
    assert_eq!(operator(&node, "POST", Some(ask)).await.status, 202);
    eventually_async("an empty region", || async {
        let told = read(&operator(&node, "GET", None).await);
        (told["connections"] == 0).then_some(())
    })
    .await;
    let after = witnesses.acknowledged() + 100;
    eventually("more events", || (witnesses.acknowledged() >= after).then_some(())).await;
    assert!(node.metric("meridian_redirected_total", "drain").await >= here as f64);
    let verdict = witnesses.finish_at(&door).await;
    assert!(verdict.acknowledged >= 200 && verdict.unacknowledged == 0, "{verdict:?}");
    assert!(verdict.reconnects >= 8, "{verdict:?}");
}
