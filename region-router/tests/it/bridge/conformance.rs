//! The source's suite on the one in memory.

use async_trait::async_trait;
use meridian_core::seams::conformance::source::{self as suite, PARTITIONS, SourceFixture};
use meridian_core::seams::{DeadLetter, SourceRecord};

use super::source::{MemorySource, Reader};

struct Fixture(MemorySource);

#[async_trait(?Send)]
impl SourceFixture for Fixture {
    type Source = Reader;

    async fn reader(&self) -> Reader {
        self.0.reader()
    }

    async fn end(&self, reader: Reader) {
        self.0.leave(&reader);
    }

    async fn push(&self, records: Vec<SourceRecord>) {
        records.into_iter().for_each(|record| self.0.push_record(record));
    }

    async fn retain_from(&self, partition: u32, earliest: u64) {
        self.0.retain_from(partition, earliest);
    }

    async fn replace(&self) {
        self.0.replace();
    }

    async fn letters(&self) -> Vec<DeadLetter> {
        self.0.letters()
    }
}

#[tokio::test]
async fn conformance() {
    suite::all(|| Fixture(MemorySource::new(PARTITIONS, 0))).await;
}
