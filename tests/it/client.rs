//! The client library against a node of these tests, and tokens for it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use meridian_client::{
    Builder, Choice, Client, Event, From, Publish, Subscription, Transport, Update,
};
use meridian_core::auth::{Claims, Grant, SigningKey, mint};
use meridian_core::vocabulary::{Channel, Tenant, UserId};

use crate::SECRET;
use crate::node::{Node, in_time};

/// What a token is to say beside its user.
#[derive(Clone, Copy, Default)]
pub(crate) struct Rights {
    pub(crate) roles: &'static [&'static str],
    /// As in `room:*=subscribe,publish`.
    pub(crate) grants: &'static [&'static str],
    pub(crate) subscribe: &'static [&'static str],
    pub(crate) ttl: Option<Duration>,
}

/// A token of the tenant `acme`, good for an hour.
pub(crate) fn token(user: &str) -> String {
    token_with(user, &Rights::default())
}

/// A token with more rights, or another life.
pub(crate) fn token_with(user: &str, rights: &Rights) -> String {
    let mut claims = claims(user);
    claims.roles = rights.roles.iter().map(|&role| role.to_owned()).collect();
    claims.grants = rights.grants.iter().map(|grant| read_grant(grant)).collect();
    claims.subscribe = rights
        .subscribe
        .iter()
        .map(|channel| Channel::parse(channel).expect("a channel"))
        .collect();
    if let Some(ttl) = rights.ttl {
        claims.ttl_ms = Some(ttl.as_millis() as u64);
    }
    signed(&claims, SECRET, now_ms())
}

/// Claims of the tenant `acme`.
pub(crate) fn claims(user: &str) -> Claims {
    Claims::new(Tenant::parse("acme").expect("a tenant"), UserId::parse(user).expect("a user"))
}

/// A token signed with a secret at a time.
pub(crate) fn signed(claims: &Claims, secret: &str, now_ms: u64) -> String {
    let key = SigningKey::hs256("main", secret.as_bytes()).expect("a good secret");
    mint(&key, claims, now_ms).expect("claims within the bounds")
}

/// A reader that changes between two regions (0 and 1) at each event, on from its cursor, and misses none.
pub(crate) async fn go_on_elsewhere(
    rounds: usize,
    connect: impl AsyncFn(usize, Transport, &str) -> Client,
) {
    let channel = "room:moves";
    let writer = connect(0, Transport::WebSocket, "writer").await;
    let mut reader = connect(0, Transport::WebTransport, "reader").await;
    let mut room = reader.subscribe(channel, From::Now).await.expect("a subscription");
    for n in 0..rounds {
        let publish = |part: &str| Publish::json(channel, "1").id(format!("{n}-{part}"));
        writer.publish(publish("seen")).await.expect("acknowledged");
        let seen = next_event(&mut room).await;
        assert_eq!(seen.id.as_deref(), Some(format!("{n}-seen").as_str()));
        let cursor = seen.cursor().expect("a cursor");
        drop((room, reader));
        writer.publish(publish("missed")).await.expect("acknowledged");
        // At once: the other region's router may not be that far yet.
        reader = connect((n + 1) % 2, Transport::WebSocket, "reader").await;
        room = reader.subscribe(channel, From::Cursor(cursor)).await.expect("a subscription");
        assert_eq!(next_ids(&mut room, 1).await, [format!("{n}-missed")]);
    }
}

/// A token of somebody who may change how nodes work.
pub(crate) fn operator_token() -> String {
    token_with("olga", &Rights { roles: &["meridian-operator"], ..Rights::default() })
}

pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64
}

fn read_grant(text: &str) -> Grant {
    text.parse().unwrap_or_else(|_| panic!("not a grant: {text}"))
}

/// A client of the node that reconnects quickly.
pub(crate) fn builder(node: &Node, transport: Transport) -> Builder {
    Client::builder(node.url())
        .certificate_hash(node.certificate)
        .transport(Choice::Only(transport))
        .reconnect_delay(Duration::from_millis(50), Duration::from_millis(500))
        .connect_timeout(Duration::from_secs(30))
}

/// A connected client of the user.
pub(crate) async fn connect(node: &Node, transport: Transport, user: &str) -> Client {
    builder(node, transport).token(token(user)).connect().await.expect("a connection")
}

/// The next event; anything else fails the test.
pub(crate) async fn next_event(subscription: &mut Subscription) -> Event {
    let what = format!("an event of {}", subscription.channel());
    match in_time(&what, subscription.next()).await {
        Some(Update::Event(event)) => event,
        other => panic!("{what}: {other:?}"),
    }
}

/// The ids of the next events.
pub(crate) async fn next_ids(subscription: &mut Subscription, count: usize) -> Vec<String> {
    let mut ids = Vec::with_capacity(count);
    while ids.len() < count {
        ids.push(next_event(subscription).await.id.expect("an id"));
    }
    ids
}
