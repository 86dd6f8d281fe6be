//! Channels: their grammar, the key under which a log holds them, and the partition they belong to.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use super::Partition;
use super::text::{NameError, Tenant, check};

const MAX_BYTES: usize = 255;
const MAX_NAMESPACE_BYTES: usize = 32;

/// A channel inside a tenant: `namespace:name`, at most 255 bytes of printable ASCII without
/// space, quotes, backslash, `*?#<>{}` and backtick.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Channel {
    text: Arc<str>,
    namespace_bytes: u8,
}

/// The part of a channel before the first colon; it picks the policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace(Arc<str>);

/// A channel of a tenant.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelKey {
    pub tenant: Tenant,
    pub channel: Channel,
}

impl Channel {
    /// Checks the grammar.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check(text, "channel", MAX_BYTES, allowed)?;
        let bad_shape = NameError::BadShape { what: "channel", expected: "namespace:name" };
        let (namespace, name) = text.split_once(':').ok_or(bad_shape.clone())?;
        if name.is_empty() {
            return Err(bad_shape);
        }
        let namespace = Namespace::parse(namespace)?;
        Ok(Self { text: Arc::from(text), namespace_bytes: namespace.as_str().len() as u8 })
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part before the first colon.
    pub fn namespace(&self) -> &str {
        &self.text[..usize::from(self.namespace_bytes)]
    }

    /// The part after the first colon.
    pub fn name(&self) -> &str {
        &self.text[usize::from(self.namespace_bytes) + 1..]
    }
}

impl Namespace {
    /// Lower-case letters, digits, `-` and `_`, at most 32 bytes; a leading `$` marks the server's own.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let plain = text.strip_prefix('$').unwrap_or(text);
        check(plain, "namespace", MAX_NAMESPACE_BYTES - 1, |b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_')
        })?;
        Ok(Self(Arc::from(text)))
    }

    /// The text as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ChannelKey {
    /// The log's key: tenant and channel, each behind its length in one byte, so that no two pairs share one.
    pub fn log_key(&self) -> Vec<u8> {
        let (tenant, channel) = (self.tenant.as_str(), self.channel.as_str());
        let mut key = Vec::with_capacity(2 + tenant.len() + channel.len());
        key.push(tenant.len() as u8);
        key.extend_from_slice(tenant.as_bytes());
        key.push(channel.len() as u8);
        key.extend_from_slice(channel.as_bytes());
        key
    }
}

/// The partition of a log key: Kafka's default partitioner (murmur2, sign bit cleared, modulo), so
/// that other producers' tools agree with Meridian about where a key goes.
pub fn partition_of(log_key: &[u8], partitions: u32) -> Partition {
    Partition((murmur2(log_key) & 0x7fff_ffff) % partitions)
}

/// MurmurHash2, 32 bits, with Kafka's seed (`org.apache.kafka.common.utils.Utils.murmur2`).
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    let mut hash = SEED ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        k = k.wrapping_mul(M);
        k ^= k >> 24;
        k = k.wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let tail = words.remainder();
    if !tail.is_empty() {
        for (i, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * i);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

fn allowed(b: u8) -> bool {
    b.is_ascii_graphic()
        && !matches!(
            b,
            b'"' | b'\'' | b'\\' | b'*' | b'?' | b'#' | b'<' | b'>' | b'{' | b'}' | b'`'
        )
}

/// Lookups by text: order and hash are those of the text.
impl Borrow<str> for Namespace {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.text)
    }
}

impl fmt::Debug for ChannelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.channel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar() {
        let channel = Channel::parse("flights:SFO:gate-1").unwrap();
        assert_eq!((channel.namespace(), channel.name()), ("flights", "SFO:gate-1"));
        assert_eq!(Channel::parse("$user:auth0|1").unwrap().namespace(), "$user");
        for bad in ["", "flights", ":x", "flights:", "Flights:x", "a:b c", "a:b\n", "a:*", "$:x"] {
            assert!(Channel::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Channel::parse(&format!("a:{}", "x".repeat(253))).is_ok());
        assert!(Channel::parse(&format!("a:{}", "x".repeat(254))).is_err());
    }

    /// The values that Kafka's own unit test of `Utils.murmur2` states.
    #[test]
    fn murmur2_is_kafkas() {
        for (text, hash) in [
            ("21", -973932308_i32),
            ("foobar", -790332482),
            ("a-little-bit-long-string", -985981536),
            ("a-little-bit-longer-string", -1486304829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
            ("abc", 479470107),
        ] {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
    }

    #[test]
    fn log_keys_do_not_collide() {
        let key = |t: &str, c: &str| {
            ChannelKey { tenant: Tenant::parse(t).unwrap(), channel: Channel::parse(c).unwrap() }
                .log_key()
        };
        assert_ne!(key("a", "b:c"), key("ab", "c:c"));
        assert_eq!(key("t", "n:x"), b"\x01t\x03n:x");
    }
}
