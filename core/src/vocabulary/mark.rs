//! Source marks: which record of a bridge's source an event was made from. Owns how a record carries
//! one, in its scope and id; decides nothing about repeats.
//!
//! Scope: `bridge:{generation}:{source}`; id: `{source partition}.{source offset}.{index}`; numbers
//! are decimal, without leading zeros. No token's scope begins so: those begin with a length.

use super::{EventId, Record, Scope, SourceName};

const RESERVED: &str = "bridge:";
/// Stores count in signed numbers.
const MAX_OFFSET: u64 = i64::MAX as u64;

/// A partition of a bridge's source.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourcePartition {
    pub source: SourceName,
    pub partition: u32,
}

/// A place in a source partition, ordered as a bridge makes its events: by generation, then offset,
/// then index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourcePlace {
    /// One run over the source's records; a redelivery begins the next.
    pub generation: u32,
    pub offset: u64,
    /// Which of the events made from the source's record.
    pub index: u32,
}

/// What an event was made from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SourceMark {
    pub of: SourcePartition,
    pub at: SourcePlace,
}

impl SourceMark {
    /// The scope that carries it.
    pub fn scope(&self) -> Scope {
        Scope::from_stored(&format!("{RESERVED}{}:{}", self.at.generation, self.of.source))
    }

    /// The id that carries it.
    pub fn id(&self) -> EventId {
        let id = format!("{}.{}.{}", self.of.partition, self.at.offset, self.at.index);
        EventId::parse(&id).expect("invariant: three numbers and two dots are a short plain text")
    }

    /// A record's mark; `None`: no bridge made it.
    pub fn of(record: &Record) -> Option<Self> {
        let (generation, source) = record.scope.as_str().strip_prefix(RESERVED)?.split_once(':')?;
        let mut parts = record.id.as_str().split('.');
        let mark = Self {
            of: SourcePartition {
                source: SourceName::parse(source).ok()?,
                partition: parts.next()?.parse().ok()?,
            },
            at: SourcePlace {
                generation: generation.parse().ok()?,
                offset: parts.next()?.parse().ok()?,
                index: parts.next()?.parse().ok()?,
            },
        };
        // One text for each mark: else two records of one mark could differ in their keys.
        let exact = mark.scope() == record.scope && mark.id() == record.id;
        (exact && mark.at.offset <= MAX_OFFSET).then_some(mark)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::vocabulary::{Channel, ChannelKey, Epoch, Tenant};

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

    fn mark(source: &str, partition: u32, at: (u32, u64, u32)) -> SourceMark {
        let (generation, offset, index) = at;
        let source = SourceName::parse(source).unwrap();
        SourceMark {
            of: SourcePartition { source, partition },
            at: SourcePlace { generation, offset, index },
        }
    }

    /// What is stored is dear to change: logs hold such texts.
    #[test]
    fn golden_texts() {
        let mark = mark("orders", 3, (2, 41, 0));
        assert_eq!(mark.scope().as_str(), "bridge:2:orders");
        assert_eq!(mark.id().as_str(), "3.41.0");
        assert_eq!(SourceMark::of(&record("bridge:2:orders", "3.41.0")), Some(mark));
    }

    #[test]
    fn only_exact_texts_are_marks() {
        for (scope, id) in [
            ("6:bridge:ann", "3.41.0"),
            ("bridge:2", "3.41.0"),
            ("bridge:02:orders", "3.41.0"),
            ("bridge:2:or ders", "3.41.0"),
            ("bridge:2:orders", "3.41"),
            ("bridge:2:orders", "3.41.0.0"),
            ("bridge:2:orders", "3.+41.0"),
            ("bridge:2:orders", "3.9223372036854775808.0"),
        ] {
            assert_eq!(SourceMark::of(&record(scope, id)), None, "{scope} {id}");
        }
    }

    proptest! {
        #[test]
        fn a_record_gives_back_its_mark(
            source in "[a-z0-9._-]{1,64}", partition: u32, generation: u32,
            offset in 0..=MAX_OFFSET, index: u32,
        ) {
            let mark = mark(&source, partition, (generation, offset, index));
            let record = record(mark.scope().as_str(), mark.id().as_str());
            prop_assert_eq!(SourceMark::of(&record), Some(mark));
        }
    }
}
