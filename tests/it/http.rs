//! The HTTP API: problem documents, CORS, origins, HTTP/3, and the addresses behind proxies.

use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use meridian_client::Transport;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::token;
use crate::node::{Node, in_time};
use crate::peer::{Opening, Peer};
use crate::request::{Answer, Request, get};

const PAGE: &str = "https://app.example";
const OTHER_PAGE: &str = "https://evil.example";

/// A node that believes what its configuration says of origins: on plain loopback a development node
/// lets every page in.
async fn strict_node(extra: &str) -> Node {
    let lists = format!("[cors]\norigins = ['{PAGE}']\n[origins]\nallow = ['{PAGE}']\n{extra}");
    Node::start_with(&lists, &["--listen", "127.0.0.2:0"]).await
}

fn event(id: &str) -> serde_json::Value {
    json!({ "channel": "room:http", "id": id, "data": 1 })
}

#[tokio::test]
async fn errors_are_problem_documents_with_a_code() {
    let node = Node::start("[limits]\nevent_bytes = 1024\nframe_bytes = 65536\n").await;
    let to = node.client;
    let send = |request: Request| async move { request.send(to).await.expect("an answer") };
    get(to, "/v1/nothing").await.expect("an answer").assert_problem(404, "not_found");
    get(to, "/").await.expect("an answer").assert_problem(404, "not_found");
    let wrong = get(to, "/v1/publish").await.expect("an answer");
    wrong.assert_problem(405, "method_not_allowed");
    assert_eq!(wrong.header("allow"), Some("POST, OPTIONS"));
    get(to, "/v1/ws").await.expect("an answer").assert_problem(400, "bad_request");
    let ann = token("ann");
    let bearer = format!("Bearer {ann}");
    let publish = |media_type: &str, body: Vec<u8>| {
        Request::new("POST", "/v1/publish").header("Authorization", &bearer).body(media_type, body)
    };
    let json = "application/json";
    send(publish(json, b"{".to_vec())).await.assert_problem(400, "malformed");
    send(publish(json, Vec::new())).await.assert_problem(400, "malformed");
    send(publish("text/csv", b"a,b".to_vec())).await.assert_problem(400, "unsupported");
    send(publish(json, vec![b' '; 65_537])).await.assert_problem(413, "frame_too_large");
    let large = json!({ "channel": "room:http", "data": "x".repeat(2000) });
    send(Request::publish(&ann, &large)).await.assert_problem(413, "event_too_large");
    let forbidden = json!({ "channel": "closed:x", "data": 1 });
    send(Request::publish(&ann, &forbidden)).await.assert_problem(403, "forbidden");
    let bad = json!({ "channel": "nonsense", "data": 1 });
    send(Request::publish(&ann, &bad)).await.assert_problem(400, "bad_channel");
    let late = json!({ "channel": "room:http", "id": "a", "data": 1, "age_ms": 86_400_001_u64 });
    send(Request::publish(&ann, &late)).await.assert_problem(409, "horizon_passed");
    let batch = json!({ "events": vec![json!({ "channel": "room:x" }); 129] });
    send(Request::publish(&ann, &batch)).await.assert_problem(413, "batch_too_large");
}

#[tokio::test]
async fn a_retry_over_http_is_one_event() {
    let node = Node::start("").await;
    let mut reader = Peer::connect(&node, Transport::WebSocket, &token("reader")).await;
    reader.subscribe("room:http", json!({})).await;
    for id in ["a", "a", "b"] {
        let answer = Request::publish(&token("ann"), &event(id)).send(node.client).await;
        assert_eq!(answer.expect("an answer").status, 200);
    }
    assert_eq!(reader.event_ids("room:http", 2).await, ["a", "b"]);
}

