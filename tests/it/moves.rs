//! One reader on every transport in turn, in two regions: its cursors are good on each, and it misses
//! nothing.

use std::net::SocketAddr;

use meridian_client::{CertificateHash, Choice, Client, From, Transport};
use serde_json::Value;

use crate::client::{next_event, token};
use crate::node::Node;
use crate::peer::{Peer, id_of};
use crate::web::{Ask, EventSource, VERSIONS, events_of};

type Place = (SocketAddr, CertificateHash);

const CHANNEL: &str = "room:moves";

/// A way to get the event behind a cursor.
#[derive(Clone, Copy, Debug)]
enum Way {
    Session(Transport),
    EventStream(http::Version),
    LongPoll(http::Version),
}

impl Way {
    /// The next event's id and the cursor behind it.
    async fn next(self, place: Place, cursor: &str) -> (String, String) {
        match self {
            Way::Session(transport) => {
                let client = Client::builder(format!("http://{}", place.0))
                    .certificate_hash(place.1)
                    .transport(Choice::Only(transport))
                    .token(token("reader"))
                    .connect()
                    .await
                    .expect("a connection");
                let from = From::Cursor(cursor.parse().expect("a cursor"));
                let mut room = client.subscribe(CHANNEL, from).await.expect("a subscription");
                let event = next_event(&mut room).await;
                (event.id.clone().expect("an id"), event.cursor().expect("a cursor").to_string())
            }
            Way::EventStream(version) => {
                let query = format!("/v1/sse?channel={CHANNEL}&cursor={cursor}");
                let ask = Ask::get_at(place, &query).token(&token("reader")).over(version);
                let events = EventSource::open(&ask).await.events(1).await;
                one(&events)
            }
            Way::LongPoll(version) => {
                let query = format!("/v1/poll?channel={CHANNEL}&cursor={cursor}");
                let ask = Ask::get_at(place, &query).token(&token("reader")).over(version);
                let (status, answer) = ask.whole().await;
                assert_eq!(status, 200, "{answer}");
                let messages = answer["messages"].as_array().expect("messages");
                let events: Vec<Value> = messages.iter().flat_map(events_of).collect();
                let (id, cursor) = one(&events);
                assert_eq!(answer["cursors"][CHANNEL], *cursor);
                (id, cursor)
            }
        }
    }
}

fn one(events: &[Value]) -> (String, String) {
    let [event] = events else { panic!("not one event: {events:?}") };
    (id_of(event), event["cursor"].as_str().expect("a cursor").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_changes_transport_and_region_at_each_event() {
    let node = Node::start_with("", &["--listen", "127.0.0.1:0", "--regions", "2"]).await;
    let places = [(node.client, node.certificate), node.others[0]];
    let mut writer = Peer::connect(&node, Transport::WebSocket, &token("writer")).await;
    let mut cursor = writer.publish(CHANNEL, "first").await;
    let ways = [
        Way::Session(Transport::WebSocket),
        Way::EventStream(VERSIONS[0]),
        Way::LongPoll(VERSIONS[2]),
        Way::Session(Transport::WebTransport),
        Way::EventStream(VERSIONS[2]),
        Way::LongPoll(VERSIONS[0]),
        Way::EventStream(VERSIONS[1]),
        Way::LongPoll(VERSIONS[1]),
    ];
    // An odd number of rounds, so that each way is taken in each region.
    for (n, way) in ways.iter().chain(&ways[1..]).enumerate() {
        let id = format!("e{n}");
        writer.publish(CHANNEL, &id).await;
        // At once: the other region's router may not be that far yet.
        let (seen, next) = way.next(places[n % 2], &cursor).await;
        assert_eq!(seen, id, "{way:?} in region {}", n % 2);
        cursor = next;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_streams_id_is_good_in_another_region() {
    let node = Node::start_with("", &["--listen", "127.0.0.1:0", "--regions", "2"]).await;
    let places = [(node.client, node.certificate), node.others[0]];
    let mut writer = Peer::connect(&node, Transport::WebSocket, &token("writer")).await;
    let query = "/v1/sse?channel=room:a&channel=room:b";
    let mut ask = Ask::get_at(places[0], query).token(&token("reader"));
    for n in 0..6 {
        let mut source = EventSource::open(&ask).await;
        if n == 0 {
            for _ in 0..2 {
                source.find("subscribed").await;
            }
        } else {
            assert_eq!(source.ids(1).await, [format!("e{n}")]);
        }
        let id = source.last_event_id.clone();
        drop(source);
        let channel = if n % 2 == 0 { "room:a" } else { "room:b" };
        writer.publish(channel, &format!("e{}", n + 1)).await;
        ask = Ask::get_at(places[(n + 1) % 2], query)
            .token(&token("reader"))
            .header("last-event-id", &id);
    }
}
