//! Whose a connection is where proxies stand between: what listed ones say is believed, what others say
//! is not. The node's log tells whom it took for the client.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use meridian_client::{Io, Transport};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::client::token;
use crate::node::{Node, eventually, in_time};
use crate::peer::{Opening, Peer};
use crate::request::Request;

/// One JSON object a line, with every request.
const TELLING: &str = "[log]\nformat = 'json'\nfilter = 'info,meridian_edge=debug'\n";
const PLAIN: &[&str] = &["--listen", "127.0.0.1:0"];
const TLS: &[&str] = &["--listen", "127.0.0.1:0", "--tls"];
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Another address of this machine.
const LISTED: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Whom the node took for the client of the requests for a path, in their order.
fn clients_of(node: &Node, path: &str) -> Vec<String> {
    let log = node.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter(|line| line["path"] == path)
        .map(|line| line["client"].as_str().expect("an address").to_owned())
        .collect()
}

/// The same of a path that is asked for once.
async fn client_of(node: &Node, path: &str) -> String {
    eventually("the request in the log", || clients_of(node, path).pop()).await
}

#[tokio::test]
async fn forwarding_headers_are_believed_of_listed_proxies_only() {
    let proxies = "[proxies]\ntrusted = ['127.0.0.2', '10.0.0.0/8', 'fd00::/8']\n";
    let node = Node::start(&format!("{proxies}{TELLING}")).await;
    let forwarded = "X-Forwarded-For";
    for (n, (from, headers, client)) in [
        (LISTED, &[(forwarded, "203.0.113.7")][..], "203.0.113.7"),
        (LISTED, &[(forwarded, "2001:db8::7")], "2001:db8::7"),
        (LISTED, &[(forwarded, "::ffff:203.0.113.7")], "203.0.113.7"),
        // What stands before the last that no listed proxy wrote is the client's own claim.
        (LISTED, &[(forwarded, "198.51.100.1, 203.0.113.7")], "203.0.113.7"),
        (LISTED, &[(forwarded, "198.51.100.1, 203.0.113.7,10.1.2.3 , fd00::1")], "203.0.113.7"),
        (LISTED, &[(forwarded, "203.0.113.7"), (forwarded, "10.1.2.3")], "203.0.113.7"),
        (LISTED, &[(forwarded, "10.1.2.3")], "10.1.2.3"),
        (LISTED, &[(forwarded, "203.0.113.7, nonsense")], "127.0.0.2"),
        (LISTED, &[(forwarded, "")], "127.0.0.2"),
        (LISTED, &[("Forwarded", "for=203.0.113.7")], "127.0.0.2"),
        (LISTED, &[], "127.0.0.2"),
        (HERE, &[(forwarded, "203.0.113.7")], "127.0.0.1"),
        (HERE, &[(forwarded, "203.0.113.7, 10.1.2.3")], "127.0.0.1"),
        (HERE, &[("Forwarded", "for=203.0.113.7")], "127.0.0.1"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/case/{n}");
        let request = headers
            .iter()
            .fold(Request::new("GET", &path), |request, (name, value)| request.header(name, value));
        let io = Io::connect(node.client, Some(from)).await.expect("a connection");
        let answer = in_time("the answer", request.send_over(io, "node")).await;
        assert_eq!(answer.expect("an answer").status, 404);
        assert_eq!(client_of(&node, &path).await, client, "{headers:?} from {from}");
    }
}

on_both! {
    async fn sessions_are_told_apart_behind_a_proxy(transport: Transport) {
        let path = match transport {
            Transport::WebSocket => "/v1/ws",
            Transport::WebTransport => "/v1/wt",
        };
        let claim = ("x-forwarded-for", "198.51.100.1, 203.0.113.7");
        for (trusted, client) in [("127.0.0.1", "203.0.113.7"), ("127.0.0.2", "127.0.0.1")] {
            let node = Node::start(&format!("[proxies]\ntrusted = ['{trusted}']\n{TELLING}")).await;
            let opening = Opening::new().header(claim.0, claim.1);
            let mut peer = opening.open(&node, transport).await.expect("a session");
            peer.introduce(&token("ann")).await;
            assert_eq!(client_of(&node, path).await, client);
        }
    }
}

/// PROXY headers, with what follows them in the request and whom that makes the client.
fn proxy_headers() -> Vec<(Vec<u8>, Option<&'static str>, &'static str)> {
    let v1 = |text: &str| format!("PROXY {text}\r\n").into_bytes();
    let ipv4 = [203, 0, 113, 8, 127, 0, 0, 1, 156, 64, 32, 248];
    let mut ipv6 = [0; 36];
    ipv6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    ipv6[15] = 8;
    // A record of a type that is not known here, as load balancers append them.
    let longer = [&ipv4[..], &[0xea, 0, 3, 1, 2, 3]].concat();
    vec![
        (v1("TCP4 203.0.113.7 127.0.0.1 40000 8440"), None, "203.0.113.7"),
        (v1("TCP6 2001:db8::7 ::1 40000 8440"), None, "2001:db8::7"),
        (v1("UNKNOWN"), None, "127.0.0.1"),
        (v2(0x21, 0x11, &ipv4), None, "203.0.113.8"),
        (v2(0x21, 0x21, &ipv6), None, "2001:db8::8"),
        (v2(0x21, 0x11, &longer), None, "203.0.113.8"),
        // A proxy's own connection, such as a health check.
        (v2(0x20, 0x00, &[]), None, "127.0.0.1"),
        (v2(0x20, 0x11, &ipv4), None, "127.0.0.1"),
        // The one whom the header names is a proxy as well, or is not.
        (v1("TCP4 10.0.0.9 127.0.0.1 40000 8440"), Some("203.0.113.9"), "203.0.113.9"),
        (v1("TCP4 203.0.113.7 127.0.0.1 40000 8440"), Some("198.51.100.1"), "203.0.113.7"),
    ]
}

/// A PROXY header of version 2.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("a short header").to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, rest].concat()
}

