//! Tickets: whose pages get one for their cookie, and that one opens one session.

use meridian_client::Transport;
use serde_json::json;

use crate::client::token;
use crate::node::Node;
use crate::peer::Peer;
use crate::request::{Answer, Request};

const CONFIG: &str = "[auth]\ncookie = 'session'\n[origins]\nallow = ['https://app.example']\n\
                      [listen]\nworkers = 2\n";

async fn node() -> Node {
    // Not on loopback's own address, where a development node lets in every page.
    Node::start_with(CONFIG, &["--listen", "127.0.0.2:0"]).await
}

fn by_cookie(origin: Option<&str>, token: &str) -> Request {
    let request =
        Request::new("POST", "/v1/ticket").header("Cookie", &format!("a=1; session={token}"));
    match origin {
        Some(origin) => request.header("Origin", origin),
        None => request,
    }
}

async fn sent(request: Request, node: &Node) -> Answer {
    request.send(node.client).await.expect("an answer")
}

fn ticket(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    assert_eq!(body["expires_in_ms"], 30_000);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    body["ticket"].as_str().expect("a ticket").to_owned()
}

on_both! {
    async fn a_ticket_opens_one_session(transport: Transport) {
        let node = node().await;
        let good = sent(by_cookie(Some("https://app.example"), &token("ann")), &node).await;
        assert_eq!(good.header("access-control-allow-origin"), Some("https://app.example"));
        assert_eq!(good.header("access-control-allow-credentials"), Some("true"));
        let ticket = ticket(&good);
        let mut peer = Peer::open(&node, transport).await;
        let reply = peer.ask("connect", json!({ "protocol": 1, "token": ticket })).await;
        assert_eq!(reply["connected"]["user"], "ann", "{reply}");
        let mut again = Peer::open(&node, transport).await;
        let reply = again.ask("connect", json!({ "protocol": 1, "token": ticket })).await;
        assert_eq!(reply["error"]["code"], "unauthenticated", "{reply}");
        // The same page refreshes its session with another ticket.
        let next = self::ticket(&sent(by_cookie(Some("https://app.example"), &token("ann")), &node).await);
        let reply = peer.ask("refresh", json!({ "token": next })).await;
        assert!(reply["refreshed"].is_object(), "{reply}");
    }
}

#[tokio::test]
async fn only_named_pages_get_a_ticket_for_their_cookie() {
    let node = node().await;
    let ann = token("ann");
    for origin in [Some("https://evil.example"), Some("null"), None] {
        sent(by_cookie(origin, &ann), &node).await.assert_problem(403, "origin_forbidden");
    }
    let own = format!("http://{}", node.client);
    ticket(&sent(by_cookie(Some(&own), &ann), &node).await);
    let page = Some("https://app.example");
    sent(by_cookie(page, "nonsense"), &node).await.assert_problem(401, "unauthenticated");
    let none = Request::new("POST", "/v1/ticket").header("Origin", "https://app.example");
    sent(none, &node).await.assert_problem(401, "unauthenticated");
    let read = Request::new("GET", "/v1/ticket").header("Cookie", &format!("session={ann}"));
    sent(read, &node).await.assert_problem(405, "method_not_allowed");
    // A program that has the token may ask as well.
    let bearer =
        Request::new("POST", "/v1/ticket").header("Authorization", &format!("Bearer {ann}"));
    let ticket = ticket(&sent(bearer, &node).await);
    // A ticket is no token for requests, and no cookie is one either.
    let event = json!({ "channel": "room:t", "data": 1 });
    let publish = |request: Request| request.body("application/json", event.to_string());
    sent(Request::publish(&ticket, &event), &node).await.assert_problem(401, "unauthenticated");
    let cookie = Request::new("POST", "/v1/publish").header("Cookie", &format!("session={ann}"));
    sent(publish(cookie), &node).await.assert_problem(401, "unauthenticated");
}

/// Where any page may open sessions, a cookie still counts only for pages that are named.
#[tokio::test]
async fn any_origin_is_none_for_a_cookie() {
    let node = Node::start("[auth]\ncookie = 'session'\n").await;
    let answer = sent(by_cookie(Some("https://evil.example"), &token("ann")), &node).await;
    answer.assert_problem(403, "origin_forbidden");
    assert_eq!(answer.header("access-control-allow-credentials"), None);
}
