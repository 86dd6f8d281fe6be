//! The requests of `docs/http-api.md`, run as they stand: each answer has the members that the page shows.

use std::process::Stdio;

use meridian_client::Transport;
use serde_json::{Value, json};

use crate::client::token;
use crate::node::{Node, in_time};
use crate::peer::Peer;

const PAGE: &str = include_str!("../../docs/http-api.md");

/// A fenced block: its language and text.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let fenced = PAGE.split("```").skip(1).step_by(2);
    fenced.filter_map(|block| block.split_once('\n')).collect()
}

async fn run(node: &Node, variables: &[(&str, &str)], command: &str) -> String {
    let running = tokio::process::Command::new("sh")
        .args(["-c", command])
        .env("NODE", node.url())
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output();
    let output = in_time(command, running).await.expect("a shell");
    String::from_utf8(output.stdout).expect("text")
}

/// The answer's form: members by name, what a list's elements look like, and each value's type.
fn form(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), form(value))).collect()
        }
        Value::Array(elements) => elements.iter().map(form).collect(),
        Value::String(_) => "text".into(),
        Value::Number(_) => "number".into(),
        other => other.clone(),
    }
}

/// The blocks of an event stream: each with its fields' names, and the form of its data.
fn stream_form(text: &str) -> Vec<Vec<(String, Value)>> {
    let field = |line: &str| {
        let (name, value) = line.split_once(": ").expect("a field");
        let value = match name {
            "data" => form(&serde_json::from_str(value).expect("JSON")),
            "event" => value.into(),
            _ => Value::Null,
        };
        (name.to_owned(), value)
    };
    let blocks = text.split("\n\n").map(str::trim).filter(|block| !block.is_empty());
    blocks.map(|block| block.lines().map(field).collect()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_of_the_page_is_answered_as_it_says() {
    let board =
        "[namespaces.board]\nsubscribe = ['tenant']\npublish = ['tenant']\npolling_ms = 1\n";
    let node = Node::start(board).await;
    let (token, blocks) = (token("ann"), blocks());
    let mut writer = Peer::connect(&node, Transport::WebSocket, &token).await;
    let mut board = String::new();
    for n in 1..3 {
        let event = json!({ "channel": "board:sfo", "id": format!("b{n}"), "data": n });
        let reply = writer.ask("publish", event).await;
        if n == 1 {
            reply["published"]["cursor"].as_str().expect("a cursor").clone_into(&mut board);
        }
    }
    // Until the region has applied it, an answer would lack it.
    writer.subscribe("board:sfo", json!({ "last": 2 })).await;
    writer.event_ids("board:sfo", 2).await;
    let (mut requests, mut cursor) = (0, String::new());
    for (at, (language, command)) in blocks.iter().enumerate() {
        if *language != "sh" {
            continue;
        }
        requests += 1;
        let answer =
            run(&node, &[("TOKEN", &token), ("CURSOR", &cursor), ("BOARD", &board)], command).await;
        let read = serde_json::from_str::<Value>(&answer).unwrap_or_default();
        let found = [&read["cursors"]["room:lobby"], &read["cursor"]];
        if let Some(newer) = found.into_iter().find_map(Value::as_str) {
            newer.clone_into(&mut cursor);
        }
        match blocks.get(at + 1) {
            Some(&("json", shown)) => {
                let read =
                    |text: &str| serde_json::from_str::<Value>(text).map(|value| form(&value));
                let answered = read(&answer).unwrap_or_else(|_| panic!("{command}\n{answer}"));
                assert_eq!(answered, read(shown).expect("the page's JSON"), "{command}\n{answer}");
            }
            Some(&("text", shown)) => {
                assert_eq!(stream_form(&answer), stream_form(shown), "{command}\n{answer}");
            }
            shown => panic!("no answer is shown to {command}: {shown:?}"),
        }
    }
    assert_eq!(requests, PAGE.matches("\ncurl ").count());
}
