//! Several issuers, each with keys that it publishes, on a running node: whose tokens open sessions for whom,
//! and what a rotation and an outage look like to a client.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use meridian_client::Transport;
use meridian_core::auth::{SigningKey, mint};
use meridian_core::vocabulary::Tenant;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::client::{claims, now_ms, token};
use crate::node::Node;
use crate::peer::Peer;
use crate::request::Request;

/// A key pair, and its public half as it is published.
struct Pair {
    signing: SigningKey,
    jwk: String,
}

fn pair(id: &str) -> Pair {
    let pair = rcgen::KeyPair::generate().expect("a key on P-256");
    let point = rcgen::PublicKeyData::der_bytes(&pair).to_vec();
    let (x, y) = point[1..].split_at(32);
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let jwk = json!({ "kty": "EC", "crv": "P-256", "kid": id, "x": text(x), "y": text(y) });
    let signing = SigningKey::from_pem(id, &pair.serialize_pem()).expect("its own form");
    Pair { signing, jwk: jwk.to_string() }
}

/// Publishes the keys that it is given; `None`: hangs.
struct Endpoint {
    address: SocketAddr,
    keys: Arc<Mutex<Option<String>>>,
    _tasks: JoinSet<()>,
}

impl Endpoint {
    async fn start(pairs: &[&Pair]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (keys, mut tasks) = (Arc::new(Mutex::new(None)), JoinSet::new());
        let shared = Arc::clone(&keys);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let keys: Option<String> = shared.lock().expect("no panic").clone();
                connections.spawn(async move {
                    let _ = stream.read(&mut [0; 4096]).await;
                    let Some(body) = keys else { return std::future::pending().await };
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                        body.len()
                    );
                    let _ = stream.write_all((head + &body).as_bytes()).await;
                });
            }
        });
        let endpoint = Self { address, keys, _tasks: tasks };
        endpoint.publish(pairs);
        endpoint
    }

    fn publish(&self, pairs: &[&Pair]) {
        let keys: Vec<&str> = pairs.iter().map(|pair| pair.jwk.as_str()).collect();
        *self.keys.lock().expect("no panic") = Some(format!("{{\"keys\":[{}]}}", keys.join(",")));
    }

    fn hang(&self) {
        *self.keys.lock().expect("no panic") = None;
    }

    fn section(&self, name: &str, tenant: &str) -> String {
        format!(
            "[[auth.issuers]]\nname = '{name}'\ntenants = ['{tenant}']\nunknown_key_s = 1\n\
             jwks_url = 'http://{}/keys'\n",
            self.address
        )
    }
}

fn signed(pair: &Pair, issuer: &str, tenant: &str) -> String {
    let mut claims = claims("ann");
    claims.issuer = Some(issuer.to_owned());
    claims.tenant = Tenant::parse(tenant).expect("a tenant");
    mint(&pair.signing, &claims, now_ms()).expect("claims within the bounds")
}

async fn verdict(node: &Node, transport: Transport, token: &str) -> Result<String, String> {
    let mut peer = Peer::open(node, transport).await;
    let reply = peer.ask("connect", json!({ "protocol": 1, "token": token })).await;
    match (reply["connected"]["tenant"].as_str(), reply["error"]["code"].as_str()) {
        (Some(tenant), _) => Ok(tenant.to_owned()),
        (None, code) => Err(code.unwrap_or_else(|| panic!("{reply}")).to_owned()),
    }
}

on_both! {
    async fn each_issuer_speaks_for_its_tenants_only(transport: Transport) {
        let (first, second) = (pair("one"), pair("one"));
        let (acme, rival) = (Endpoint::start(&[&first]).await, Endpoint::start(&[&second]).await);
        let sections = acme.section("https://a", "acme") + &rival.section("https://b", "rival");
        let node = Node::start(&sections).await;
        let verdict = async |token: String| verdict(&node, transport, &token).await;
        assert_eq!(verdict(signed(&first, "https://a", "acme")).await, Ok("acme".into()));
        assert_eq!(verdict(signed(&second, "https://b", "rival")).await, Ok("rival".into()));
        assert_eq!(verdict(token("ann")).await, Ok("acme".into()), "the node's own key");
        for (what, token) in [
            ("another's tenant", signed(&second, "https://b", "acme")),
            ("in another's name", signed(&second, "https://a", "acme")),
            ("in nobody's name", signed(&second, "https://c", "rival")),
        ] {
            assert_eq!(verdict(token.clone()).await, Err("unauthenticated".into()), "{what}");
            let event = json!({ "channel": "room:i", "data": 1 });
            let answer = Request::publish(&token, &event).send(node.client).await;
            answer.expect(what).assert_problem(401, "unauthenticated");
        }
        let log = node.log();
        assert!(!log.contains(first.jwk.split("\"x\":\"").nth(1).expect("a point")), "{log}");
    }

    async fn a_rotation_is_noticed_and_an_outage_survived(transport: Transport) {
        let (old, new, next) = (pair("old"), pair("new"), pair("next"));
        let endpoint = Endpoint::start(&[&old]).await;
        let node = Node::start(&endpoint.section("https://a", "acme")).await;
        let verdict = async |pair: &Pair| {
            verdict(&node, transport, &signed(pair, "https://a", "acme")).await
        };
        assert_eq!(verdict(&old).await, Ok("acme".into()));
        endpoint.publish(&[&old, &new]);
        let began = std::time::Instant::now();
        while verdict(&new).await.is_err() {
            assert!(began.elapsed() < crate::node::PATIENCE, "the new key is never fetched");
        }
        endpoint.hang();
        let waiting = async {
            let began = std::time::Instant::now();
            // The first may be told at once that the last fetch was lately; none is told that it is refused
            // for good once the endpoint hangs.
            while verdict(&next).await != Err("authoriser_unavailable".into()) {
                assert!(began.elapsed() < crate::node::PATIENCE, "an outage looks like a refusal");
            }
        };
        let others = async {
            for _ in 0..5 {
                assert_eq!(verdict(&old).await, Ok("acme".into()));
                assert_eq!(verdict(&new).await, Ok("acme".into()));
            }
        };
        tokio::join!(waiting, others);
    }
}
