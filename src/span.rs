//! Spans of time as arguments: a number and its unit.

use std::time::Duration;

/// Reads `500ms`, `90s`, `15m`, `1h` or `7d`; never zero.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let refuse =
        || "must be a number and ms, s, m, h or d, such as 90s, 15m, 1h or 500ms".to_owned();
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(refuse)?;
    let (number, unit) = text.split_at(unit_at);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(refuse()),
    };
    let number: u64 = number.parse().map_err(|_| refuse())?;
    let ms = number.checked_mul(unit_ms).filter(|ms| *ms > 0).ok_or_else(refuse)?;
    Ok(Duration::from_millis(ms))
}

/// As `parse` reads it.
pub(crate) fn text(span: Duration) -> String {
    let ms = span.as_millis();
    if ms.is_multiple_of(1_000) { format!("{}s", ms / 1_000) } else { format!("{ms}ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_unit() {
        for (span, ms) in [("500ms", 500), ("90s", 90_000), ("15m", 900_000), ("7d", 604_800_000)] {
            assert_eq!(parse(span), Ok(Duration::from_millis(ms)), "{span}");
        }
        for bad in ["", "h", "1", "0s", "-1h", "1w", "1 s", "99999999999999999999d", "1é"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(text(Duration::from_millis(1_500)), "1500ms");
        assert_eq!(text(Duration::from_secs(30)), "30s");
    }
}
