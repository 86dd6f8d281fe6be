//! The hashes that are stored: a record's key in the window, and a record's fingerprint. Changing
//! either changes what histories hold.

use meridian_core::seams::RecordKey;
use meridian_core::vocabulary::Record;
use sha2::{Digest, Sha256};

/// Stands in the window for a record without a readable envelope: it equals no record.
pub const NO_KEY: RecordKey = [0; 16];

/// SHA-256 of tenant, channel, scope and id, each behind its length in four bytes (big endian), cut
/// to 16 bytes.
pub fn record_key(record: &Record) -> RecordKey {
    let mut hash = Sha256::new();
    for part in [
        record.key.tenant.as_str(),
        record.key.channel.as_str(),
        record.scope.as_str(),
        record.id.as_str(),
    ] {
        hash.update((part.len() as u32).to_be_bytes());
        hash.update(part);
    }
    cut(hash)
}

/// SHA-256 of a record's stored bytes, cut to 16 bytes.
pub fn fingerprint(stored: &[u8]) -> RecordKey {
    cut(Sha256::new_with_prefix(stored))
}

fn cut(hash: Sha256) -> RecordKey {
    let mut key = NO_KEY;
    key.copy_from_slice(&hash.finalize()[..16]);
    key
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use meridian_core::vocabulary::{Channel, ChannelKey, Epoch, EventId, Scope, Tenant};

    use super::*;

    fn record(scope: &str, id: &str) -> Record {
        Record {
            key: ChannelKey {
                tenant: Tenant::parse("demo").unwrap(),
                channel: Channel::parse("flights:SFO").unwrap(),
            },
            scope: Scope::from_stored(scope),
            id: EventId::parse(id).unwrap(),
            epoch: Epoch(1),
            body: Bytes::new(),
        }
    }

    /// Computed apart by another SHA-256; windows on disks hold such keys.
    #[test]
    fn golden_keys() {
        let hex = |key: RecordKey| key.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(hex(record_key(&record("ann", "a1"))), "6dc99fb3442303786bd63350fcd976c2");
        assert_eq!(hex(fingerprint(b"abc")), "ba7816bf8f01cfea414140de5dae2223");
    }

    #[test]
    fn neighbouring_parts_do_not_run_together() {
        assert_ne!(record_key(&record("ab", "c")), record_key(&record("a", "bc")));
    }
}
