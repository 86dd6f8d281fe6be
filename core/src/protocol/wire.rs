//! The messages as serde sees them, generic over how a codec holds raw payloads (`R`). Unknown
//! fields are ignored by construction; which member is present names the message.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Limits;

type Text<'a> = Cow<'a, str>;

#[derive(Serialize, Deserialize)]
pub(super) struct Empty {}

macro_rules! wire {
    ($name:ident<$($generic:tt),*> { $($field:ident: $type:ty,)* }) => {
        #[derive(Serialize, Deserialize)]
        pub(super) struct $name<$($generic),*> {
            $(#[serde(default, skip_serializing_if = "Option::is_none")] pub(super) $field: Option<$type>,)*
        }

        impl<$($generic),*> Default for $name<$($generic),*> {
            fn default() -> Self { Self { $($field: None,)* } }
        }
    };
}

wire!(CommandWire<'a, R> {
    id: u64,
    connect: ConnectWire<'a>,
    subscribe: SubscribeWire<'a>,
    unsubscribe: ChannelWire<'a>,
    publish: PublishWire<'a, R>,
    publish_batch: PublishBatchWire<'a, R>,
    ack: AckWire<'a>,
    history: HistoryRequestWire<'a>,
    refresh: RefreshWire<'a>,
    ping: Empty,
    pong: Empty,
});

wire!(MessageWire<'a, R> {
    id: u64,
    connected: ConnectedWire<'a>,
    subscribed: SubscribedWire<'a>,
    unsubscribed: UnsubscribedWire<'a>,
    published: PublishedWire<'a>,
    published_batch: PublishedBatchWire<'a>,
    acked: ChannelWire<'a>,
    history: HistoryPageWire<'a, R>,
    refreshed: RefreshedWire,
    pong: Empty,
    error: ErrorWire<'a>,
    events: EventsWire<'a, R>,
    gap: GapWire<'a>,
    values: EventsWire<'a, R>,
    conflated: ConflatedWire<'a>,
    skipped: SkippedWire<'a>,
    drain: DrainWire,
    redirect: RedirectWire<'a>,
    mode: ModeWire<'a>,
    ping: Empty,
});

