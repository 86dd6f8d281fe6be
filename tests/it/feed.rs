//! A feed over a running node: whoever comes, comes back or is slow has the newest value of every key.

use std::collections::BTreeMap;

use meridian_client::{From, LiveMap, Publish, Subscription, Transport};

use crate::client::connect;
use crate::node::{Node, in_time};

const CHANNEL: &str = "scores:all";
/// A ring that holds few events, so that readers need the history.
const FEED: &str = "[hub]\nring_events = 4\n[namespaces.scores]\nclass = \"feed\"\nfeed = { keys = 6 }\n\
                    subscribe = [\"tenant\"]\npublish = [\"tenant\"]";

/// Takes updates until the map holds just these values.
async fn comes_to(map: &mut LiveMap, feed: &mut Subscription, expected: &BTreeMap<String, String>) {
    let held = |map: &LiveMap| -> BTreeMap<String, String> {
        let text = |data: &[u8]| String::from_utf8_lossy(data).into_owned();
        map.iter().map(|(key, event)| (key.to_owned(), text(&event.body.data))).collect()
    };
    while held(map) != *expected {
        let what = format!("an update, {map:?} is not {expected:?}");
        let update = in_time(&what, feed.next()).await.expect("an update");
        map.apply(&update);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_converge_on_both_transports_and_after_a_crash() {
    let mut node = Node::start(FEED).await;
    let writer = connect(&node, Transport::WebSocket, "writer").await;
    let mut expected = BTreeMap::new();
    let mut first = None;
    for n in 0..40 {
        let (key, value) = (format!("k{}", n % 9), n.to_string());
        let publish = Publish::json(CHANNEL, value.clone()).key(&key);
        let receipt = writer.publish(publish).await.expect("acknowledged");
        first = first.or(receipt.cursor);
        expected.insert(key, value);
    }
    // The six that changed last, and one of them removed.
    let mut newest: Vec<_> = expected.into_iter().collect();
    newest.sort_by_key(|(_, value)| std::cmp::Reverse(value.parse::<u32>().expect("a number")));
    newest.truncate(6);
    let mut expected: BTreeMap<_, _> = newest.into_iter().collect();
    let (gone, _) = expected.pop_first().expect("six");
    writer.publish(Publish::remove(CHANNEL, gone)).await.expect("acknowledged");

    for transport in [Transport::WebSocket, Transport::WebTransport] {
        let reader = connect(&node, transport, "reader").await;
        let mut feed = reader.subscribe(CHANNEL, From::Now).await.expect("a subscription");
        assert_eq!(feed.class(), "feed");
        comes_to(&mut LiveMap::default(), &mut feed, &expected).await;
    }

    // From before the evictions, and by a node that only has what is stored.
    node.kill();
    node.restart().await;
    let reader = connect(&node, Transport::WebSocket, "reader").await;
    let from = From::Cursor(first.expect("a cursor"));
    let mut feed = reader.subscribe(CHANNEL, from).await.expect("a subscription");
    let mut map = LiveMap::default();
    comes_to(&mut map, &mut feed, &expected).await;
    let writer = connect(&node, Transport::WebSocket, "writer").await;
    for (key, value) in [("x", "1"), ("y", "2")] {
        writer.publish(Publish::json(CHANNEL, value).key(key)).await.expect("acknowledged");
        expected.insert(key.to_owned(), value.to_owned());
    }
    // Seven: the oldest leaves, though the router began anew.
    let oldest = expected.iter().min_by_key(|(key, value)| {
        if key.starts_with('k') { value.parse::<u32>().expect("a number") } else { u32::MAX }
    });
    let oldest = oldest.expect("seven").0.clone();
    expected.remove(&oldest);
    comes_to(&mut map, &mut feed, &expected).await;
}
