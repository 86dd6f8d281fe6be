//! Publishing by every way in: what is acknowledged reaches everyone, once, in one order.

use meridian_client::{Codec, From, Publish, RequestError, Transport};
use meridian_core::protocol::{Command, CommandFrame, Content, PublishItem, encode_command};
use serde_json::json;

use crate::client::{builder, connect, next_event, next_ids, token};
use crate::node::Node;
use crate::peer::Peer;
use crate::request::Request;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_in_reaches_subscribers_of_both_transports_in_one_order() {
    let node = Node::start("").await;
    let (mut clients, mut readers) = (Vec::new(), Vec::new());
    for transport in [Transport::WebSocket, Transport::WebTransport] {
        for codec in [Codec::Json, Codec::MessagePack] {
            let client = builder(&node, transport).codec(codec).token(token("reader"));
            let client = client.connect().await.expect("a connection");
            readers.push(client.subscribe("room:all", From::Now).await.expect("a subscription"));
            clients.push(client);
        }
    }
    let mut wanted = Vec::new();
    for transport in [Transport::WebSocket, Transport::WebTransport] {
        for codec in [Codec::Json, Codec::MessagePack] {
            let client = builder(&node, transport).codec(codec).token(token("writer"));
            let client = client.connect().await.expect("a connection");
            let name = format!("{transport:?}-{codec:?}");
            let event = |n: u32| Publish::json("room:all", "[1,2]").id(format!("{name}-{n}"));
            client.publish(event(0)).await.expect("acknowledged");
            let results = client.publish_batch(vec![event(1), event(2)]).await.expect("a batch");
            assert!(results.iter().all(Result::is_ok), "{results:?}");
            wanted.extend((0..3).map(|n| format!("{name}-{n}")));
        }
    }
    for (n, body) in [
        json!({ "channel": "room:all", "id": "http-0", "data": [1, 2] }),
        json!({ "events": [
            { "channel": "room:all", "id": "http-1", "data": [1, 2] },
            { "channel": "room:all", "id": "http-2", "data": [1, 2] },
        ] }),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = Request::publish(&token("writer"), &body).send(node.client).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 200, "{answer:?}");
        let cursor = match n {
            0 => answer.json()["cursor"].clone(),
            _ => answer.json()["results"][1]["cursor"].clone(),
        };
        assert!(cursor.is_string(), "{answer:?}");
    }
    wanted.extend((0..3).map(|n| format!("http-{n}")));
    for reader in &mut readers {
        let mut ids = Vec::new();
        for _ in 0..wanted.len() {
            let event = next_event(reader).await;
            assert_eq!(&event.body.data[..], b"[1,2]");
            ids.push(event.id.expect("an id"));
        }
        assert_eq!(ids, wanted);
    }
}

#[tokio::test]
async fn messagepack_over_http_carries_any_bytes() {
    let node = Node::start("").await;
    let client = connect(&node, Transport::WebSocket, "reader").await;
    let mut room = client.subscribe("room:bytes", From::Now).await.expect("a subscription");
    let item = PublishItem {
        channel: "room:bytes".into(),
        id: Some("b".into()),
        content: Content {
            data: vec![0, 159, 146, 150].into(),
            content_type: Some("application/octet-stream".into()),
        },
        ..PublishItem::default()
    };
    // The command's body is the request's.
    let command = CommandFrame { id: None, command: Command::Publish(item) };
    let frame = encode_command(Codec::MessagePack, &command);
    let body = frame.strip_prefix(b"\x81\xa7publish").expect("a map of one member").to_vec();
    let answer = Request::new("POST", "/v1/publish")
        .header("Authorization", &format!("Bearer {}", token("writer")))
        .body("application/msgpack", body)
        .send(node.client)
        .await
        .expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    let event = next_event(&mut room).await;
    assert_eq!(&event.body.data[..], [0, 159, 146, 150]);
}

