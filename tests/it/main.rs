//! The built `meridian` as a user runs it: what it prints and how it exits, and as its clients meet
//! it: a real process, reached by the client library, by bare connections and by hostile ones.

/// Two tests of one body, one a transport.
macro_rules! on_both {
    ($($(#[$meta:meta])* async fn $name:ident($transport:ident: Transport) $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $(#[$meta])*
            async fn run($transport: Transport) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn websocket() {
                Box::pin(run(Transport::WebSocket)).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn webtransport() {
                Box::pin(run(Transport::WebTransport)).await;
            }
        }
    )*};
}

mod acks;
mod across;
mod auth;
mod authoriser;
mod away;
mod bad_input;
mod bridge;
mod canary;
mod certificate;
mod check_config;
mod cli;
mod client;
mod crash;
mod deployment;
mod drain;
mod epochs;
mod es256;
mod event_stream;
mod far;
mod feed;
mod fuzz;
mod halting;
mod help;
mod http;
mod http_docs;
mod issuers;
mod late_bridge;
mod logs;
mod long_poll;
mod loris;
mod losses;
mod matrix;
mod modes;
mod moves;
mod node;
mod outages;
mod paused;
mod peer;
mod polling;
mod processes;
mod proxies;
mod publish;
mod quotas;
mod rebinding;
mod rebuild;
mod records;
mod redirect;
mod region_tokens;
mod regions;
mod request;
mod requests_refused;
mod resume;
mod revoke;
mod seed;
mod servers;
mod slow;
mod stateless_reset;
mod stores;
mod subscribe;
mod takeover;
mod ticket;
mod tls;
mod token;
mod two_regions;
mod wanderers;
mod web;
mod webtransport;
mod window;
mod wire;
mod witnesses;
mod zones;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SECRET: &str = "a secret of thirty-two bytes, ok";

struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

/// A directory with files, in which commands run.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).expect("a file in the temporary directory");
        path
    }

    fn meridian(&self, arguments: &[&str]) -> Run {
        self.meridian_with(arguments, &[])
    }

    fn meridian_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Run {
        let output = Command::new(env!("CARGO_BIN_EXE_meridian"))
            .args(arguments)
            .current_dir(self.0.path())
            .env_clear()
            .envs(environment.iter().copied())
            .output();
        output.expect("the built command starts").into()
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is text");
        let code = output.status.code().expect("the command exits by itself");
        Self { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// A key for tests.
fn test_key(name: &str) -> String {
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("core/tests/keys");
    keys.join(name).display().to_string()
}
