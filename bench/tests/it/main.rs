//! The processes of a run, talked to as the runs do, beside a floor.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod regional;

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_meridian-bench"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdin, stdout }
    }

    fn tell(&mut self, order: &Value) {
        writeln!(self.stdin, "{order}").unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.stdout.read_line(&mut line).unwrap() > 0, "the process ended");
        line.trim_end().to_owned()
    }

    fn hear(&mut self) -> Value {
        serde_json::from_str(&self.line()).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every event that the publisher sends reaches every subscriber of its group, once.
fn fan_out(tls: bool) {
    let mut floor = Process::start(if tls { &["floor", "--tls"] } else { &["floor"] });
    let addr = floor.line().strip_prefix("listening ").unwrap().to_owned();
    let hash = tls.then(|| floor.line().strip_prefix("certificate-hash ").unwrap().to_owned());
    let target = json!({"addr": addr, "kind": "Floor", "tls": tls, "certificate_hash": hash});
    let channels = ["bench:a-0", "bench:a-1"];

    let mut load = Process::start(&["load"]);
    let wanted = channels.map(|channel| json!({"channel": channel, "cursor": null}));
    load.tell(&json!({
        "target": target, "transport": "WebSocket", "connections": 10, "channels": wanted, "hold": false,
    }));
    assert!(load.hear()["Ready"].is_object());
    let mut publisher = Process::start(&["publisher"]);
    publisher.tell(&json!({"target": target, "channels": channels, "bytes": 128, "rate": 200}));
    assert_eq!(publisher.hear(), json!("Ready"));
    load.tell(&json!("Reset"));
    assert_eq!(load.hear(), json!("Zeroed"));
    publisher.tell(&json!({"Go": {"seconds": 1}}));
    assert_eq!(publisher.hear(), json!({"Done": {"sent": 200, "failed": 0}}));

    let report = loop {
        load.tell(&json!("Report"));
        let report = load.hear()["Report"].take();
        if report["deliveries"].as_u64().unwrap() >= 1000 {
            break report;
        }
    };
    assert_eq!(report["deliveries"], 1000);
    assert_eq!(report["lost"], 0);
    let counted: u64 =
        report["latencies"].as_array().unwrap().iter().map(|pair| pair[1].as_u64().unwrap()).sum();
    assert_eq!(counted, 1000);
}

#[test]
fn the_floor_reaches_everyone_plain() {
    fan_out(false);
}

#[test]
fn the_floor_reaches_everyone_over_tls() {
    fan_out(true);
}
