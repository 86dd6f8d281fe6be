//! Events that carry the time at which they were made, and finding it again in a stream of bytes
//! without decoding anything. The same in JSON and MessagePack frames, since both carry JSON as it is.

use std::sync::LazyLock;

use memchr::memmem::Finder;

const MARK: &[u8] = b"\"mono\":\"";
const DIGITS: usize = 20;
const STAMP: usize = MARK.len() + DIGITS;

/// No payload is shorter.
pub(crate) const MIN_BYTES: usize = 2 + STAMP + 1 + 9;

static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(MARK));

/// A JSON object of exactly so many bytes, with the time in it.
pub(crate) fn make(bytes: usize, mono_ns: u64) -> Vec<u8> {
    let pad = "x".repeat(bytes.saturating_sub(MIN_BYTES));
    format!("{{\"mono\":\"{mono_ns:020}\",\"pad\":\"{pad}\"}}").into_bytes()
}

/// Finds times in bytes as they come, cut anywhere.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    tail: Vec<u8>,
}

impl Scanner {
    /// Calls `hit` with each time that is complete with these bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut hit: impl FnMut(u64)) {
        if !self.tail.is_empty() {
            // A stamp that begins in the tail ends within the next bytes, if they are enough.
            let more = bytes.len().min(STAMP - 1);
            let seam = self.tail.len();
            self.tail.extend_from_slice(&bytes[..more]);
            scan(&self.tail, seam, &mut hit);
        }
        if bytes.len() >= STAMP - 1 {
            scan(bytes, bytes.len(), &mut hit);
            self.tail.clear();
            self.tail.extend_from_slice(&bytes[bytes.len() - (STAMP - 1)..]);
        } else if self.tail.is_empty() {
            self.tail.extend_from_slice(bytes);
        } else {
            let surplus = self.tail.len().saturating_sub(STAMP - 1);
            self.tail.drain(..surplus);
        }
    }
}

/// Calls `hit` with each complete time that begins before `end`.
fn scan(bytes: &[u8], end: usize, hit: &mut impl FnMut(u64)) {
    let mut from = 0;
    while let Some(at) = bytes.get(from..).and_then(|rest| FINDER.find(rest)) {
        let start = from + at;
        if start >= end {
            return;
        }
        let digits = bytes.get(start + MARK.len()..start + STAMP);
        if let Some(time) = digits.and_then(number) {
            hit(time);
        }
        from = start + MARK.len();
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |value, digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn payloads_are_json_of_the_size_asked_for() {
        for bytes in [MIN_BYTES, 128, 1000] {
            let payload = make(bytes, 12_345);
            assert_eq!(payload.len(), bytes);
            assert!(serde_json::from_slice::<serde_json::Value>(&payload).is_ok());
        }
    }

    proptest! {
        #[test]
        fn every_time_is_found_once_wherever_it_is_cut(times in proptest::collection::vec(any::<u32>(), 0..20), between in 0usize..40, cut in 1usize..200) {
            let mut stream = Vec::new();
            for time in &times {
                stream.extend_from_slice(&make(128, u64::from(*time)));
                stream.extend(std::iter::repeat_n(b'"', between));
            }
            let mut scanner = Scanner::default();
            let mut found = Vec::new();
            for piece in stream.chunks(cut) {
                scanner.feed(piece, |time| found.push(time as u32));
            }
            prop_assert_eq!(found, times);
        }
    }
}
