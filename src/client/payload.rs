//! What a payload is where nobody says: JSON if it is, else text, else bytes. Pure.

use bytes::Bytes;
use meridian_core::protocol::check_payload;

const JSON: &str = "application/json";

/// A payload with its content type (`None`: JSON).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) data: Bytes,
    pub(super) content_type: Option<String>,
}

impl Payload {
    /// With the content type given, which it must match, or the one that it shows.
    pub(super) fn new(data: Vec<u8>, content_type: Option<&str>) -> Result<Self, &'static str> {
        if let Some(content_type) = content_type {
            check_payload(content_type, &data)
                .map_err(|_| "the data is not of its content type")?;
            return Ok(Self::of(data, Some(content_type)));
        }
        if check_payload(JSON, &data).is_ok() {
            return Ok(Self::of(data, None));
        }
        match std::str::from_utf8(&data) {
            // Nobody begins a text like this: it is JSON with a mistake.
            Ok(text) if text.trim_start().starts_with(['{', '[']) => Err(
                "the data begins like JSON and is not; with --content-type text/plain it is text",
            ),
            Ok(_) => Ok(Self::of(data, Some("text/plain"))),
            Err(_) => Ok(Self::of(data, Some("application/octet-stream"))),
        }
    }

    /// As `new`, without the line ending that a pipe brings along unless a content type was given.
    pub(super) fn piped(
        mut data: Vec<u8>,
        content_type: Option<&str>,
    ) -> Result<Self, &'static str> {
        if content_type.is_none() && std::str::from_utf8(&data).is_ok() {
            let end = data.strip_suffix(b"\n").map(|rest| rest.strip_suffix(b"\r").unwrap_or(rest));
            let len = end.map_or(data.len(), <[u8]>::len);
            data.truncate(len);
        }
        Self::new(data, content_type)
    }

    fn of(data: Vec<u8>, content_type: Option<&str>) -> Self {
        Self { data: data.into(), content_type: content_type.map(str::to_owned) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_shows_what_it_is() {
        let shown =
            |data: &[u8]| Payload::new(data.to_vec(), None).map(|payload| payload.content_type);
        assert_eq!(shown(b"{\"a\":1}"), Ok(None));
        assert_eq!(shown(b"42"), Ok(None));
        assert_eq!(shown(b""), Ok(None));
        assert_eq!(shown(b"hello there"), Ok(Some("text/plain".to_owned())));
        assert_eq!(shown(b"\xff"), Ok(Some("application/octet-stream".to_owned())));
        assert!(shown(b"{\"a\":}").is_err() && shown(b" [1,").is_err());
    }

    #[test]
    fn a_content_type_is_kept_to() {
        assert!(Payload::new(b"hello".to_vec(), Some("application/json")).is_err());
        assert!(Payload::new(b"\xff".to_vec(), Some("text/plain")).is_err());
        let text = Payload::new(b"{".to_vec(), Some("text/plain")).unwrap();
        assert_eq!((&text.data[..], text.content_type.as_deref()), (&b"{"[..], Some("text/plain")));
    }

    #[test]
    fn the_line_ending_of_a_pipe_is_no_data() {
        let data = |data: &[u8], kind| Payload::piped(data.to_vec(), kind).unwrap().data;
        assert_eq!(data(b"hi\r\n", None), &b"hi"[..]);
        assert_eq!(data(b"hi\n\n", None), &b"hi\n"[..]);
        assert_eq!(data(b"hi\n", Some("text/plain")), &b"hi\n"[..]);
        assert_eq!(data(b"\xff\n", None), &b"\xff\n"[..]);
    }
}
