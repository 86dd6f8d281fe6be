//! The stored form of a batch: a format byte (1), then for each record its length (u32, big endian)
//! and its bytes. The offsets are consecutive from the batch's first.

use bytes::{BufMut, Bytes, BytesMut};

use crate::seams::LogRecord;
use crate::vocabulary::Offset;

const FORMAT: u8 = 1;

/// Consecutive records of one partition with one append time.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) time_ms: u64,
    /// The stored form.
    pub(super) records: Bytes,
}

/// How much a read may still take: records, and bytes of which the last record may go beyond.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

impl Room {
    /// Nothing more may be taken.
    pub(super) fn is_empty(&self) -> bool {
        self.records == 0 || self.bytes == 0
    }

    fn take(&mut self, bytes: usize) {
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// The stored bytes are no batch that this code reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damaged;

impl Batch {
    /// Packs records (at least one) from offset `first` on.
    pub(super) fn pack(first: u64, time_ms: u64, records: &[Bytes]) -> Self {
        let bytes: usize = records.iter().map(|r| r.len() + 4).sum();
        let mut packed = BytesMut::with_capacity(bytes + 1);
        packed.put_u8(FORMAT);
        for record in records {
            packed.put_u32(record.len() as u32);
            packed.put_slice(record);
        }
        let last = first + records.len() as u64 - 1;
        Self { first, last, time_ms, records: packed.freeze() }
    }

    /// Appends the records from `from` on to `out`, until it is full.
    pub(super) fn unpack(
        &self,
        from: u64,
        room: &mut Room,
        out: &mut Vec<LogRecord>,
    ) -> Result<(), Damaged> {
        if self.records.first() != Some(&FORMAT) {
            return Err(Damaged);
        }
        let mut at = 1;
        for offset in self.first..=self.last {
            if room.is_empty() {
                return Ok(());
            }
            let length = self.records.get(at..at + 4).ok_or(Damaged)?;
            let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
            let (start, end) = (at + 4, at + 4 + length);
            if end > self.records.len() {
                return Err(Damaged);
            }
            if offset >= from {
                let stored = self.records.slice(start..end);
                room.take(length);
                out.push(LogRecord { offset: Offset(offset), time_ms: self.time_ms, stored });
            }
            at = end;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(records: usize) -> Room {
        Room { records, bytes: usize::MAX }
    }

    #[test]
    fn golden_bytes() {
        let batch = Batch::pack(7, 99, &[Bytes::from_static(b"ab"), Bytes::new()]);
        assert_eq!(&batch.records[..], b"\x01\0\0\0\x02ab\0\0\0\0");
        let mut out = Vec::new();
        batch.unpack(8, &mut room(10), &mut out).unwrap();
        assert_eq!(out, [LogRecord { offset: Offset(8), time_ms: 99, stored: Bytes::new() }]);
        batch.unpack(7, &mut room(1), &mut out).unwrap();
        assert_eq!(out.len(), 2);
        assert_eq!(&out[1].stored[..], b"ab");
    }

    #[test]
    fn damage_is_seen() {
        let mut batch = Batch::pack(0, 0, &[Bytes::from_static(b"abc")]);
        batch.records = batch.records.slice(..6);
        assert_eq!(batch.unpack(0, &mut room(9), &mut Vec::new()), Err(Damaged));
        batch.records = Bytes::from_static(b"\x02");
        assert_eq!(batch.unpack(0, &mut room(9), &mut Vec::new()), Err(Damaged));
    }
}