fn behind_proxies(trusted: &str) -> String {
    format!("[proxies]\ntrusted = [{trusted}]\nproxy_protocol = true\n{TELLING}")
}

#[tokio::test]
async fn proxy_headers_stand_before_plain_http_and_before_tls() {
    for arguments in [PLAIN, TLS] {
        let node = Node::start_with(&behind_proxies("'127.0.0.1', '10.0.0.0/8'"), arguments).await;
        for (n, (header, forwarded, client)) in proxy_headers().into_iter().enumerate() {
            let mut io = Io::connect(node.client, None).await.expect("a connection");
            io.write_all(&header).await.expect("sent");
            if arguments == TLS {
                let config = node.trust().client_config(&[b"http/1.1"]).expect("a configuration");
                io = io.secure(config, ServerName::from(HERE)).await.expect("TLS");
            }
            let path = format!("/case/{n}");
            let mut request = Request::new("GET", &path);
            if let Some(forwarded) = forwarded {
                request = request.header("X-Forwarded-For", forwarded);
            }
            let answer = in_time("the answer", request.send_over(io, "node")).await;
            assert_eq!(answer.expect("an answer").status, 404, "{header:?}");
            assert_eq!(client_of(&node, &path).await, client, "{header:?}");
        }
    }
}

/// A load balancer before the node; it ends with its tasks.
async fn balancer(node: &Node, header: &'static str) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind((HERE, 0)).await.expect("a port");
    let (address, to) = (listener.local_addr().expect("an address"), node.client);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut server = TcpStream::connect(to).await.expect("the node listens");
                server.write_all(header.as_bytes()).await.expect("sent");
                // Either side may end it in any way.
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (address, tasks)
}

/// What the node answers before it ends a connection that begins with these bytes.
async fn answer_to(node: &Node, from: IpAddr, bytes: &[u8], half: Half) -> Vec<u8> {
    let mut io = Io::connect(node.client, Some(from)).await.expect("a connection");
    // It may end before all is sent.
    let _ = io.write_all(bytes).await;
    if half == Half::Ends {
        let _ = io.shutdown().await;
    }
    let mut answer = Vec::new();
    let _ = in_time("the end", io.read_to_end(&mut answer)).await;
    answer
}

