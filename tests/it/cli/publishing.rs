//! `pub`.

use std::io::Write as _;
use std::process::Stdio;

use meridian_client::Transport;
use serde_json::{Value, json};

use super::{Cli, objects, of_type};
use crate::node::{Node, eventually};

/// The numbers from 1 on, one a line.
fn numbers(count: usize) -> String {
    (1..=count).map(|n| format!("{n}\n")).collect()
}

/// What the events of the output hold.
fn data(objects: &[Value]) -> Vec<u64> {
    let events = of_type(objects, "event");
    events.iter().map(|event| event["data"].as_u64().expect("a number")).collect()
}

on_both! {
    async fn what_is_published_is_what_was_given(transport: Transport) {
        let node = Node::start("").await;
        let cli = Cli::new(&node, transport);
        let channel = "room:pub";
        std::fs::write(node.dir().join("bytes"), b"\xff\x00\n").expect("a file");
        for (arguments, input) in [
            (&["{\"a\": 1.50}", "--id", "json", "--key", "k", "--header", "lang=en=us"][..], ""),
            (&["just text", "--id", "text"], ""),
            (&["[1]", "--id", "typed", "--content-type", "text/csv"], ""),
            (&["--file", "bytes", "--id", "file"], ""),
            (&["-", "--id", "dash"], "{\"from\":\"stdin\"}\n"),
            (&["--id", "stdin"], "some words\n"),
            (&["--kind", "remove", "--key", "k", "--id", "gone"], ""),
        ] {
            let run = cli.fed(&[&["pub", channel], arguments].concat(), input);
            assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{arguments:?}");
        }
        cli.settled(channel, "gone").await;
        let read = cli.objects(&["history", channel]);
        let payload = |id: &str| {
            let event = of_type(&read, "event").into_iter().find(|event| event["id"] == id);
            let event = event.unwrap_or_else(|| panic!("{id}: {read:?}")).clone();
            let member = |name: &str| event[name].clone();
            ["data", "text", "bin", "content_type", "key", "kind", "headers"].map(member)
        };
        let none = Value::Null;
        let is = |name: &str| Value::from(name);
        let headers = json!({ "lang": "en=us" });
        assert_eq!(payload("json"), [json!({ "a": 1.5 }), none.clone(), none.clone(), none.clone(), is("k"), none.clone(), headers]);
        assert_eq!(payload("text")[..4], [none.clone(), is("just text"), none.clone(), is("text/plain")]);
        assert_eq!(payload("typed")[..4], [none.clone(), is("[1]"), none.clone(), is("text/csv")]);
        assert_eq!(payload("file")[..4], [none.clone(), none.clone(), is("/wAK"), is("application/octet-stream")]);
        assert_eq!(payload("dash")[0], json!({ "from": "stdin" }));
        assert_eq!(payload("stdin")[1], is("some words"));
        assert_eq!(payload("gone")[4..6], [is("k"), is("remove")]);
    }

    async fn five_thousand_lines_are_acknowledged_in_order(transport: Transport) {
        let node = Node::start("").await;
        let cli = Cli::new(&node, transport);
        let arguments = ["pub", "room:lines", "--lines", "--id", "n", "--json"];
        let run = cli.fed(&arguments, &numbers(5_000));
        assert_eq!((run.code, run.stderr.as_str()), (0, ""));
        let told = objects(&run.stdout);
        let end = told.last().expect("an end");
        assert_eq!(
            end,
            &json!({ "type": "end", "reason": "done", "published": 5_000, "failed": 0, "line": 5_000, "id": "n" })
        );
        for (at, published) in told[..5_000].iter().enumerate() {
            let (line, cursor) = (at + 1, format!("{}", at));
            assert_eq!((&published["type"], &published["line"]), (&"published".into(), &line.into()));
            assert_eq!(published["id"], format!("n-{line}"));
            let position = published["cursor"].as_str().and_then(|cursor| cursor.rsplit('.').next());
            assert_eq!(position, Some(cursor.as_str()));
        }
        // The same lines again change nothing.
        assert_eq!(cli.fed(&arguments, &numbers(300)).code, 0);
        cli.settled("room:lines", "n-5000").await;
        let read = cli.objects(&["history", "room:lines", "--all"]);
        assert_eq!(data(&read), (1..=5_000).collect::<Vec<u64>>());
    }

    async fn a_bad_line_is_told_and_costs_no_other(transport: Transport) {
        let node = Node::start("[limits]\nevent_bytes = 100\n").await;
        let cli = Cli::new(&node, transport);
        let long = "x".repeat(101);
        let input = format!("1\n{{bad\n{long}\n4\n");
        let run = cli.fed(&["pub", "room:bad", "--lines", "--json", "--id", "n"], &input);
        assert_eq!((run.code, run.stderr.as_str()), (1, ""));
        let told = objects(&run.stdout);
        let told: Vec<_> = told.iter().map(|one| (&one["type"], &one["line"], &one["code"])).collect();
        let none = Value::Null;
        assert_eq!(
            told,
            [
                (&Value::from("published"), &Value::from(1), &none),
                (&Value::from("error"), &Value::from(2), &Value::from("bad_payload")),
                (&Value::from("error"), &Value::from(3), &Value::from("event_too_large")),
                (&Value::from("published"), &Value::from(4), &none),
                (&Value::from("end"), &Value::from(4), &none),
            ]
        );
        // What would hit every line ends the command.
        let run = cli.fed(&["pub", "closed:room", "--lines"], &numbers(1_000));
        assert_eq!(run.code, 1);
        assert!(run.stderr.contains("line 1 (") && run.stderr.contains("forbidden"), "{}", run.stderr);
        assert!(!run.stderr.contains("line 1000 ("), "{}", run.stderr);
    }

    async fn without_an_answer_it_says_that_the_outcome_is_unknown(transport: Transport) {
        let mut node = Node::start("").await;
        let cli = Cli::new(&node, transport);
        let arguments = ["pub", "room:unknown", "--lines", "--json", "--timeout", "2s", "--id", "n"];
        let mut writer = cli.start("writer", &arguments, Stdio::piped());
        let mut input = writer.child.stdin.take().expect("a pipe");
        writeln!(input, "1").expect("it reads");
        writer.objects("published", 1).await;
        node.kill();
        writeln!(input, "2").expect("it reads");
        drop(input);
        assert_eq!(writer.ended().await.code(), Some(1));
        let told = objects(&writer.lines().join("\n"));
        let errors = of_type(&told, "error");
        let [error] = errors[..] else { panic!("{told:?}") };
        // Whether the line went out before the end was noticed decides between the two.
        let code = error["code"].as_str();
        assert!(matches!(code, Some("outcome_unknown" | "not_stored")), "{error}");
        assert_eq!((&error["line"], &error["id"]), (&2.into(), &"n-2".into()));
        assert_eq!(told.last().expect("an end")["reason"], "failed");
    }

    async fn a_crash_of_the_node_in_the_middle_costs_no_line_and_repeats_none(transport: Transport) {
        let mut node = Node::start_lasting("[limits]\nheartbeat_ms = 1000\n").await;
        let count = 20_000;
        std::fs::write(node.dir().join("numbers"), numbers(count)).expect("a file");
        let input = std::fs::File::open(node.dir().join("numbers")).expect("a file");
        let cli = Cli::new(&node, transport);
        let mut reader =
            cli.start("reader", &["sub", "room:crash", "--json", "--count", "20000"], Stdio::null());
        reader.objects("subscribed", 1).await;
        let arguments = ["pub", "room:crash", "--lines", "--json"];
        let mut writer = cli.start("writer", &arguments, input.into());
        let before = eventually("lines", || {
            let lines = writer.lines().len();
            (lines >= 500).then_some(lines)
        })
        .await;
        drop(cli);
        node.kill();
        assert!(before < count, "the crash comes too late");
        node.restart().await;
        assert_eq!(writer.ended().await.code(), Some(0), "{}", writer.errors());
        assert_eq!(reader.ended().await.code(), Some(0), "{}", reader.errors());
        let read = objects(&reader.lines().join("\n"));
        assert_eq!(data(&read), (1..=count as u64).collect::<Vec<u64>>());
        let connected = |one: &&Value| one["state"] == "connected" && one["reconnects"] != 0;
        assert!(read.iter().any(|one| connected(&one)), "the reader was cut off");
    }
}
