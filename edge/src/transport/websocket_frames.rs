//! Reading WebSocket frames of clients (RFC 6455 §5). Pure; holds only an incomplete frame or message.

use bytes::{Bytes, BytesMut};
use meridian_core::protocol::Code;

use crate::frame::put_websocket_header;

/// One thing that a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    Text(Bytes),
    Binary(Bytes),
    Ping(Bytes),
    Pong,
    /// The peer's close frame, with its payload as it came.
    Close(Bytes),
}

/// Cuts a client's bytes into messages and control frames.
#[derive(Debug)]
pub(crate) struct FrameDecoder {
    limit: usize,
    partial: Vec<u8>,
    /// Opcode and payload so far of a fragmented message.
    fragments: Option<(u8, Vec<u8>)>,
}

struct Header {
    last: bool,
    opcode: u8,
    mask: [u8; 4],
    header: usize,
    payload: usize,
}

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

impl FrameDecoder {
    /// Refuses messages of more than `limit` bytes before they are read whole.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, partial: Vec::new(), fragments: None }
    }

    /// Takes bytes as they came (they are unmasked in place) and yields what is complete.
    pub(crate) fn feed(&mut self, bytes: &mut [u8], out: &mut Vec<Item>) -> Result<(), Code> {
        if self.partial.is_empty() {
            let used = self.decode(bytes, out)?;
            self.partial.extend_from_slice(&bytes[used..]);
        } else {
            let mut partial = std::mem::take(&mut self.partial);
            partial.extend_from_slice(bytes);
            let used = self.decode(&mut partial, out)?;
            if used < partial.len() {
                partial.drain(..used);
                self.partial = partial;
            }
        }
        Ok(())
    }

    fn decode(&mut self, bytes: &mut [u8], out: &mut Vec<Item>) -> Result<usize, Code> {
        let mut at = 0;
        while let Some(header) = self.header(&bytes[at..])? {
            let start = at + header.header;
            let Some(payload) = bytes.get_mut(start..start + header.payload) else { break };
            unmask(payload, header.mask);
            at = start + header.payload;
            self.take(&header, &bytes[start..at], out)?;
        }
        Ok(at)
    }

    fn header(&self, bytes: &[u8]) -> Result<Option<Header>, Code> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        let (opcode, masked) = (first & 0x0f, second & 0x80 != 0);
        if first & 0x70 != 0 || !masked || matches!(opcode, 3..=7 | 11..) {
            return Err(Code::Malformed);
        }
        let (len, extended) = match second & 0x7f {
            126 => match rest {
                [a, b, ..] => (u64::from(u16::from_be_bytes([*a, *b])), 2),
                _ => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(len) => (u64::from_be_bytes(*len), 8),
                None => return Ok(None),
            },
            len => (u64::from(len), 0),
        };
        let last = first & 0x80 != 0;
        if opcode >= CLOSE && (len > 125 || !last) {
            return Err(Code::Malformed);
        }
        let so_far = self.fragments.as_ref().map_or(0, |(_, payload)| payload.len());
        if len > (self.limit - so_far.min(self.limit)) as u64 {
            return Err(Code::FrameTooLarge);
        }
        let Some(mask) = rest.get(extended..extended + 4) else { return Ok(None) };
        let mask = [mask[0], mask[1], mask[2], mask[3]];
        Ok(Some(Header { last, opcode, mask, header: 2 + extended + 4, payload: len as usize }))
    }

    fn take(&mut self, header: &Header, payload: &[u8], out: &mut Vec<Item>) -> Result<(), Code> {
        match header.opcode {
            PING => out.push(Item::Ping(Bytes::copy_from_slice(payload))),
            PONG => out.push(Item::Pong),
            CLOSE => out.push(Item::Close(Bytes::copy_from_slice(payload))),
            0 => {
                let Some((opcode, mut message)) = self.fragments.take() else {
                    return Err(Code::Malformed);
                };
                message.extend_from_slice(payload);
                if header.last {
                    out.push(whole(opcode, Bytes::from(message)));
                } else {
                    self.fragments = Some((opcode, message));
                }
            }
            _ if self.fragments.is_some() => return Err(Code::Malformed),
            opcode if header.last => out.push(whole(opcode, Bytes::copy_from_slice(payload))),
            opcode => self.fragments = Some((opcode, payload.to_vec())),
        }
        Ok(())
    }
}

