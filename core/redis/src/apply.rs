//! The apply step: chunks that no script runs long on, one after the other. Owns the arguments of the
//! script and the reading of its outcomes; decides nothing about events.

use bytes::Bytes;
use fred::clients::{Client, WithOptions};
use fred::types::Value;
use meridian_core::policy::{Policies, Retention};
use meridian_core::seams::{Applied, ApplyOutcome, BackplaneError};
use meridian_core::vocabulary::{ChannelKey, Prev, Stream};

use crate::encoding::encode_event;
use crate::keys::{PartitionKeys, marker, place, read_marker};
use crate::options::HotBounds;
use crate::scripts::{Scripts, unexpected};

/// Of one script call: some milliseconds of a server that does nothing else meanwhile.
const CHUNK_EVENTS: usize = 256;
const CHUNK_BYTES: usize = 1 << 20;
/// Lua's numbers are whole up to here.
const MOST: u64 = 1 << 53;

/// One call of the script.
struct Chunk {
    keys: Vec<String>,
    bounds: Vec<Value>,
    events: Vec<Value>,
    taken: usize,
}

/// How much is kept of a channel: what its policy says, within the backplane's own bounds.
pub(crate) fn keep_of(key: &ChannelKey, policies: &Policies, hot: HotBounds) -> [Value; 3] {
    let all = Retention { events: u64::MAX, bytes: u64::MAX, age_ms: u64::MAX };
    let keep = policies.of(&key.channel).map_or(all, |policy| policy.retention);
    [
        number(keep.events.min(hot.channel_events)),
        number(keep.bytes.min(hot.channel_bytes)),
        number(keep.age_ms),
    ]
}

/// A number of Lua's.
pub(crate) fn number(value: u64) -> Value {
    Value::Integer(value.min(MOST) as i64)
}

/// The keys that every script on hot history takes first.
pub(crate) fn partition_keys(keys: &PartitionKeys) -> Vec<String> {
    vec![keys.state(), keys.registry(), keys.heads(), keys.overfull()]
}

/// Applies in order; stops at the first that is neither applied nor a repeat, or at a failure after
/// the first chunk, of which the caller learns when it goes on from there.
pub(crate) async fn apply(
    client: &WithOptions<Client>,
    scripts: &Scripts,
    keys: &PartitionKeys,
    stream: &Stream,
    events: &[Applied],
    keep: impl Fn(&ChannelKey) -> [Value; 3],
) -> Result<Vec<ApplyOutcome>, BackplaneError> {
    let mut outcomes = Vec::with_capacity(events.len());
    while outcomes.len() < events.len() {
        let chunk = Chunk::of(&events[outcomes.len()..], keys, &keep);
        let taken = chunk.taken;
        let answer = scripts.apply.call(client, chunk.keys.clone(), chunk.into_args(keys, stream));
        let told = match answer.await {
            Ok(answer) => read_outcomes(answer)?,
            Err(error) if outcomes.is_empty() => return Err(error),
            Err(_) => break,
        };
        let ended = matches!(told.last(), None | Some(ApplyOutcome::Mismatch { .. }));
        if told.len() > taken || (told.len() < taken && !ended) {
            return Err(unexpected("another number of outcomes than events"));
        }
        outcomes.extend(told);
        if ended {
            break;
        }
    }
    Ok(outcomes)
}

impl Chunk {
    fn of(
        events: &[Applied],
        keys: &PartitionKeys,
        keep: impl Fn(&ChannelKey) -> [Value; 3],
    ) -> Self {
        let mut chunk =
            Self { keys: partition_keys(keys), bounds: Vec::new(), events: Vec::new(), taken: 0 };
        let mut numbers = std::collections::HashMap::<&ChannelKey, i64>::new();
        let mut bytes = 0;
        for applied in events.iter().take(CHUNK_EVENTS) {
            let stored = encode_event(&applied.event);
            bytes += stored.len();
            if chunk.taken > 0 && bytes > CHUNK_BYTES {
                break;
            }
            let key = &applied.event.key;
            let next = numbers.len() as i64 + 1;
            let number = *numbers.entry(key).or_insert_with(|| {
                chunk.keys.push(keys.events(key));
                chunk.bounds.extend(keep(key));
                next
            });
            chunk.push(number, applied, stored);
        }
        chunk
    }

    fn push(&mut self, number: i64, applied: &Applied, stored: Bytes) {
        let event = &applied.event;
        let prev = match event.prev {
            Prev::At(prev) if prev.epoch == event.stream.epoch => place(prev).to_string(),
            _ => "-".to_owned(),
        };
        self.events.extend([
            Value::Integer(number),
            marker(applied.last_kept_before).into(),
            place(event.position()).to_string().into(),
            prev.into(),
            Value::Bytes(stored),
        ]);
        self.taken += 1;
    }

    fn into_args(self, keys: &PartitionKeys, stream: &Stream) -> Vec<Value> {
        let channels = self.bounds.len() / 3;
        let mut args = Vec::with_capacity(3 + self.bounds.len() + self.events.len());
        args.push(number(keys.events_prefix_bytes() as u64));
        args.push(Value::Integer(stream.epoch.0.into()));
        args.push(Value::Integer(channels as i64));
        args.extend(self.bounds);
        args.extend(self.events);
        args
    }
}

fn read_outcomes(answer: Value) -> Result<Vec<ApplyOutcome>, BackplaneError> {
    let (letters, marker): (String, String) =
        answer.convert().map_err(|_| unexpected("no outcomes"))?;
    let marker = read_marker(&marker);
    let outcome = |letter| match letter {
        'A' => Ok(ApplyOutcome::Applied),
        'R' => Ok(ApplyOutcome::Repeat),
        'M' => Ok(ApplyOutcome::Mismatch { marker }),
        _ => Err(unexpected("an unknown outcome")),
    };
    letters.chars().map(outcome).collect()
}
