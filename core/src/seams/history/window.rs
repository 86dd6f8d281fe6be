//! The stored form of a batch's window: 32 bytes a record, offset (u64), log time (u64) and key, big
//! endian. Pure.

use super::WindowRow;
use crate::vocabulary::Offset;

const ROW_BYTES: usize = 32;

/// The stored bytes are no window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are no window of records")]
pub struct DamagedWindow;

/// The stored form of a batch's window.
pub fn pack_window(rows: &[WindowRow]) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows.len() * ROW_BYTES);
    for row in rows {
        out.extend_from_slice(&row.offset.0.to_be_bytes());
        out.extend_from_slice(&row.time_ms.to_be_bytes());
        out.extend_from_slice(&row.key);
    }
    out
}

/// Reads what `pack_window` made.
pub fn unpack_window(stored: &[u8]) -> Result<Vec<WindowRow>, DamagedWindow> {
    let (rows, rest) = stored.as_chunks::<ROW_BYTES>();
    if rest.is_empty() { Ok(rows.iter().map(unpack).collect()) } else { Err(DamagedWindow) }
}

fn unpack(row: &[u8; ROW_BYTES]) -> WindowRow {
    let [offset, time_ms] = [0, 8].map(|at| {
        let mut number = [0; 8];
        number.copy_from_slice(&row[at..at + 8]);
        u64::from_be_bytes(number)
    });
    let mut key = [0; 16];
    key.copy_from_slice(&row[16..]);
    WindowRow { offset: Offset(offset), time_ms, key }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is stored is dear to change.
    #[test]
    fn golden_bytes() {
        let row = WindowRow { offset: Offset(1), time_ms: 2, key: [3; 16] };
        let stored = pack_window(&[row]);
        assert_eq!(stored, [&b"\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02"[..], &[3; 16]].concat());
        assert_eq!(unpack_window(&stored), Ok(vec![row]));
        assert_eq!(unpack_window(&stored[1..]), Err(DamagedWindow));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            if let Ok(rows) = unpack_window(&bytes) {
                prop_assert_eq!(pack_window(&rows), bytes);
            }
        }
    }
}