/// Whether the sender ends its half of the connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Ends,
    Stays,
}

fn malformed_headers() -> Vec<Vec<u8>> {
    let request = b"GET /case/malformed HTTP/1.1\r\nHost: node\r\n\r\n";
    let before = |header: &[u8]| [header, request].concat();
    let ipv4 = [203, 0, 113, 8, 127, 0, 0, 1, 156, 64, 32, 248];
    vec![
        before(b""),
        before(b"PROXY NONSENSE\r\n"),
        before(b"PROXY TCP4 999.0.0.1 127.0.0.1 1 2\r\n"),
        before(b"PROXY TCP4 203.0.113.7 127.0.0.1 1 65536\r\n"),
        before(b"PROXY TCP4 203.0.113.7\r\n"),
        before(b"proxy TCP4 203.0.113.7 127.0.0.1 1 2\r\n"),
        before(b"PROXY TCP4 203.0.113.7 127.0.0.1 1 2\n"),
        [b"PROXY TCP4 203.0.113.7 127.0.0.1 1 2".to_vec(), vec![b' '; 200]].concat(),
        before(&v2(0x31, 0x11, &ipv4)),
        before(&v2(0x2f, 0x11, &ipv4)),
        before(&v2(0x21, 0xff, &ipv4)),
        before(&v2(0x21, 0x21, &ipv4)),
        before(&v2(0x21, 0x11, &ipv4[..4])),
        before(&v2(0x21, 0x11, &vec![0; 60_000])),
        // A TLS handshake instead.
        vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03],
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_proxy_header_ends_its_own_connection_only() {
    let quick = "[limits]\nhandshake_timeout_ms = 1000\n";
    for arguments in [PLAIN, TLS] {
        let extra = format!("{}{quick}", behind_proxies("'127.0.0.1'"));
        let node = Node::start_with(&extra, arguments).await;
        let (at, _balancer) = balancer(&node, "PROXY TCP4 203.0.113.7 127.0.0.1 1 2\r\n").await;
        let mut living = Vec::new();
        if arguments == PLAIN {
            living.push(Opening::new().at(at).open(&node, Transport::WebSocket).await);
        }
        living.push(Opening::new().open(&node, Transport::WebTransport).await);
        let mut living: Vec<Peer> =
            living.into_iter().map(|opened| opened.expect("a session")).collect();
        for peer in &mut living {
            peer.introduce(&token("ann")).await;
        }
        for bytes in malformed_headers() {
            let answer = answer_to(&node, HERE, &bytes, Half::Stays).await;
            assert!(answer.is_empty(), "{bytes:?} answered {answer:?}");
        }
        for bytes in [&b"PROXY TCP4 203."[..], b"\r\n\r\n\0\r\nQUIT\n\x21", b""] {
            for half in [Half::Ends, Half::Stays] {
                assert!(answer_to(&node, HERE, bytes, half).await.is_empty(), "{bytes:?}");
            }
        }
        assert!(clients_of(&node, "/case/malformed").is_empty(), "{}", node.log());
        for peer in &mut living {
            assert!(peer.ask("ping", json!({})).await["pong"].is_object());
        }
    }
}

#[tokio::test]
async fn proxy_headers_of_strangers_are_not_believed() {
    let node = Node::start(&behind_proxies("'127.0.0.2'")).await;
    let (header, request) = (v2(0x20, 0, &[]), b"GET /case HTTP/1.1\r\nHost: node\r\n\r\n");
    let bytes = [&header[..], request].concat();
    assert!(answer_to(&node, HERE, &bytes, Half::Stays).await.is_empty());
    assert!(answer_to(&node, HERE, request, Half::Stays).await.is_empty());
    let bytes = [&header[..], b"GET /case HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n"];
    let answer = answer_to(&node, LISTED, &bytes.concat(), Half::Stays).await;
    assert!(answer.starts_with(b"HTTP/1.1 404"), "{answer:?}");
    assert_eq!(clients_of(&node, "/case"), ["127.0.0.2"]);
}
