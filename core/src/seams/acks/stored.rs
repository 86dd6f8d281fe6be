//! The stored form of an acknowledged position: a key and a value, as a compacted topic has them. Pure.
//!
//! Key: tenant, user, subscriber and channel, each behind its length in one byte. Value, version 1: the
//! version (a byte), the generation (u64, big endian), then the cursor's text to the end. The time is
//! the store's, which stamps each record.

use crate::seams::{Acknowledged, AcknowledgedKey, KeyedAck};
use crate::vocabulary::{Channel, Cursor, LogName, SubscriberName, Tenant, UserId};

const VERSION: u8 = 1;
/// Stores count in signed numbers.
const MAX_GENERATION: u64 = i64::MAX as u64;

/// Why a record can't be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AckDamage {
    #[error("the value's version {0} is newer than this code")]
    Newer(u8),
    #[error("the record is damaged")]
    Damaged,
    #[error("the position is in another log")]
    OtherLog,
}

/// The stored key.
pub fn ack_key(key: &AcknowledgedKey) -> Vec<u8> {
    let parts =
        [key.tenant.as_str(), key.user.as_str(), key.subscriber.as_str(), key.channel.as_str()];
    let mut out = Vec::with_capacity(parts.iter().map(|part| 1 + part.len()).sum());
    for part in parts {
        out.push(part.len() as u8);
        out.extend_from_slice(part.as_bytes());
    }
    out
}

/// The stored value.
pub fn ack_value(acknowledged: &Acknowledged) -> Vec<u8> {
    let cursor = acknowledged.cursor.to_string();
    let mut out = Vec::with_capacity(9 + cursor.len());
    out.push(VERSION);
    out.extend_from_slice(&acknowledged.generation.to_be_bytes());
    out.extend_from_slice(cursor.as_bytes());
    out
}

/// Reads a record of this log's positions.
pub fn read_ack(log: &LogName, key: &[u8], value: &[u8]) -> Result<KeyedAck, AckDamage> {
    let key = read_key(key).ok_or(AckDamage::Damaged)?;
    let acknowledged = match value.split_first() {
        Some((&VERSION, rest)) => read_value(rest).ok_or(AckDamage::Damaged)?,
        Some((&version, _)) if version > VERSION => return Err(AckDamage::Newer(version)),
        _ => return Err(AckDamage::Damaged),
    };
    if acknowledged.cursor.log != *log {
        return Err(AckDamage::OtherLog);
    }
    Ok((key, acknowledged))
}

fn read_key(mut bytes: &[u8]) -> Option<AcknowledgedKey> {
    let mut part = || {
        let (length, rest) = bytes.split_first()?;
        let (text, rest) = rest.split_at_checked(usize::from(*length))?;
        bytes = rest;
        std::str::from_utf8(text).ok()
    };
    let key = AcknowledgedKey {
        tenant: Tenant::parse(part()?).ok()?,
        user: UserId::parse(part()?).ok()?,
        subscriber: SubscriberName::parse(part()?).ok()?,
        channel: Channel::parse(part()?).ok()?,
    };
    bytes.is_empty().then_some(key)
}

fn read_value(bytes: &[u8]) -> Option<Acknowledged> {
    let (generation, cursor) = bytes.split_first_chunk()?;
    let generation = u64::from_be_bytes(*generation);
    let cursor = Cursor::parse(std::str::from_utf8(cursor).ok()?).ok()?;
    (generation <= MAX_GENERATION).then_some(Acknowledged { generation, cursor })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vocabulary::{Epoch, Partition, Position};

    fn log() -> LogName {
        LogName::parse("global").unwrap()
    }

    fn sample() -> KeyedAck {
        let key = AcknowledgedKey {
            tenant: Tenant::parse("acme").unwrap(),
            user: UserId::parse("zoë").unwrap(),
            subscriber: SubscriberName::parse("kiosk 7").unwrap(),
            channel: Channel::parse("room:1").unwrap(),
        };
        let position = Position { epoch: Epoch(2), passed: 8341 };
        let cursor = Cursor { log: log(), partition: Partition(17), position };
        (key, Acknowledged { generation: 3, cursor })
    }

    /// What is stored is dear to change.
    #[test]
    fn golden_bytes() {
        let (key, acknowledged) = sample();
        let (stored, value) = (ack_key(&key), ack_value(&acknowledged));
        assert_eq!(stored, b"\x04acme\x04zo\xc3\xab\x07kiosk 7\x06room:1");
        assert_eq!(value, b"\x01\0\0\0\0\0\0\0\x031.global.2.17.8341");
        assert_eq!(read_ack(&log(), &stored, &value), Ok(sample()));
    }

    #[test]
    fn what_is_no_position_of_the_log_is_told_apart() {
        let (key, value) = (ack_key(&sample().0), ack_value(&sample().1));
        let newer = [&[2][..], &value[1..]].concat();
        assert_eq!(read_ack(&log(), &key, &newer), Err(AckDamage::Newer(2)));
        let other = LogName::parse("eu").unwrap();
        assert_eq!(read_ack(&other, &key, &value), Err(AckDamage::OtherLog));
        let damaged: [(&[u8], &[u8]); 7] = [
            (&key, b""),
            (&key, b"\0"),
            (&key, &value[..5]),
            (&key, b"\x01\xff\xff\xff\xff\xff\xff\xff\xff1.global.2.17.8341"),
            (&key[1..], &value),
            (&key[..key.len() - 1], &value),
            (&[&key[..], b"x"].concat(), &value),
        ];
        for (key, value) in damaged {
            assert_eq!(read_ack(&log(), key, value), Err(AckDamage::Damaged), "{key:?} {value:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(key: Vec<u8>, value: Vec<u8>, whole: bool) {
            let key = if whole { ack_key(&sample().0) } else { key };
            if let Ok((of, acknowledged)) = read_ack(&log(), &key, &value) {
                prop_assert_eq!(ack_key(&of), key);
                prop_assert_eq!(ack_value(&acknowledged), value);
            }
        }
    }
}