fn whole(opcode: u8, payload: Bytes) -> Item {
    debug_assert!(opcode == TEXT || opcode == BINARY);
    if opcode == TEXT { Item::Text(payload) } else { Item::Binary(payload) }
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let word = u32::from_ne_bytes(mask);
    let mut chunks = payload.chunks_exact_mut(4);
    for chunk in &mut chunks {
        let value = u32::from_ne_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]) ^ word;
        chunk.copy_from_slice(&value.to_ne_bytes());
    }
    for (byte, mask) in chunks.into_remainder().iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

/// The answer to a ping.
pub(crate) fn pong(payload: &[u8]) -> Bytes {
    control(0x80 | PONG, payload)
}

/// A close frame that repeats the peer's.
pub(crate) fn close_echo(payload: &[u8]) -> Bytes {
    control(0x80 | CLOSE, &payload[..payload.len().min(2)])
}

/// A close frame with our code.
pub(crate) fn close(code: Code) -> Bytes {
    let mut payload = code.number().to_be_bytes().to_vec();
    payload.extend_from_slice(code.name().as_bytes());
    control(0x80 | CLOSE, &payload)
}

fn control(first: u8, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(payload.len() + 2);
    put_websocket_header(&mut out, first, payload.len());
    out.extend_from_slice(payload);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client_frame(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
        let mut out = BytesMut::new();
        put_websocket_header(&mut out, first, payload.len());
        out[1] |= 0x80;
        out.extend_from_slice(&mask);
        let start = out.len();
        out.extend_from_slice(payload);
        unmask(&mut out[start..], mask);
        out.to_vec()
    }

    fn decode(limit: usize, wire: &[u8], cut: usize) -> Result<Vec<Item>, Code> {
        let (mut decoder, mut out) = (FrameDecoder::new(limit), Vec::new());
        for piece in wire.chunks(cut) {
            decoder.feed(&mut piece.to_vec(), &mut out)?;
        }
        Ok(out)
    }

    #[test]
    fn fragments_and_control_frames_interleave() {
        let mask = [1, 2, 3, 4];
        let wire = [
            client_frame(0x01, b"he", mask),
            client_frame(0x89, b"p", mask),
            client_frame(0x00, b"ll", mask),
            client_frame(0x80, b"o", mask),
            client_frame(0x82, b"\x00\xff", mask),
            client_frame(0x88, b"\x03\xe8bye", mask),
        ]
        .concat();
        let expected = vec![
            Item::Ping(Bytes::from_static(b"p")),
            Item::Text(Bytes::from_static(b"hello")),
            Item::Binary(Bytes::from_static(b"\x00\xff")),
            Item::Close(Bytes::from_static(b"\x03\xe8bye")),
        ];
        for cut in [1, 2, 7, 1000] {
            assert_eq!(decode(100, &wire, cut).as_ref(), Ok(&expected), "cut {cut}");
        }
    }

    #[test]
    fn what_the_rfc_forbids_is_refused() {
        let mask = [0; 4];
        for (wire, code) in [
            (vec![0x81, 0x01, b'x'], Code::Malformed),
            (client_frame(0xc1, b"x", mask), Code::Malformed),
            (client_frame(0x83, b"x", mask), Code::Malformed),
            (client_frame(0x80, b"x", mask), Code::Malformed),
            (client_frame(0x09, b"x", mask), Code::Malformed),
            (client_frame(0x89, &[0; 126], mask), Code::Malformed),
            (
                [client_frame(0x01, b"x", mask), client_frame(0x81, b"y", mask)].concat(),
                Code::Malformed,
            ),
            (client_frame(0x81, &[b'x'; 101], mask), Code::FrameTooLarge),
            (vec![0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Code::FrameTooLarge),
            (
                [client_frame(0x01, &[b'x'; 60], mask), client_frame(0x80, &[b'x'; 60], mask)]
                    .concat(),
                Code::FrameTooLarge,
            ),
        ] {
            assert_eq!(decode(100, &wire, 1000), Err(code), "{wire:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>, cut in 1usize..20) {
            let _ = decode(64, &bytes, cut);
        }

        #[test]
        fn messages_round_trip(payload in proptest::collection::vec(any::<u8>(), 0..70_000), mask: [u8; 4], cut in 1usize..9000) {
            let wire = client_frame(0x82, &payload, mask);
            prop_assert_eq!(decode(70_000, &wire, cut), Ok(vec![Item::Binary(payload.into())]));
        }
    }
}
