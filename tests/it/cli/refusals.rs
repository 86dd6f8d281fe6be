//! What fails says so in one line: the code and what to do.

use meridian_client::Transport;

use super::{Cli, objects};
use crate::node::Node;

fn error_line(stderr: &str) -> &str {
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    match errors[..] {
        [one] => one,
        _ => panic!("not one error: {stderr}"),
    }
}

on_both! {
    async fn each_refusal_has_its_code_and_advice(transport: Transport) {
        let node = Node::start("").await;
        let cli = Cli::new(&node, transport);
        let ahead = "1.global.1.0.1000000";
        for (arguments, code, advice) in [
            (&["sub", "closed:room"][..], "forbidden", "token"),
            (&["pub", "closed:room", "1"], "forbidden", "token"),
            (&["history", "closed:room"], "forbidden", "token"),
            (&["latest", "closed:room"], "forbidden", "token"),
            (&["history", "typing:room"], "unsupported", "does not offer"),
            (&["sub", "room:a", "--from", "1.bad"], "bad_cursor", "meridian history"),
            (&["history", "room:a", "--after", "1.bad"], "bad_cursor", "meridian history"),
            (&["sub", "room:a", "--from", "1.elsewhere.1.0.1"], "foreign_cursor", "meridian history"),
            (&["history", "room:a", "--after", ahead], "foreign_cursor", "meridian history"),
            (&["sub", "room:a", "--token", "abc.def.ghi"], "unauthenticated", "--token-file"),
            (&["pub", "room:a", "1", "--token", "abc.def.ghi"], "unauthenticated", "--token-file"),
        ] {
            let run = cli.run(arguments);
            assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{arguments:?}: {}", run.stderr);
            let line = error_line(&run.stderr);
            assert!(line.contains(&format!("{code}: ")) && line.contains(advice), "{line}");
            assert!(!run.stderr.contains("abc.def") && !run.stderr.contains(&cli.token), "{line}");
            let run = cli.run(&[arguments, &["--json"]].concat());
            assert_eq!((run.code, run.stderr.as_str()), (1, ""));
            let told = objects(&run.stdout);
            let error = told.last().expect("an error");
            assert_eq!((&error["type"], &error["code"]), (&"error".into(), &code.into()));
            assert!(error["advice"].as_str().is_some_and(|text| text.contains(advice)), "{error}");
        }
    }

    async fn without_a_server_it_says_where_it_tried(transport: Transport) {
        let mut node = Node::start("").await;
        node.kill();
        let cli = Cli::new(&node, transport);
        for command in [&["sub", "room:a"][..], &["pub", "room:a", "1"], &["latest", "room:a"]] {
            let run = cli.run(&[command, &["--connect-timeout", "1s"]].concat());
            assert_eq!((run.code, run.stdout.as_str()), (1, ""));
            let line = error_line(&run.stderr);
            let start = format!("error: unreachable: cannot reach {} within 1s", node.url());
            assert!(line.starts_with(&start) && line.contains("meridian dev"), "{line}");
        }
    }

    async fn tokens_and_authorities_come_from_files(transport: Transport) {
        let node = Node::start_in(
            {
                let dir = tempfile::tempdir().expect("a directory");
                crate::certificate::write(dir.path());
                dir
            },
            crate::certificate::SECTION,
            &["--listen", "127.0.0.1:0", "--tls"],
        )
        .await;
        let url = format!("https://{}", node.client);
        let name = if transport == Transport::WebSocket { "websocket" } else { "webtransport" };
        std::fs::write(node.dir().join("token"), format!("{}\n", crate::client::token("ann")))
            .expect("a file");
        let run = |trust: &[&str]| {
            let of_all = ["latest", "room:a", "--token-file", "token", "--url", &url];
            let rest = ["--transport", name, "--connect-timeout", "3s"];
            let output = std::process::Command::new(env!("CARGO_BIN_EXE_meridian"))
                .args([&of_all[..], &rest, trust].concat())
                .current_dir(node.dir())
                .env_clear()
                .output();
            crate::Run::from(output.expect("the built command starts"))
        };
        let good = run(&["--ca", "chain.pem"]);
        assert_eq!(good.code, 0, "{}", good.stderr);
        let untrusted = run(&[]);
        assert_eq!(untrusted.code, 1, "{}", untrusted.stderr);
        let bad = run(&["--ca", "token"]);
        assert_eq!(bad.code, 2, "{}", bad.stderr);
        assert!(error_line(&bad.stderr).contains("--ca token: "), "{}", bad.stderr);
    }
}

#[test]
fn arguments_that_are_not_valid_exit_with_2() {
    let place = crate::Place::new();
    for arguments in [
        &["sub"][..],
        &["sub", "nonsense"],
        &["sub", "a:b", "--from", "yesterday"],
        &["sub", "a:b", "--for", "soon"],
        &["sub", "a:b", "--ack"],
        &["sub", "a:b", "a:b"],
        &["sub", "a:b", "--url", "nonsense"],
        &["sub", "a:b", "--transport", "pigeon"],
        &["sub", "a:b", "--transport", "webtransport"],
        &["sub", "a:b", "--certificate-hash", "12"],
        &["pub", "a:b", "{bad"],
        &["pub", "a:b", "1", "--header", "x"],
        &["pub", "a:b", "1", "--kind", "remove"],
        &["pub", "a:b", "1", "--lines"],
        &["pub", "a:b", "1", "--token", "x", "--token-file", "y"],
        &["history", "a:b", "--last", "0"],
        &["history", "a:b", "--limit", "5"],
        &["latest"],
    ] {
        let run = place.meridian(arguments);
        assert_eq!(run.code, 2, "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.starts_with("error: "), "{arguments:?}: {}", run.stderr);
    }
}