#[tokio::test]
async fn pages_of_listed_origins_may_ask_and_read() {
    let node = strict_node("").await;
    let preflight = Request::new("OPTIONS", "/v1/publish")
        .header("Origin", PAGE)
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "authorization,content-type")
        .send(node.client)
        .await
        .expect("an answer");
    assert_eq!(preflight.status, 204, "{preflight:?}");
    assert_eq!(preflight.header("access-control-allow-origin"), Some(PAGE));
    let methods = preflight.header("access-control-allow-methods").expect("methods");
    assert!(methods.contains("POST"), "{methods}");
    let headers = preflight.header("access-control-allow-headers").expect("headers");
    assert!(headers.contains("authorization") && headers.contains("content-type"), "{headers}");
    assert!(preflight.header("access-control-max-age").is_some());
    let vary = |answer: &Answer| {
        answer.header("vary").is_some_and(|vary| vary.eq_ignore_ascii_case("origin"))
    };
    assert!(vary(&preflight));
    let request = Request::publish(&token("ann"), &event("a")).header("Origin", PAGE);
    let answer = request.send(node.client).await.expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE));
    assert!(vary(&answer));
    // What went wrong a page may read as well.
    let refused = Request::publish("nonsense", &event("a")).header("Origin", PAGE);
    let refused = refused.send(node.client).await.expect("an answer");
    refused.assert_problem(401, "unauthenticated");
    assert_eq!(refused.header("access-control-allow-origin"), Some(PAGE));
}

#[tokio::test]
async fn pages_of_other_origins_cause_nothing() {
    let node = strict_node("").await;
    let mut reader = Peer::connect(&node, Transport::WebSocket, &token("reader")).await;
    reader.subscribe("room:http", json!({})).await;
    for origin in [OTHER_PAGE, "null", "https://app.example.evil.example", "http://app.example", ""]
    {
        let preflight = Request::new("OPTIONS", "/v1/publish")
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST")
            .send(node.client)
            .await
            .expect("an answer");
        assert!(preflight.header("access-control-allow-origin").is_none(), "{preflight:?}");
        // A simple request is sent without a preflight; it must not be carried out.
        let request = Request::new("POST", &format!("/v1/publish?token={}", token("ann")))
            .body("text/plain", event("evil").to_string())
            .header("Origin", origin);
        let answer = request.send(node.client).await.expect("an answer");
        answer.assert_problem(403, "origin_forbidden");
        let request = Request::publish(&token("ann"), &event("evil")).header("Origin", origin);
        let answer = request.send(node.client).await.expect("an answer");
        answer.assert_problem(403, "origin_forbidden");
        assert!(answer.header("access-control-allow-origin").is_none());
    }
    let good = Request::publish(&token("ann"), &event("good")).send(node.client).await;
    assert_eq!(good.expect("an answer").status, 200);
    assert_eq!(reader.event_ids("room:http", 1).await, ["good"]);
}

