//! The layout of keys and shard channels. Owns every name that is stored in Redis or published on;
//! never a command.
//!
//! `P` is the deployment's prefix; `{T}` is `{log.epoch.partition}`, the hash tag that puts all of a
//! partition on one node of a cluster; `C` is `tenant/channel` (a tenant has no `/`).
//!
//! | key | type | holds |
//! |---|---|---|
//! | `P:{T}:p` | hash | the partition: `m` marker, `t` trim limit, `b` bytes of hot history |
//! | `P:{T}:c` | sorted set | registry: each `C` with hot history, by the place of its last event |
//! | `P:{T}:h` | hash | each `C`: `head bytes oldest_ms newest_ms events` |
//! | `P:{T}:o` | set | each `C` beyond its bounds whose oldest events may not go yet |
//! | `P:{T}:e:C` | stream | hot history, entry `place-0`, field `e`: an encoded event |
//!
//! | shard channel | carries |
//! |---|---|
//! | `P:{T}:e:C` | each event as it is applied |
//! | `P:{x.B}:x:C` | ephemeral events; `B` is one of 64 buckets, by the log key |
//! | `P:{T}:f:N`, `P:{x.B}:f:N` | nothing: subscribed with others, its confirmation tells theirs apart |
//!
//! A *place* is the offset to read next after a position (−1 becomes 0): it is never negative, and a
//! stream's entry with place 1 is the event at offset 0. A *marker* is `epoch:place`.

use meridian_core::vocabulary::{ChannelKey, Epoch, Position, Stream, partition_of};

/// Ephemeral events know no partition: their channels are spread over this many hash tags, so that
/// they too can be subscribed in batches.
const EPHEMERAL_BUCKETS: u32 = 64;

/// The keys of one partition.
#[derive(Debug, Clone)]
pub(crate) struct PartitionKeys {
    base: String,
}

/// The names of one deployment.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    prefix: String,
}

impl Layout {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    pub(crate) fn partition(&self, stream: &Stream) -> PartitionKeys {
        let (log, epoch, partition) = (&stream.log, stream.epoch.0, stream.partition.0);
        PartitionKeys { base: format!("{}:{{{log}.{epoch}.{partition}}}:", self.prefix) }
    }

    /// The shard channel of a channel's ephemeral events.
    pub(crate) fn ephemeral(&self, key: &ChannelKey) -> String {
        format!("{}x:{}", self.ephemeral_base(key), member(key))
    }

    /// What the shard channels of a bucket begin with.
    pub(crate) fn ephemeral_base(&self, key: &ChannelKey) -> String {
        let bucket = partition_of(&key.log_key(), EPHEMERAL_BUCKETS).0;
        format!("{}:{{x.{bucket}}}:", self.prefix)
    }
}

impl Layout {
    /// One of the ledger's keys.
    pub(crate) fn ledger(&self, name: &str) -> String {
        format!("{}:{{tokens}}:{name}", self.prefix)
    }
}

impl PartitionKeys {
    /// What all names of the partition begin with.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) fn state(&self) -> String {
        format!("{}p", self.base)
    }

    pub(crate) fn registry(&self) -> String {
        format!("{}c", self.base)
    }

    pub(crate) fn heads(&self) -> String {
        format!("{}h", self.base)
    }

    pub(crate) fn overfull(&self) -> String {
        format!("{}o", self.base)
    }

    /// A channel's hot history, and the shard channel of its events.
    pub(crate) fn events(&self, key: &ChannelKey) -> String {
        self.events_of(&member(key))
    }

    /// The same of a member of the registry.
    pub(crate) fn events_of(&self, member: &str) -> String {
        format!("{}e:{member}", self.base)
    }

    /// Bytes of `events` before the member.
    pub(crate) fn events_prefix_bytes(&self) -> usize {
        self.base.len() + 2
    }
}

/// A shard channel that nobody publishes on.
pub(crate) fn fence(base: &str, number: u64) -> String {
    format!("{base}f:{number}")
}

/// A channel in a partition's registry.
pub(crate) fn member(key: &ChannelKey) -> String {
    format!("{}/{}", key.tenant, key.channel)
}

/// The channel of a registry's member.
pub(crate) fn channel_of(member: &str) -> Option<ChannelKey> {
    use meridian_core::vocabulary::{Channel, Tenant};
    let (tenant, channel) = member.split_once('/')?;
    Some(ChannelKey { tenant: Tenant::parse(tenant).ok()?, channel: Channel::parse(channel).ok()? })
}

/// A position's place in its epoch.
pub(crate) fn place(position: Position) -> u64 {
    position.next_offset().0
}

/// The position of a place.
pub(crate) fn position(epoch: Epoch, place: u64) -> Position {
    Position { epoch, passed: place as i64 - 1 }
}

/// A position as a marker.
pub(crate) fn marker(position: Position) -> String {
    format!("{}:{}", position.epoch.0, place(position))
}

/// Reads a marker.
pub(crate) fn read_marker(text: &str) -> Option<Position> {
    let (epoch, place) = text.split_once(':')?;
    let place: u64 = place.parse().ok().filter(|place| *place < 1 << 53)?;
    Some(position(Epoch(epoch.parse().ok()?), place))
}

#[cfg(test)]
mod tests {
    use meridian_core::vocabulary::{Channel, LogName, Partition, Tenant};

    use super::*;

    fn key() -> ChannelKey {
        ChannelKey {
            tenant: Tenant::parse("acme").unwrap(),
            channel: Channel::parse("flights:SFO/gate-1").unwrap(),
        }
    }

    /// What is stored is dear to change: other nodes read and write these names.
    #[test]
    fn golden_names() {
        let stream = Stream {
            log: LogName::parse("global").unwrap(),
            epoch: Epoch(2),
            partition: Partition(17),
        };
        let layout = Layout::new("mrd");
        let keys = layout.partition(&stream);
        assert_eq!(keys.state(), "mrd:{global.2.17}:p");
        assert_eq!(keys.registry(), "mrd:{global.2.17}:c");
        assert_eq!(keys.heads(), "mrd:{global.2.17}:h");
        assert_eq!(keys.overfull(), "mrd:{global.2.17}:o");
        assert_eq!(keys.events(&key()), "mrd:{global.2.17}:e:acme/flights:SFO/gate-1");
        assert_eq!(&keys.events(&key())[keys.events_prefix_bytes()..], member(&key()));
        assert_eq!(layout.ephemeral(&key()), "mrd:{x.8}:x:acme/flights:SFO/gate-1");
        assert_eq!(layout.ledger("r"), "mrd:{tokens}:r");
        assert_eq!(fence(keys.base(), 7), "mrd:{global.2.17}:f:7");
    }

    #[test]
    fn members_are_read_back() {
        assert_eq!(channel_of(&member(&key())), Some(key()));
        assert_eq!(channel_of("no-slash"), None);
    }

    #[test]
    fn markers_are_read_back() {
        for passed in [-1, 0, 1 << 40] {
            let position = Position { epoch: Epoch(3), passed };
            assert_eq!(read_marker(&marker(position)), Some(position));
        }
        assert_eq!(marker(Position::start_of(Epoch(1))), "1:0");
        for bad in ["", "1", "1:", "1:-1", "x:1", "1:9007199254740992"] {
            assert_eq!(read_marker(bad), None, "{bad:?}");
        }
    }
}
