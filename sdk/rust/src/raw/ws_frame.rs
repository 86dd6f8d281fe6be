//! WebSocket frames (RFC 6455 §5.2) as a client reads and writes them. Pure; joins no fragments.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// Room for one read.
const READ_BYTES: usize = 8 * 1024;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
    /// One that the RFC reserves.
    Reserved(u8),
}

/// A frame as a server sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub opcode: Opcode,
    /// Whether it ends its message.
    pub fin: bool,
    pub payload: Bytes,
}

/// Cuts a byte stream into frames. Holds only an incomplete frame, so it owns nothing while idle.
#[derive(Debug, Default)]
pub struct Frames {
    partial: BytesMut,
}

impl Opcode {
    fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            other => Self::Reserved(other),
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
            Self::Reserved(bits) => bits & 0x0f,
        }
    }
}

impl Frame {
    /// Code and reason of a close frame.
    pub fn close_code(&self) -> Option<(u16, String)> {
        match (self.opcode, &self.payload[..]) {
            (Opcode::Close, [high, low, reason @ ..]) => Some((
                u16::from_be_bytes([*high, *low]),
                String::from_utf8_lossy(reason).into_owned(),
            )),
            _ => None,
        }
    }
}

impl Frames {
    /// Takes bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
    }

    /// What was taken but makes no whole frame yet.
    pub fn rest(&self) -> &[u8] {
        &self.partial
    }

    /// Room to read into.
    pub(super) fn space(&mut self) -> &mut BytesMut {
        self.partial.reserve(READ_BYTES);
        &mut self.partial
    }

    /// The next whole frame, if it is there.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let (header, len) = header(&self.partial)?;
        let end = header.checked_add(usize::try_from(len).ok()?)?;
        if self.partial.len() < end {
            return None;
        }
        let first = self.partial[0];
        self.partial.advance(header);
        let payload = self.partial.split_to(end - header).freeze();
        if self.partial.is_empty() {
            self.partial = BytesMut::new();
        }
        Some(Frame { opcode: Opcode::from_bits(first & 0x0f), fin: first & 0x80 != 0, payload })
    }
}

/// Bytes of the header and of the payload, of a frame without a mask.
fn header(bytes: &[u8]) -> Option<(usize, u64)> {
    match *bytes.get(1)? & 0x7f {
        126 => {
            let len = bytes.get(2..4)?;
            Some((4, u64::from(u16::from_be_bytes([len[0], len[1]]))))
        }
        127 => {
            let len = bytes.get(2..10)?.try_into().ok()?;
            Some((10, u64::from_be_bytes(len)))
        }
        short => Some((2, u64::from(short))),
    }
}

/// Appends a whole message in one masked frame. The mask is zero: it guards proxies against pages,
/// which this is not.
pub fn put_client_frame(out: &mut BytesMut, opcode: Opcode, payload: &[u8]) {
    out.put_u8(0x80 | opcode.bits());
    match payload.len() {
        len @ 0..=125 => out.put_u8(0x80 | len as u8),
        len @ 126..=0xffff => {
            out.put_u8(0x80 | 126);
            out.put_u16(len as u16);
        }
        len => {
            out.put_u8(0x80 | 127);
            out.put_u64(len as u64);
        }
    }
    out.put_u32(0);
    out.put_slice(payload);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A server's frame is a client's without the mask.
    fn server_frame(payload: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        put_client_frame(&mut out, Opcode::Binary, payload);
        let header = out.len() - payload.len();
        let mut frame = out[..header - 4].to_vec();
        frame[1] &= 0x7f;
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn close_frames_tell_why() {
        let mut frames = Frames::default();
        frames.push(b"\x88\x0b\x0f\xb2forbidden");
        let frame = frames.next_frame().unwrap();
        assert_eq!(frame.close_code(), Some((0x0fb2, "forbidden".to_owned())));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_frames(sizes in proptest::collection::vec(prop_oneof![0usize..200, 65_500usize..65_600], 0..5), cut in 1usize..999) {
            let payloads: Vec<Vec<u8>> = sizes.iter().map(|n| vec![7; *n]).collect();
            let wire: Vec<u8> = payloads.iter().flat_map(|p| server_frame(p)).collect();
            let mut frames = Frames::default();
            let mut got = Vec::new();
            for piece in wire.chunks(cut) {
                frames.push(piece);
                while let Some(frame) = frames.next_frame() { got.push(frame.payload.to_vec()); }
            }
            prop_assert_eq!(got, payloads);
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let mut frames = Frames::default();
            frames.push(&bytes);
            while frames.next_frame().is_some() {}
        }
    }
}
