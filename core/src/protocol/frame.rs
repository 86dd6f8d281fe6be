//! Frames on byte streams (WebTransport): a QUIC variable-length integer, then so many bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A frame that must not be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {len} bytes is over the limit of {limit}")]
    TooLarge { len: u64, limit: usize },
}

/// Cuts a byte stream into frames. Holds only an incomplete frame, so it owns nothing while idle.
#[derive(Debug)]
pub struct FrameReader {
    limit: usize,
    partial: BytesMut,
}

impl FrameReader {
    /// Refuses frames of more than `limit` bytes before they are read.
    pub fn new(limit: usize) -> Self {
        Self { limit, partial: BytesMut::new() }
    }

    /// Takes bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
    }

    /// The next whole frame, if it is there.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some((len, prefix)) = varint(&self.partial) else { return Ok(None) };
        if len > self.limit as u64 {
            return Err(FrameError::TooLarge { len, limit: self.limit });
        }
        let len = len as usize;
        if self.partial.len() < prefix + len {
            return Ok(None);
        }
        self.partial.advance(prefix);
        let frame = self.partial.split_to(len).freeze();
        if self.partial.is_empty() {
            self.partial = BytesMut::new();
        }
        Ok(Some(frame))
    }
}

/// Appends a frame. Frames are below 2^30 bytes.
pub fn put_frame(out: &mut BytesMut, payload: &[u8]) {
    put_varint(out, payload.len() as u64);
    out.put_slice(payload);
}

/// Appends a variable-length integer (RFC 9000 §16).
pub(super) fn put_varint(out: &mut BytesMut, value: u64) {
    match value {
        0..=0x3f => out.put_u8(value as u8),
        0x40..=0x3fff => out.put_u16(value as u16 | 0x4000),
        0x4000..=0x3fff_ffff => out.put_u32(value as u32 | 0x8000_0000),
        _ => out.put_u64(value | 0xc000_0000_0000_0000),
    }
}

/// Value and length of the variable-length integer that `bytes` begin with (RFC 9000 §16).
pub(super) fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let len = 1usize << (first >> 6);
    let bytes = bytes.get(..len)?;
    let value = bytes[1..].iter().fold(u64::from(first & 0x3f), |v, b| v << 8 | u64::from(*b));
    Some((value, len))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_are_quic_varints() {
        let mut out = BytesMut::new();
        put_varint(&mut out, 37);
        put_varint(&mut out, 15293);
        put_varint(&mut out, 494_878_333);
        assert_eq!(&out[..], [0x25, 0x7b, 0xbd, 0x9d, 0x7f, 0x3e, 0x7d]);
    }

    #[test]
    fn too_large_is_refused_before_it_is_read() {
        let mut reader = FrameReader::new(10);
        reader.push(&[0x40, 11]);
        assert_eq!(reader.next_frame(), Err(FrameError::TooLarge { len: 11, limit: 10 }));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_frames(frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..8), cut in 1usize..50) {
            let mut wire = BytesMut::new();
            for frame in &frames { put_frame(&mut wire, frame); }
            let mut reader = FrameReader::new(200);
            let mut got = Vec::new();
            for piece in wire.chunks(cut) {
                reader.push(piece);
                while let Some(frame) = reader.next_frame().unwrap() { got.push(frame.to_vec()); }
            }
            prop_assert_eq!(got, frames);
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let mut reader = FrameReader::new(64);
            reader.push(&bytes);
            while let Ok(Some(_)) = reader.next_frame() {}
        }
    }
}
