//! What the node logs where no terminal shows it.

use serde_json::Value;

use crate::node::{Node, eventually};
use crate::request::get;

/// Everything, so that there is something.
const ALL: &str = "filter = 'info,meridian_edge=debug'\n";

#[tokio::test]
async fn a_log_that_no_terminal_shows_has_no_colours() {
    let node = Node::start(&format!("[log]\n{ALL}")).await;
    get(node.client, "/v1/logged").await.expect("an answer");
    let log = eventually("the request in the log", || {
        let log = node.log();
        log.contains("/v1/logged").then_some(log)
    })
    .await;
    assert!(!log.contains('\u{1b}'), "{log}");
}

#[tokio::test]
async fn a_json_log_has_one_object_a_line() {
    let node = Node::start(&format!("[log]\nformat = 'json'\n{ALL}")).await;
    get(node.client, "/v1/logged").await.expect("an answer");
    let log = eventually("the request in the log", || {
        let log = node.log();
        (log.contains("/v1/logged") && log.ends_with('\n')).then_some(log)
    })
    .await;
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        for member in ["timestamp", "level", "target", "message"] {
            assert!(line[member].is_string(), "{member}: {line}");
        }
    }
}
