//! A service that is asked beside the policies, as a client meets it: a hang costs the session that asked and
//! no other, and a refresh is decided about anew.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use meridian_client::Transport;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::client::{Rights, token, token_with};
use crate::node::Node;
use crate::peer::Peer;

/// Answers by what a question contains: of `deny` no, of `hang` nothing, and whatever was forbidden since.
struct Service {
    address: SocketAddr,
    forbidden: Arc<Mutex<Option<&'static str>>>,
    _tasks: JoinSet<()>,
}

impl Service {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let forbidden = Arc::new(Mutex::new(None));
        let (mut tasks, shared) = (JoinSet::new(), forbidden.clone());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let forbidden = Arc::clone(&shared);
                connections.spawn(async move {
                    let mut text = String::new();
                    let mut bytes = [0; 4096];
                    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                        text.push_str(&String::from_utf8_lossy(&bytes[..read]));
                        if !text.ends_with('}') {
                            continue;
                        }
                        if text.contains("hang") {
                            std::future::pending::<()>().await;
                        }
                        let denied = forbidden.lock().expect("no panic").unwrap_or("deny");
                        let allow = !text.contains("deny") && !text.contains(denied);
                        let body = format!("{{\"allow\":{allow}}}");
                        let head =
                            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                        let _ = stream.write_all((head + &body).as_bytes()).await;
                        text.clear();
                    }
                });
            }
        });
        Self { address, forbidden, _tasks: tasks }
    }

    async fn node(&self) -> Node {
        let url = format!("http://{}/authorise", self.address);
        let secret = crate::SECRET;
        Node::start(&format!(
            "[authoriser]\nurl = '{url}'\nsecret = '{secret}'\ntimeout_ms = 1000\n"
        ))
        .await
    }
}

on_both! {
    async fn the_service_denies_what_the_policy_allows_and_not_the_other_way(transport: Transport) {
        let service = Service::start().await;
        let node = service.node().await;
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        peer.subscribe("room:open", json!({})).await;
        let refusal = async |peer: &mut Peer, command: &str, channel: &str| {
            let body = json!({ "channel": channel, "data": 1, "last": 1 });
            peer.ask(command, body).await["error"]["code"].clone()
        };
        for channel in ["room:deny", "closed:open"] {
            for command in ["subscribe", "publish", "history"] {
                let code = refusal(&mut peer, command, channel).await;
                assert_eq!(code, "forbidden", "{command} {channel}");
            }
        }
    }

    async fn a_hang_costs_only_those_who_asked(transport: Transport) {
        let service = Service::start().await;
        let node = service.node().await;
        let mut stuck = Peer::connect(&node, transport, &token("ann")).await;
        let mut other = Peer::connect(&node, transport, &token("bob")).await;
        let asked = stuck.command("subscribe", json!({ "channel": "room:hang" })).await;
        let began = std::time::Instant::now();
        other.subscribe("room:open", json!({})).await;
        other.publish("room:open", "a").await;
        assert_eq!(other.events("room:open", 1).await.len(), 1);
        let ours = began.elapsed();
        // The session that asked goes on as well.
        assert!(stuck.ask("ping", json!({})).await["pong"].is_object());
        let reply = stuck.reply(asked).await;
        assert_eq!(reply["error"]["code"], "authoriser_unavailable", "{reply}");
        assert_eq!(reply["error"]["action"], "retry");
        assert!(ours < began.elapsed(), "{ours:?}");
    }

    async fn a_refresh_that_the_service_narrows_ends_the_subscription(transport: Transport) {
        let service = Service::start().await;
        let node = service.node().await;
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        peer.subscribe("room:a", json!({})).await;
        peer.subscribe("room:b", json!({})).await;
        *service.forbidden.lock().expect("no panic") = Some("room:a");
        let next = token_with("ann", &Rights { roles: &["other"], ..Rights::default() });
        peer.command("refresh", json!({ "token": next })).await;
        peer.find("the end", |message| {
            let ended = &message["unsubscribed"];
            ended["channel"] == "room:a" && ended["code"] == "forbidden"
        })
        .await;
        peer.publish("room:b", "after").await;
        assert_eq!(peer.events("room:b", 1).await.len(), 1);
    }
}