on_both! {
    async fn sessions_open_from_listed_origins_and_the_nodes_own(transport: Transport) {
        let node = strict_node("").await;
        let own = format!("https://{}", node.client);
        for origin in [PAGE, &own] {
            let opened = Opening::new().header("origin", origin).open(&node, transport).await;
            assert!(opened.is_ok(), "{origin}: {:?}", opened.err());
        }
        for origin in [OTHER_PAGE, "null", "https://127.0.0.2"] {
            let refused = Opening::new().header("origin", origin).open(&node, transport).await;
            let refused = refused.err().unwrap_or_else(|| panic!("{origin} got in"));
            if transport == Transport::WebSocket {
                assert!(refused.contains("403") && refused.contains("origin_forbidden"), "{refused}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http3_serves_requests_on_the_same_port() {
    let node = Node::start("").await;
    let mut reader = Peer::connect(&node, Transport::WebTransport, &token("reader")).await;
    reader.subscribe("room:http", json!({})).await;
    let tls = node.trust().client_config(&[b"h3"]).expect("a configuration");
    let tls = quinn::crypto::rustls::QuicClientConfig::try_from(tls).expect("TLS 1.3");
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().expect("an address"));
    let endpoint = endpoint.expect("a UDP socket");
    let config = quinn::ClientConfig::new(Arc::new(tls));
    let connecting = endpoint.connect_with(config, node.client, "localhost").expect("a dial");
    let quic = in_time("the handshake", connecting).await.expect("a connection");
    let (mut driver, mut requests) =
        h3::client::new(h3_quinn::Connection::new(quic)).await.expect("HTTP/3");
    let driving = tokio::spawn(async move { driver.wait_idle().await });
    for (path, body, status, part) in [
        ("/v1/publish", event("h3-0").to_string(), 200, "cursor"),
        (
            "/v1/publish",
            json!({ "events": [event("h3-1"), event("h3-2")] }).to_string(),
            200,
            "results",
        ),
        ("/v1/publish", "{".to_owned(), 400, "malformed"),
        ("/v1/publish", " ".repeat(1_048_577), 413, "frame_too_large"),
        ("/v1/nothing", String::new(), 404, "not_found"),
    ] {
        let request = http::Request::post(format!("https://{}{path}", node.client))
            .header("authorization", format!("Bearer {}", token("ann")))
            .header("content-type", "application/json")
            .body(())
            .expect("a request");
        let mut stream = requests.send_request(request).await.expect("sent");
        // A body that is too large may be refused before it is sent whole.
        let _ = stream.send_data(Bytes::from(body)).await;
        let _ = stream.finish().await;
        let answer = in_time("the answer", stream.recv_response()).await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status);
        let mut text = Vec::new();
        while let Some(mut data) = stream.recv_data().await.expect("a body") {
            text.extend_from_slice(&data.copy_to_bytes(data.remaining()));
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(text.contains(part), "{path}: {text}");
    }
    assert_eq!(reader.event_ids("room:http", 3).await, ["h3-0", "h3-1", "h3-2"]);
    drop(requests);
    driving.abort();
}

/// Sends a PROXY header (or not), then a publish; what comes back.
async fn behind_proxy(node: &Node, header: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(node.client).await.expect("a connection");
    let request = Request::publish(&token("ann"), &event("proxied"));
    let bytes = [header, &request.bytes("node")].concat();
    let _ = stream.write_all(&bytes).await;
    let mut answer = Vec::new();
    let reading = async { stream.read_to_end(&mut answer).await };
    let _ = in_time("the answer or the end", reading).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, headers: Vec::new(), body: text })
}

#[tokio::test]
async fn proxy_headers_are_taken_from_listed_proxies_only() {
    let v1 = b"PROXY TCP4 203.0.113.7 127.0.0.1 40000 8440\r\n";
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    v2.extend_from_slice(&[203, 0, 113, 8, 127, 0, 0, 1, 156, 64, 32, 248]);
    let debug = "[log]\nfilter = 'info,meridian_edge=debug'\n";
    let listed = format!("[proxies]\ntrusted = ['127.0.0.1']\nproxy_protocol = true\n{debug}");
    let node = Node::start(&listed).await;
    for (header, address) in [(&v1[..], "203.0.113.7"), (&v2, "203.0.113.8")] {
        let answer = behind_proxy(&node, header).await.expect("an answer");
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(node.log().contains(address), "{address}: {}", node.log());
    }
    for without in [&b""[..], b"PROXY NONSENSE\r\n", b"PROXY TCP4 999.0.0.1 1 2 3\r\n"] {
        assert!(behind_proxy(&node, without).await.is_none(), "let in without a header");
    }
    let stranger = "[proxies]\ntrusted = ['198.51.100.0/24']\nproxy_protocol = true\n";
    let node = Node::start(stranger).await;
    for header in [&v1[..], &v2, b""] {
        assert!(behind_proxy(&node, header).await.is_none(), "a stranger got in");
    }
    // Where it is off, the header is no request.
    let node = Node::start("[proxies]\ntrusted = ['127.0.0.1']\n").await;
    assert_ne!(behind_proxy(&node, v1).await.map(|answer| answer.status), Some(200));
}
