//! How commands end: by a signal, by time, by a pipe that nobody reads any more.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use meridian_client::Transport;

use super::Cli;
use crate::node::Node;

on_both! {
    async fn an_interrupted_reader_tells_where_to_go_on(transport: Transport) {
        let node = Node::start("").await;
        let cli = Cli::new(&node, transport);
        let mut reader = cli.start("reader", &["sub", "room:end", "--json"], Stdio::null());
        reader.objects("subscribed", 1).await;
        cli.objects(&["pub", "room:end", "1", "--id", "a"]);
        reader.objects("event", 1).await;
        reader.interrupt();
        assert_eq!(reader.ended().await.code(), Some(0));
        let end = reader.objects("end", 1).await.remove(0);
        assert_eq!((&end["reason"], &end["events"]), (&"interrupted".into(), &1.into()));
        cli.objects(&["pub", "room:end", "2", "--id", "b"]);
        let cursor = end["cursors"]["room:end"].as_str().expect("a cursor");
        let run = cli.run(&["sub", "room:end", "--from", cursor, "--count", "1"]);
        assert_eq!(run.code, 0);
        let columns: Vec<&str> = run.stdout.split_whitespace().collect();
        let [_, "room:end", next, "b", "-", "2"] = columns[..] else { panic!("{columns:?}") };
        assert!(run.stderr.ends_with(&format!("1 event; go on after {next}\n")), "{}", run.stderr);
    }

    async fn time_that_is_over_is_an_end_as_asked(transport: Transport) {
        let node = Node::start("").await;
        let cli = Cli::new(&node, transport);
        let read = cli.objects(&["sub", "room:time", "--for", "100ms"]);
        assert_eq!(read.last().expect("an end")["reason"], "time");
    }

    async fn a_pipe_that_is_closed_ends_a_command_quietly(transport: Transport) {
        let node = Node::start("").await;
        let cli = Cli::new(&node, transport);
        let lines = "\"a line that is long enough to fill a pipe soon\"\n".repeat(3_000);
        assert_eq!(cli.fed(&["pub", "room:pipe", "--lines", "--id", "n"], &lines).code, 0);
        cli.settled("room:pipe", "n-3000").await;
        for arguments in
            [&["history", "room:pipe", "--all"][..], &["sub", "room:pipe", "--from", "last:1000"]]
        {
            let mut command = cli.command(arguments);
            let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
            let mut child = child.expect("the built command starts");
            let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
            let mut line = String::new();
            out.read_line(&mut line).expect("a line");
            drop(out);
            let output = child.wait_with_output().expect("ours");
            let errors = String::from_utf8(output.stderr).expect("text");
            assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
            assert!(!errors.contains("error") && !errors.contains("panic"), "{errors}");
        }
    }
}
