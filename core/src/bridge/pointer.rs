//! JSON pointers (RFC 6901): which value of a document is meant.

use std::fmt;

/// A pointer; the empty one is the whole document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pointer {
    tokens: Vec<String>,
}

/// The text is no pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    #[error("a JSON pointer is empty or begins with `/`")]
    NoSlash,
    #[error("in a JSON pointer, `~` is written `~0` and `/` is written `~1`")]
    BadEscape,
}

impl Pointer {
    /// Reads `/a/b~1c`.
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let rest = text.strip_prefix('/').ok_or(PointerError::NoSlash)?;
        let tokens = rest.split('/').map(unescape).collect::<Result<_, _>>()?;
        Ok(Self { tokens })
    }

    /// The names and indexes on the way down.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for token in &self.tokens {
            write!(f, "/{}", token.replace('~', "~0").replace('/', "~1"))?;
        }
        Ok(())
    }
}

fn unescape(token: &str) -> Result<String, PointerError> {
    let mut out = String::with_capacity(token.len());
    let mut rest = token.chars();
    while let Some(char) = rest.next() {
        out.push(match char {
            '~' => match rest.next() {
                Some('0') => '~',
                Some('1') => '/',
                _ => return Err(PointerError::BadEscape),
            },
            char => char,
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tokens_are_unescaped() {
        assert_eq!(Pointer::parse("").unwrap().tokens(), [""; 0]);
        assert_eq!(Pointer::parse("/").unwrap().tokens(), [""]);
        assert_eq!(Pointer::parse("/a~1b/~01/0").unwrap().tokens(), ["a/b", "~1", "0"]);
        assert_eq!(Pointer::parse("a"), Err(PointerError::NoSlash));
        assert_eq!(Pointer::parse("/a~"), Err(PointerError::BadEscape));
        assert_eq!(Pointer::parse("/a~2"), Err(PointerError::BadEscape));
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read(tokens in proptest::collection::vec(".{0,6}", 0..5)) {
            let pointer = Pointer { tokens };
            prop_assert_eq!(Pointer::parse(&pointer.to_string()).unwrap(), pointer);
        }
    }
}