on_both! {
    async fn payloads_of_every_kind_come_as_they_were_published(transport: Transport) {
        let node = Node::start("").await;
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        peer.subscribe("room:kinds", json!({})).await;
        for event in [
            json!({ "data": { "b": 1, "a": [null, 1.50, "ü"] } }),
            json!({ "data": null }),
            json!({ "text": "plain \u{1F600} text", "content_type": "text/plain" }),
            json!({ "bin": "AJ+Slg==", "content_type": "application/octet-stream" }),
            json!({ "data": 1, "headers": { "a": "b" } }),
        ] {
            let mut publish = event.clone();
            publish["channel"] = "room:kinds".into();
            publish["id"] = event.to_string().len().to_string().into();
            let reply = peer.ask("publish", publish).await;
            assert!(reply["published"].is_object(), "{reply}");
            let came = peer.events("room:kinds", 1).await.remove(0);
            for (name, value) in event.as_object().expect("an object") {
                // A type that its member implies need not be repeated.
                if name != "content_type" {
                    assert_eq!(&came[name], value, "{came}");
                }
            }
            assert_eq!(came["publisher"], "ann");
        }
    }

    async fn ephemeral_events_go_out_unnumbered_and_are_not_kept(transport: Transport) {
        let node = Node::start("").await;
        let mut reader = Peer::connect(&node, transport, &token("reader")).await;
        let subscribed = reader.subscribe("typing:doc", json!({})).await;
        assert_eq!(subscribed["class"], "ephemeral");
        let mut writer = Peer::connect(&node, transport, &token("writer")).await;
        let event = json!({ "channel": "typing:doc", "id": "e1", "data": 1 });
        let reply = writer.ask("publish", event).await;
        assert!(reply["published"].is_object() && reply["published"]["cursor"].is_null(), "{reply}");
        let event = reader.events("typing:doc", 1).await.remove(0);
        for member in ["offset", "prev"] {
            assert!(event[member].is_null(), "{event}");
        }
        let history = json!({ "channel": "typing:doc", "last": 10 });
        assert_eq!(reader.refusal("history", history).await, "unsupported");
    }

    async fn a_retry_with_the_same_id_is_one_event(transport: Transport) {
        let node = Node::start("").await;
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        peer.subscribe("room:once", json!({})).await;
        let first = peer.publish("room:once", "a").await;
        // Its reply was lost, as far as this publisher knows; it comes back on another connection.
        let mut again = Peer::connect(&node, transport, &token("ann")).await;
        let retry = json!({ "channel": "room:once", "id": "a", "data": {}, "age_ms": 5000 });
        let reply = again.ask("publish", retry).await;
        assert!(reply["published"]["cursor"].is_string(), "{reply}");
        // The id belongs to its publisher: another one's is another event.
        let mut other = Peer::connect(&node, transport, &token("bob")).await;
        other.publish("room:once", "a").await;
        let last = peer.publish("room:once", "b").await;
        let events = peer.events("room:once", 3).await;
        let facts: Vec<_> = events.iter().map(|e| (e["id"].as_str(), e["publisher"].as_str())).collect();
        let wanted = [("a", "ann"), ("a", "bob"), ("b", "ann")].map(|(i, p)| (Some(i), Some(p)));
        assert_eq!(facts, wanted);
        assert!(peer.held().is_empty(), "{:?}", peer.held());
        assert_ne!(first, last);
    }

    async fn a_retry_past_the_horizon_is_refused_and_not_stored(transport: Transport) {
        let node = Node::start("[limits]\npublish_horizon_ms = 60000\n").await;
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        peer.subscribe("room:late", json!({})).await;
        let late = json!({ "channel": "room:late", "id": "a", "data": 1, "age_ms": 60001 });
        let reply = peer.ask("publish", late).await;
        assert_eq!(reply["error"]["code"], "horizon_passed");
        assert_eq!(reply["error"]["action"], "stop");
        let in_time = json!({ "channel": "room:late", "id": "a", "data": 1, "age_ms": 59000 });
        assert!(peer.ask("publish", in_time).await["published"].is_object());
        peer.publish("room:late", "end").await;
        assert_eq!(peer.event_ids("room:late", 2).await, ["a", "end"]);
    }

    async fn a_batch_tells_each_events_fate(transport: Transport) {
        let node = Node::start("[limits]\nevent_bytes = 1024\nbatch_events = 4\n").await;
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        peer.subscribe("room:batch", json!({})).await;
        let batch = json!({ "events": [
            { "channel": "room:batch", "id": "1", "data": 1 },
            { "channel": "closed:batch", "id": "2", "data": 1 },
            { "channel": "room:batch", "id": "3", "data": "x".repeat(1025) },
            { "channel": "room:batch", "id": "4", "data": 1 },
        ] });
        let reply = peer.ask("publish_batch", batch).await;
        let results = reply["published_batch"]["results"].as_array().expect("results");
        let codes: Vec<_> = results.iter().map(|r| r["error"]["code"].as_str()).collect();
        assert_eq!(codes, [None, Some("forbidden"), Some("event_too_large"), None]);
        assert_eq!(peer.event_ids("room:batch", 2).await, ["1", "4"]);
        let five = vec![json!({ "channel": "room:batch", "data": 1 }); 5];
        let reply = peer.ask("publish_batch", json!({ "events": five })).await;
        assert_eq!(reply["error"]["code"], "batch_too_large");
        assert_eq!(reply["error"]["limit"], 4);
    }

    async fn publishes_that_cannot_be_are_refused_with_their_code(transport: Transport) {
        let node = Node::start("[limits]\nevent_bytes = 1024\n").await;
        let mut peer = Peer::connect(&node, transport, &token("ann")).await;
        peer.subscribe("room:strict", json!({})).await;
        let deep = (0..129).fold(json!(1), |inner, _| json!([inner]));
        let of = |more: serde_json::Value| {
            let mut event = json!({ "channel": "room:strict", "id": "x" });
            for (name, value) in more.as_object().into_iter().flatten() {
                event[name] = value.clone();
            }
            event
        };
        let too_many: serde_json::Map<_, _> = (0..17).map(|n| (n.to_string(), json!("v"))).collect();
        for (event, code) in [
            (of(json!({ "data": "x".repeat(1023) })), "event_too_large"),
            (of(json!({ "channel": "closed:x", "data": 1 })), "forbidden"),
            (of(json!({ "channel": "unknown:x", "data": 1 })), "forbidden"),
            (of(json!({ "channel": "$user:ann", "data": 1 })), "forbidden"),
            (of(json!({ "channel": "no channel", "data": 1 })), "bad_channel"),
            (of(json!({ "id": "", "data": 1 })), "bad_request"),
            (of(json!({ "id": "i".repeat(65), "data": 1 })), "bad_request"),
            (of(json!({ "data": 1, "encoding": "delta" })), "unsupported"),
            (of(json!({ "data": 1, "kind": "surprise" })), "bad_request"),
            (of(json!({ "data": 1, "text": "both" })), "bad_request"),
            (of(json!({ "bin": "not base64" })), "bad_request"),
            (of(json!({ "data": 1, "headers": too_many })), "bad_request"),
            (of(json!({ "data": 1, "key": "k".repeat(256) })), "bad_request"),
            (of(json!({ "text": "no JSON", "content_type": "application/json" })), "bad_payload"),
            (of(json!({ "data": deep })), "bad_payload"),
        ] {
            let reply = peer.ask("publish", event.clone()).await;
            assert_eq!(reply["error"]["code"], code, "{event} answered {reply}");
        }
        peer.publish("room:strict", "good").await;
        assert_eq!(peer.event_ids("room:strict", 1).await, ["good"]);
    }

    async fn the_client_library_reports_refusals_with_their_code(transport: Transport) {
        let node = Node::start("").await;
        let client = connect(&node, transport, "ann").await;
        let refused = client.publish(Publish::json("closed:x", "1")).await;
        let Err(RequestError::Refused(error)) = refused else { panic!("{refused:?}") };
        assert_eq!(error.code, "forbidden");
    }

    async fn many_publishers_are_seen_in_one_order(transport: Transport) {
        let node = Node::start("").await;
        let (mut clients, mut readers) = (Vec::new(), Vec::new());
        for other in [Transport::WebSocket, Transport::WebTransport] {
            let client = connect(&node, other, "reader").await;
            readers.push(client.subscribe("room:busy", From::Now).await.expect("a subscription"));
            clients.push(client);
        }
        let publishers = (0..4).map(|n| {
            let node = &node;
            async move {
                let client = connect(node, transport, &format!("writer-{n}")).await;
                for k in 0..50 {
                    let event = Publish::json("room:busy", "1").id(format!("{n}-{k}"));
                    client.publish(event).await.expect("acknowledged");
                }
            }
        });
        futures_util::future::join_all(publishers).await;
        let first = next_ids(&mut readers[0], 200).await;
        let second = next_ids(&mut readers[1], 200).await;
        assert_eq!(first, second);
        for n in 0..4 {
            let own: Vec<_> = first.iter().filter(|id| id.starts_with(&format!("{n}-"))).collect();
            let wanted: Vec<_> = (0..50).map(|k| format!("{n}-{k}")).collect();
            assert_eq!(own, wanted.iter().collect::<Vec<_>>());
        }
    }
}
