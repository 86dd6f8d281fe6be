//! What a payload must be to match its content type. Payloads stand unescaped in JSON frames, so what
//! is not valid JSON never gets past here.

use serde::de::IgnoredAny;

/// JSON payloads nest at most this deep.
pub(super) const MAX_DEPTH: usize = 128;

/// A payload that is not what its content type says, or nests too deeply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the payload is not valid for its content type")]
pub struct PayloadError;

/// Checks a payload against its media type: JSON must be one JSON value in UTF-8, nesting at most 128
/// deep; `text/*` must be UTF-8; anything else may be any bytes. Empty is an event without payload.
pub fn check_payload(media_type: &str, data: &[u8]) -> Result<(), PayloadError> {
    if data.is_empty() {
        return Ok(());
    }
    if media_type == "application/json" {
        check_json(data)
    } else if media_type.starts_with("text/") {
        std::str::from_utf8(data).map(|_| ()).map_err(|_| PayloadError)
    } else {
        Ok(())
    }
}

fn check_json(data: &[u8]) -> Result<(), PayloadError> {
    let text = std::str::from_utf8(data).map_err(|_| PayloadError)?;
    if depth(data) > MAX_DEPTH {
        return Err(PayloadError);
    }
    serde_json::from_str::<IgnoredAny>(text).map(|_| ()).map_err(|_| PayloadError)
}

/// The deepest nesting of brackets outside strings. Right for valid JSON, an upper bound otherwise.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0usize, false, false);
    for byte in json {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_checked() {
        for good in ["1", "{\"a\":[1,\"]]]\\\"[\"]}", " null ", "\"\u{1F600}\\ud800\""] {
            assert!(check_payload("application/json", good.as_bytes()).is_ok(), "{good}");
        }
        for bad in ["{", "1 2", "{\"a\":1}}", "nul", "\u{0}", "{\"id\":1},{\"x\":2}"] {
            assert!(check_payload("application/json", bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(check_payload("application/json", b"\"\xff\"").is_err());
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(check_payload("application/json", nested(128).as_bytes()).is_ok());
        assert!(check_payload("application/json", nested(129).as_bytes()).is_err());
        assert!(check_payload("application/json", nested(500_000).as_bytes()).is_err());
    }

    #[test]
    fn other_types() {
        assert!(check_payload("text/plain", b"\xff").is_err());
        assert!(check_payload("application/octet-stream", b"\xff").is_ok());
        assert!(check_payload("application/json", b"").is_ok());
    }
}
