//! Cursors: the text form of a position, good in any region. A cursor is no proof of an event.

use std::fmt;

use super::{Epoch, LogName, Partition, Position};

/// No cursor's text is longer.
pub const MAX_CURSOR_BYTES: usize = 96;

const VERSION: &str = "1";

/// One epoch of one partition of a log. Text: `version.log.epoch.partition`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stream {
    pub log: LogName,
    pub epoch: Epoch,
    pub partition: Partition,
}

/// A position anywhere. Text: the stream's, a dot, and the last offset passed (−1: none yet); decimal
/// without leading zeros, so that a cursor has exactly one text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cursor {
    pub log: LogName,
    pub partition: Partition,
    pub position: Position,
}

/// The text is not a cursor of a version that this code knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor")]
pub struct CursorError;

impl Cursor {
    /// Reads the canonical text form; anything else is refused.
    pub fn parse(text: &str) -> Result<Self, CursorError> {
        if text.len() > MAX_CURSOR_BYTES {
            return Err(CursorError);
        }
        let mut parts = text.split('.');
        let mut next = || parts.next().ok_or(CursorError);
        if next()? != VERSION {
            return Err(CursorError);
        }
        let log = LogName::parse(next()?).map_err(|_| CursorError)?;
        let epoch = Epoch(u32::try_from(number(next()?)?).map_err(|_| CursorError)?);
        let partition = Partition(u32::try_from(number(next()?)?).map_err(|_| CursorError)?);
        let passed = match next()? {
            "-1" => -1,
            digits => number(digits)? as i64,
        };
        if parts.next().is_some() || epoch.0 == 0 {
            return Err(CursorError);
        }
        Ok(Self { log, partition, position: Position { epoch, passed } })
    }

    /// The stream that this cursor lies in.
    pub fn stream(&self) -> Stream {
        Stream { log: self.log.clone(), epoch: self.position.epoch, partition: self.partition }
    }
}

/// A decimal below 2^53 in canonical form.
fn number(digits: &str) -> Result<u64, CursorError> {
    let canonical = digits == "0"
        || (!digits.is_empty()
            && !digits.starts_with('0')
            && digits.bytes().all(|b| b.is_ascii_digit()));
    if !canonical || digits.len() > 16 {
        return Err(CursorError);
    }
    let value: u64 = digits.parse().map_err(|_| CursorError)?;
    if value < 1 << 53 { Ok(value) } else { Err(CursorError) }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION}.{}.{}.{}", self.log, self.epoch.0, self.partition.0)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{VERSION}.{}.{}.{}.{}",
            self.log, self.position.epoch.0, self.partition.0, self.position.passed
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_form_is_canonical() {
        let text = "1.global.2.17.8341";
        let cursor = Cursor::parse(text).unwrap();
        assert_eq!(cursor.to_string(), text);
        assert_eq!(format!("{}.8341", cursor.stream()), text);
        assert_eq!(Cursor::parse("1.global.2.17.-1").unwrap().position.passed, -1);
        for bad in [
            "",
            "1",
            "2.global.2.17.8341",
            "1.global.2.17",
            "1.global.02.17.8341",
            "1.global.2.17.+1",
            "1.global.2.17.8341.",
            "1.Global.2.17.1",
            "1.global.0.17.1",
            "1.global.1.1.-2",
            "1.global.1.1.9007199254740992",
            "1.global.4294967296.1.1",
            "1.global.1.1.1 ",
        ] {
            assert_eq!(Cursor::parse(bad), Err(CursorError), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(log in "[a-z][a-z0-9_]{0,31}", epoch in 1u32.., partition: u32, passed in -1i64..(1 << 53)) {
            let cursor = Cursor {
                log: LogName::parse(&log).unwrap(),
                partition: Partition(partition),
                position: Position { epoch: Epoch(epoch), passed },
            };
            let text = cursor.to_string();
            prop_assert!(text.len() <= MAX_CURSOR_BYTES);
            prop_assert_eq!(Cursor::parse(&text).unwrap(), cursor);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,100}") {
            if let Ok(cursor) = Cursor::parse(&text) {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }
}
