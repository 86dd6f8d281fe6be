//! The console's files, built into the binary.

use bytes::Bytes;

/// A file by its path, with its media type.
pub(super) fn file(path: &str) -> Option<(&'static str, Bytes)> {
    let (media_type, body): (_, &'static [u8]) = match path {
        "/" | "/index.html" => {
            ("text/html; charset=utf-8", include_bytes!("../../console/index.html"))
        }
        _ => return None,
    };
    Some((media_type, Bytes::from_static(body)))
}
