//! Capsules (RFC 9297 §3.2) on a session's CONNECT stream: finds the one that ends the session and skips
//! all others, which browsers send at random so that servers learn to (§5.4). Keeps no capsule.

use bytes::Buf;

/// CLOSE_WEBTRANSPORT_SESSION.
const CLOSE: u64 = 0x2843;
/// A type and a length, both as variable-length integers.
const HEAD_MOST: usize = 16;

/// Reads the stream piece by piece.
#[derive(Debug, Default)]
pub(super) struct Capsules {
    head: Vec<u8>,
    /// Bytes of the current capsule's value that are still to come.
    rest: u64,
}

impl Capsules {
    /// Takes what came; answers whether the session is over.
    pub(super) fn end_in(&mut self, mut data: impl Buf) -> bool {
        while data.has_remaining() {
            if self.rest > 0 {
                let skipped =
                    data.remaining().min(usize::try_from(self.rest).unwrap_or(usize::MAX));
                data.advance(skipped);
                self.rest -= skipped as u64;
                continue;
            }
            self.head.push(data.get_u8());
            if let Some((kind, length)) = read_head(&self.head) {
                if kind == CLOSE {
                    return true;
                }
                self.rest = length;
                self.head.clear();
            }
            debug_assert!(self.head.len() < HEAD_MOST);
        }
        false
    }
}

/// Type and length, once they are whole.
fn read_head(bytes: &[u8]) -> Option<(u64, u64)> {
    let (kind, rest) = read_varint(bytes)?;
    let (length, _) = read_varint(rest)?;
    Some((kind, length))
}

fn read_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let len = 1usize << (bytes.first()? >> 6);
    let (own, rest) = bytes.split_at_checked(len)?;
    let first = u64::from(own[0] & 0x3f);
    Some((own[1..].iter().fold(first, |value, byte| value << 8 | u64::from(*byte)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Chromium 156 sent when a session opened: type and length, then 38 bytes.
    const GREASE: [u8; 9] = [0xc9, 0xeb, 0xba, 0xea, 0x7e, 0x8d, 0x4e, 0x66, 0x26];
    const CLOSE_CAPSULE: [u8; 7] = [0x68, 0x43, 0x04, 0, 0, 0, 0];

    fn stream() -> Vec<u8> {
        [&GREASE[..], &[7; 38], &[0x17, 0x00], &CLOSE_CAPSULE].concat()
    }

    #[test]
    fn skips_what_it_does_not_know_and_finds_the_end() {
        let stream = stream();
        let end = stream.len() - CLOSE_CAPSULE.len();
        let mut capsules = Capsules::default();
        assert!(!capsules.end_in(&stream[..end]));
        assert!(capsules.end_in(&stream[end..]));
    }

    #[test]
    fn the_pieces_do_not_matter() {
        let stream = stream();
        // The end is known with the head of its capsule.
        let known = stream.len() - 4;
        let mut capsules = Capsules::default();
        for (index, byte) in stream[..known].iter().enumerate() {
            assert_eq!(capsules.end_in(&[*byte][..]), index + 1 == known, "byte {index}");
        }
    }

    #[test]
    fn a_length_beyond_memory_is_only_counted() {
        let mut capsules = Capsules::default();
        let head = [0x17, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert!(!capsules.end_in(&head[..]));
        assert!(!capsules.end_in(&[0x68; 4096][..]));
    }
}
