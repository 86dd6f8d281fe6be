//! `sub`, `history` and `latest`.

use meridian_client::Transport;
use serde_json::{Value, json};

use super::{Cli, of_type};
use crate::node::Node;

fn ids(objects: &[Value]) -> Vec<&str> {
    let events = of_type(objects, "event");
    events.iter().map(|event| event["id"].as_str().expect("an id")).collect()
}

/// Publishes these ids and waits until they can be read.
async fn publish(cli: &Cli<'_>, channel: &str, ids: &[&str]) -> Vec<String> {
    let publish = |id: &&str| {
        let told = cli.objects(&["pub", channel, "{\"n\": 1}", "--id", id]);
        told[0]["cursor"].as_str().expect("a cursor").to_owned()
    };
    let cursors = ids.iter().map(publish).collect();
    cli.settled(channel, ids.last().expect("an id")).await;
    cursors
}

on_both! {
    async fn objects_have_the_promised_fields(transport: Transport) {
        let node = Node::start("").await;
        let cli = Cli::new(&node, transport);
        let cursors = publish(&cli, "room:shape", &["a", "b"]).await;
        let read = cli.objects(&["sub", "room:shape", "--from", "last:2", "--count", "2"]);
        let [state, subscribed, _, event, end] = &read[..] else { panic!("{read:?}") };
        let name = if transport == Transport::WebSocket { "websocket" } else { "webtransport" };
        assert_eq!((&state["state"], &state["transport"]), (&"connected".into(), &name.into()));
        assert_eq!((&state["node"], &state["reconnects"]), (&"n1".into(), &0.into()));
        assert_eq!((&subscribed["class"], subscribed["cursor"].is_string()), (&"strict".into(), true));
        let mut event = event.clone();
        assert!(event["time"].take().as_u64() > Some(1_700_000_000_000));
        assert_eq!(
            event,
            json!({
                "type": "event", "channel": "room:shape", "cursor": cursors[1], "epoch": 1,
                "offset": 1, "prev": 0, "time": null, "id": "b", "publisher": "ann", "data": { "n": 1 },
            })
        );
        let on = json!({ "room:shape": cursors[1] });
        assert_eq!(end, &json!({ "type": "end", "reason": "done", "events": 2, "cursors": on }));
        assert_eq!(ids(&cli.objects(&["latest", "room:shape"])), ["b"]);
        assert_eq!(ids(&cli.objects(&["history", "room:shape", "--after", &cursors[0]])), ["b"]);
        assert_eq!(ids(&cli.objects(&["history", "room:shape", "--last", "1"])), ["b"]);
    }

    async fn pages_follow_each_other_to_the_end(transport: Transport) {
        let node = Node::start("").await;
        let cli = Cli::new(&node, transport);
        let lines: String = (0..2_500).map(|n| format!("{n}\n")).collect();
        assert_eq!(cli.fed(&["pub", "room:pages", "--lines", "--id", "n"], &lines).code, 0);
        cli.settled("room:pages", "n-2500").await;
        let all = cli.objects(&["history", "room:pages", "--all"]);
        assert_eq!(ids(&all).len(), 2_500);
        let first = of_type(&all, "event")[9]["cursor"].as_str().expect("a cursor");
        let some = cli.objects(&["history", "room:pages", "--after", first, "--limit", "1500"]);
        assert_eq!(ids(&some).len(), 1_500);
        assert_eq!((ids(&some)[0], ids(&some)[1_499]), ("n-11", "n-1510"));
        let end = &some.last().expect("an end")["cursors"]["room:pages"];
        let rest = cli.objects(&["history", "room:pages", "--all", "--after", end.as_str().expect("one")]);
        assert_eq!((ids(&rest)[0], ids(&rest).len()), ("n-1511", 990));
        assert!(ids(&cli.objects(&["latest", "room:empty"])).is_empty());
    }

    async fn what_is_gone_is_said(transport: Transport) {
        let extra = "[namespaces.short]\nsubscribe = ['tenant']\npublish = ['tenant']\nhistory = { events = 2 }\n";
        let node = Node::start(extra).await;
        let cli = Cli::new(&node, transport);
        let cursors = publish(&cli, "short:a", &["a", "b", "c", "d", "e"]).await;
        // Retention runs by itself, now and then; until then all is there.
        let read = crate::node::eventually("retention", || {
            let read = cli.objects(&["history", "short:a", "--all"]);
            (ids(&read) == ["d", "e"]).then_some(read)
        })
        .await;
        let gaps = of_type(&read, "gap");
        assert_eq!((&gaps[0]["reason"], &gaps[0]["cursor"]), (&"retention".into(), &cursors[2].clone().into()));
        let run = cli.run(&["sub", "short:a", "--from", &cursors[0], "--count", "2"]);
        assert!(run.stderr.contains("gap on short:a (retention)"), "{}", run.stderr);
        assert_eq!((run.code, run.stdout.lines().count()), (0, 2));
    }

    async fn acknowledged_positions_are_gone_on_from(transport: Transport) {
        let node = Node::start("").await;
        let cli = Cli::new(&node, transport);
        publish(&cli, "room:acks", &["a", "b", "c"]).await;
        let kiosk = ["sub", "room:acks", "--subscriber", "kiosk"];
        let first = [&kiosk[..], &["--ack", "--from", "last:3", "--count", "2"]].concat();
        assert_eq!(ids(&cli.objects(&first)), ["a", "b"]);
        let second = [&kiosk[..], &["--ack", "--from", "acked", "--count", "1"]].concat();
        assert_eq!(ids(&cli.objects(&second)), ["c"]);
    }

    async fn several_channels_each_from_its_own_beginning(transport: Transport) {
        let node = Node::start("").await;
        let cli = Cli::new(&node, transport);
        let cursors = publish(&cli, "room:one", &["a", "b"]).await;
        publish(&cli, "room:two", &["c", "d"]).await;
        let from = format!("room:one={}", cursors[0]);
        let arguments =
            ["sub", "room:one", "room:two", "--from", &from, "--from", "last:2", "--count", "3"];
        let read = cli.objects(&arguments);
        let mut all = ids(&read);
        all.sort_unstable();
        assert_eq!(all, ["b", "c", "d"]);
    }
}