/// Only the id of a command, to answer one whose fields are wrong.
#[derive(Deserialize)]
pub(super) struct IdOnly {
    #[serde(default)]
    pub(super) id: Option<u64>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ConnectWire<'a> {
    pub(super) protocol: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) capabilities: Vec<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) subscriber: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) client: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reconnect: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fallback: Option<FallbackWire<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) redirected: Option<Text<'a>>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct FallbackWire<'a> {
    pub(super) from: Text<'a>,
    pub(super) reason: Text<'a>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ChannelWire<'a> {
    pub(super) channel: Text<'a>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct SubscribeWire<'a> {
    pub(super) channel: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cursor: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last: Option<u32>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) acked: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) struct PublishWire<'a, R> {
    pub(super) channel: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) headers: Option<Cow<'a, BTreeMap<String, String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) content_type: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) encoding: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) trace: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) age_ms: u64,
    // An absent member and `null` differ for JSON: `"data":null` is the value null.
    #[serde(default = "none", skip_serializing_if = "Option::is_none", deserialize_with = "some")]
    #[serde(bound(deserialize = "R: Deserialize<'de>"))]
    pub(super) data: Option<R>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) bin: Option<Text<'a>>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct PublishBatchWire<'a, R> {
    #[serde(bound(deserialize = "R: Deserialize<'de>"))]
    pub(super) events: Vec<PublishWire<'a, R>>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct AckWire<'a> {
    pub(super) channel: Text<'a>,
    pub(super) cursor: Text<'a>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) reset: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) struct HistoryRequestWire<'a> {
    pub(super) channel: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) limit: Option<u32>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct RefreshWire<'a> {
    pub(super) token: Text<'a>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ConnectedWire<'a> {
    pub(super) protocol: u32,
    pub(super) session: Text<'a>,
    pub(super) node: Text<'a>,
    pub(super) region: Text<'a>,
    pub(super) tenant: Text<'a>,
    pub(super) user: Text<'a>,
    #[serde(default)]
    pub(super) capabilities: Vec<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires_in_ms: Option<u64>,
    pub(super) limits: Limits,
}

#[derive(Serialize, Deserialize)]
pub(super) struct SubscribedWire<'a> {
    pub(super) channel: Text<'a>,
    pub(super) class: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stream: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) epoch: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) offset: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) behind: Option<Text<'a>>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct UnsubscribedWire<'a> {
    pub(super) channel: Text<'a>,
    pub(super) code: Text<'a>,
    #[serde(default)]
    pub(super) action: Text<'a>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct PublishedWire<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cursor: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<ErrorWire<'a>>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct PublishedBatchWire<'a> {
    pub(super) results: Vec<PublishedWire<'a>>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct HistoryPageWire<'a, R> {
    pub(super) channel: Text<'a>,
    pub(super) stream: Text<'a>,
    pub(super) epoch: u32,
    pub(super) offset: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gone: Option<GoneWire<'a>>,
    #[serde(bound(deserialize = "R: Deserialize<'de>"))]
    pub(super) events: Vec<EventWire<'a, R>>,
    pub(super) more: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) struct GoneWire<'a> {
    pub(super) reason: Text<'a>,
    pub(super) epoch: u32,
    pub(super) offset: i64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct RefreshedWire {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires_in_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ErrorWire<'a> {
    pub(super) code: Text<'a>,
    pub(super) message: Text<'a>,
    pub(super) action: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) retry_after_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) limit: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) applied: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) elsewhere: Vec<PlaceWire<'a>>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct PlaceWire<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) region: Option<Text<'a>>,
    pub(super) url: Text<'a>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct EventsWire<'a, R> {
    pub(super) channel: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stream: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) epoch: Option<u32>,
    #[serde(bound(deserialize = "R: Deserialize<'de>"))]
    pub(super) events: Vec<EventWire<'a, R>>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct EventWire<'a, R> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) offset: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) prev: Option<PrevWire<'a>>,
    pub(super) time: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) headers: Option<Cow<'a, BTreeMap<String, String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) content_type: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) encoding: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) publisher: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) evicts: Vec<Text<'a>>,
    #[serde(default = "none", skip_serializing_if = "Option::is_none", deserialize_with = "some")]
    #[serde(bound(deserialize = "R: Deserialize<'de>"))]
    pub(super) data: Option<R>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) bin: Option<Text<'a>>,
}

/// `prev` where it is present; `Nothing` is null. A null that is read becomes an absent `prev`.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum PrevWire<'a> {
    Same(i64),
    Other((u32, i64)),
    Word(Text<'a>),
    Nothing,
}

#[derive(Serialize, Deserialize)]
pub(super) struct GapWire<'a> {
    pub(super) channel: Text<'a>,
    pub(super) reason: Text<'a>,
    pub(super) from: Text<'a>,
    pub(super) stream: Text<'a>,
    pub(super) epoch: u32,
    pub(super) offset: i64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ConflatedWire<'a> {
    pub(super) channel: Text<'a>,
    pub(super) stream: Text<'a>,
    pub(super) epoch: u32,
    pub(super) offset: i64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct SkippedWire<'a> {
    pub(super) channel: Text<'a>,
    pub(super) count: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct DrainWire {
    pub(super) after_ms: u64,
    pub(super) deadline_ms: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct RedirectWire<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) region: Option<Text<'a>>,
    pub(super) url: Text<'a>,
    #[serde(default)]
    pub(super) reason: Text<'a>,
    #[serde(default)]
    pub(super) after_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) deadline_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ModeWire<'a> {
    pub(super) mode: Text<'a>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) namespaces: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) after_ms: u64,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn none<R>() -> Option<R> {
    None
}

fn some<'de, D, R>(deserializer: D) -> Result<Option<R>, D::Error>
where
    D: serde::Deserializer<'de>,
    R: Deserialize<'de>,
{
    R::deserialize(deserializer).map(Some)
}
