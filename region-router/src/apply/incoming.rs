//! A log's record, made ready for the apply step: its envelope decoded and its key computed, once.

use bytes::Bytes;
use meridian_core::seams::{LogRecord, RecordKey};
use meridian_core::vocabulary::{ChannelKey, Offset, Record, SourceMark};

use super::key::{NO_KEY, record_key};

/// A record as the apply step takes it.
#[derive(Debug, Clone)]
pub struct Incoming {
    pub offset: Offset,
    /// The log's append time, in milliseconds since 1970.
    pub time_ms: u64,
    pub key: RecordKey,
    /// `None`: the envelope cannot be read.
    pub record: Option<Record>,
    /// `None`: no bridge made it.
    pub mark: Option<SourceMark>,
    pub stored: Bytes,
}

impl Incoming {
    /// Reads the envelope; the body stays as it is.
    pub fn decode(from: LogRecord) -> Self {
        let LogRecord { offset, time_ms, stored } = from;
        let record = Record::decode(&stored).ok();
        let key = record.as_ref().map_or(NO_KEY, record_key);
        let mark = record.as_ref().and_then(SourceMark::of);
        Self { offset, time_ms, key, record, mark, stored }
    }

    /// The channel that it names.
    pub fn channel(&self) -> Option<&ChannelKey> {
        self.record.as_ref().map(|record| &record.key)
    }
}
