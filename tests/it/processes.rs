//! A second process where there is one already.

use std::process::Command;

use serde_json::json;

use crate::client::token;
use crate::node::Node;
use crate::peer::Peer;
use meridian_client::Transport;

/// Runs a second node to its end; exit code and what it said.
fn second(node: &Node, listen: &str, data: &std::path::Path) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_meridian"))
        .args(["dev", "--admin", "127.0.0.1:0", "--listen", listen, "--data"])
        .arg(data)
        .current_dir(node.dir())
        .env_clear()
        .output()
        .expect("the built command starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_the_same_port_fails_loudly() {
    let node = Node::start("").await;
    let other = tempfile::tempdir().expect("a directory");
    let address = node.client.to_string();
    let (code, said) = second(&node, &address, other.path());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&address) && said.contains("another process"), "{said}");
    let mut peer = Peer::connect(&node, Transport::WebSocket, &token("ann")).await;
    assert!(peer.ask("ping", json!({})).await["pong"].is_object());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_the_same_data_fails_loudly() {
    let node = Node::start("").await;
    let (code, said) = second(&node, "127.0.0.1:0", &node.data());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("data") && said.contains("another process"), "{said}");
    let mut peer = Peer::connect(&node, Transport::WebSocket, &token("ann")).await;
    peer.subscribe("room:x", json!({})).await;
    peer.publish("room:x", "a").await;
    assert_eq!(peer.event_ids("room:x", 1).await, ["a"]);
}
