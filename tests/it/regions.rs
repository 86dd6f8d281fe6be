//! Several regions of one log in one process: one order everywhere, and cursors that are good anywhere.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use meridian_client::{Builder, CertificateHash, Choice, Client, From, Publish, Transport};
use serde_json::Value;

use crate::acks::go_on_with_nothing_but_a_name;
use crate::client::{go_on_elsewhere, next_ids, token};
use crate::node::{Node, eventually_async};
use crate::request;

type Place = (SocketAddr, CertificateHash);

async fn two_regions() -> (Node, [Place; 2]) {
    let arguments = ["--listen", "127.0.0.1:0", "--regions", "2"];
    let node = Node::start_with("", &arguments).await;
    let places = [(node.client, node.certificate), node.others[0]];
    (node, places)
}

async fn connect(place: Place, transport: Transport, user: &str) -> Client {
    builder(place, transport, user).connect().await.expect("a connection")
}

fn builder((address, certificate): Place, transport: Transport, user: &str) -> Builder {
    Client::builder(format!("http://{address}"))
        .certificate_hash(certificate)
        .transport(Choice::Only(transport))
        .connect_timeout(Duration::from_secs(30))
        .token(token(user))
}

#[tokio::test(flavor = "multi_thread")]
async fn all_see_one_sequence_whatever_their_region() {
    let (_node, places) = two_regions().await;
    let (channel, each) = ("room:everywhere", 50);
    let mut readers = Vec::new();
    for place in places {
        for transport in [Transport::WebSocket, Transport::WebTransport] {
            let client = connect(place, transport, "reader").await;
            let room = client.subscribe(channel, From::Now).await.expect("a subscription");
            readers.push((client, room));
        }
    }
    let write = async |place, name: &str| {
        let client = connect(place, Transport::WebSocket, name).await;
        for n in 0..each {
            let id = format!("{name}-{n}");
            let event = Publish::json(channel, "1").id(id);
            client.publish(event).await.expect("acknowledged");
        }
    };
    tokio::join!(write(places[0], "one"), write(places[1], "two"));
    let seen = join_all(readers.iter_mut().map(|(_, room)| next_ids(room, 2 * each))).await;
    for name in ["one", "two"] {
        let own: Vec<_> = seen[0].iter().filter(|id| id.starts_with(name)).cloned().collect();
        let sent: Vec<_> = (0..each).map(|n| format!("{name}-{n}")).collect();
        assert_eq!(own, sent, "a publisher's order");
    }
    for other in &seen[1..] {
        assert_eq!(other, &seen[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_one_region_goes_on_in_the_other() {
    let (_node, [here, there]) = two_regions().await;
    let places = [here, there];
    let connect =
        async |at: usize, transport, user: &str| connect(places[at], transport, user).await;
    go_on_elsewhere(20, connect).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_position_of_one_region_goes_on_in_the_other() {
    let (_node, places) = two_regions().await;
    let connect = async |at: usize| {
        let door = builder(places[at], Transport::WebSocket, "ann").subscriber("kiosk");
        door.connect().await.expect("a connection")
    };
    go_on_with_nothing_but_a_name(connect).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_region_tells_all_addresses() {
    let (_node, places) = two_regions().await;
    for (number, (address, _)) in places.iter().enumerate() {
        // The second region's router may still be taking its partitions over.
        let told: Value = eventually_async("both regions to serve", || async {
            let answer = request::get(*address, "/v1/regions").await.expect("an answer");
            assert_eq!(answer.status, 200);
            let told: Value = serde_json::from_str(&answer.body).expect("JSON");
            (told["state"] == "serving").then_some(told)
        })
        .await;
        assert_eq!(told["region"], format!("region-{}", number + 1));
        assert!(told["load"].as_f64().is_some_and(|load| (0.0..1.0).contains(&load)));
        let urls: Vec<_> = told["regions"].as_array().expect("a list").iter().collect();
        for ((address, _), told) in places.iter().zip(urls) {
            assert_eq!(told["url"], format!("http://{address}"));
        }
    }
}
