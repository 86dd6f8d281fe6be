//! Reading hot history: markers, heads and events, each answer of one moment. Writes nothing.

use std::sync::Arc;

use fred::clients::{Client, WithOptions};
use fred::interfaces::ClientLike as _;
use fred::types::{ClusterHash, CustomCommand, Value};
use meridian_core::seams::{BackplaneError, HotHead, HotRead};
use meridian_core::vocabulary::{ChannelKey, Event, Position, Stream};

use crate::encoding::{HEADER_BYTES, decode_event, decode_prev};
use crate::keys::{PartitionKeys, member, place, position, read_marker};
use crate::scripts::{Script, unavailable, unexpected};

/// Channels of one call: their heads are an answer of some 20 KiB.
const HEADS: usize = 512;

/// The partition's marker.
pub(crate) async fn marker(
    client: &WithOptions<Client>,
    keys: &PartitionKeys,
) -> Result<Option<Position>, BackplaneError> {
    let get = CustomCommand::new_static("HGET", ClusterHash::FirstKey, false);
    let answer: Result<Option<String>, _> =
        client.custom(get, vec![keys.state(), "m".into()]).await;
    Ok(answer.map_err(|error| unavailable(&error))?.and_then(|text| read_marker(&text)))
}

/// One answer a channel, each with the marker of the same moment.
pub(crate) async fn heads(
    client: &WithOptions<Client>,
    script: &Script,
    keys: &PartitionKeys,
    stream: &Stream,
    channels: &[ChannelKey],
) -> Result<Vec<HotHead>, BackplaneError> {
    let mut heads = Vec::with_capacity(channels.len());
    for chunk in channels.chunks(HEADS) {
        let members = chunk.iter().map(|key| member(key).into()).collect();
        let answer = script.call(client, vec![keys.state(), keys.heads()], members).await?;
        let (marker, records): (String, Vec<Option<String>>) =
            answer.convert().map_err(|_| unexpected("no heads"))?;
        if records.len() != chunk.len() {
            return Err(unexpected("another number of heads than channels"));
        }
        let marker = read_marker(&marker);
        heads.extend(records.into_iter().map(|record| {
            let head = record.and_then(|record| head_of(&record, stream));
            HotHead { head, marker }
        }));
    }
    Ok(heads)
}

/// A channel and where its hot history is.
#[derive(Clone, Copy)]
pub(crate) struct Channel<'a> {
    pub(crate) keys: &'a PartitionKeys,
    pub(crate) key: &'a ChannelKey,
    pub(crate) stream: &'a Stream,
}

/// Up to `max_events` events after a position.
pub(crate) async fn read(
    client: &WithOptions<Client>,
    script: &Script,
    channel: Channel<'_>,
    after: Position,
    max_events: usize,
) -> Result<HotRead, BackplaneError> {
    let Channel { keys, key, stream } = channel;
    let from = match after.epoch.cmp(&stream.epoch) {
        std::cmp::Ordering::Less => "-".to_owned(),
        std::cmp::Ordering::Equal => (place(after) + 1).to_string(),
        std::cmp::Ordering::Greater => "+".to_owned(),
    };
    let from = if max_events == 0 { "+".to_owned() } else { from };
    let names = vec![keys.state(), keys.heads(), keys.events(key)];
    let args = vec![
        member(key).into(),
        from.into(),
        Value::Integer(i64::try_from(max_events).unwrap_or(i64::MAX)),
        Value::Integer(HEADER_BYTES as i64),
    ];
    let answer = script.call(client, names, args).await?;
    let told: (String, String, Value, Vec<Value>) =
        answer.convert().map_err(|_| unexpected("no read"))?;
    read_answer(told, key, stream)
}

fn read_answer(
    (marker, record, oldest, events): (String, String, Value, Vec<Value>),
    key: &ChannelKey,
    stream: &Stream,
) -> Result<HotRead, BackplaneError> {
    let marker = read_marker(&marker);
    if record.is_empty() {
        return Ok(HotRead { marker, ..HotRead::default() });
    }
    let oldest = oldest.as_bytes().and_then(|bytes| decode_prev(bytes).ok());
    let read: Option<Vec<Arc<Event>>> = events
        .into_iter()
        .map(|event| decode_event(key, stream, event.as_bytes()?).ok().map(Arc::new))
        .collect();
    match (oldest, read) {
        (Some(prev), Some(events)) => {
            let head = head_of(&record, stream);
            Ok(HotRead { events, oldest_prev: Some(prev), head, marker })
        }
        _ => Err(unexpected("an event of an unknown format")),
    }
}

/// The head in a channel's record.
fn head_of(record: &str, stream: &Stream) -> Option<Position> {
    let place = record.split(' ').next()?.parse().ok()?;
    Some(position(stream.epoch, place))
}
