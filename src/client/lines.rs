//! Lines of standard input, read by a thread of their own: a read that waits must hold nobody up at the end.

use std::io::{self, BufRead, Read as _};

use tokio::sync::mpsc;

/// Lines that were read and are not taken yet.
const AHEAD: usize = 256;

/// A line without its ending, or why there is none.
#[derive(Debug)]
pub(super) enum Line {
    Text(Vec<u8>),
    /// Longer than allowed; passed over.
    TooLong,
    Failed(io::Error),
}

/// The lines of standard input, each of at most `limit` bytes.
pub(super) fn of_stdin(limit: usize) -> mpsc::Receiver<Line> {
    let (sender, lines) = mpsc::channel(AHEAD);
    // Ends with its receiver at the next line, or with the process.
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        while let Some(line) =
            next(&mut input, limit).unwrap_or_else(|error| Some(Line::Failed(error)))
        {
            let failed = matches!(line, Line::Failed(_));
            if sender.blocking_send(line).is_err() || failed {
                return;
            }
        }
    });
    lines
}

fn next(input: &mut impl BufRead, limit: usize) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    // Room for the ending.
    let most = limit as u64 + 2;
    if input.by_ref().take(most).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let ended = line.pop_if(|byte| *byte == b'\n').is_some();
    if ended {
        line.pop_if(|byte| *byte == b'\r');
    } else if line.len() as u64 == most {
        input.skip_until(b'\n')?;
    }
    Ok(Some(if line.len() > limit { Line::TooLong } else { Line::Text(line) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded() {
        let mut input = &b"ab\r\n\n12345678\n123456789\n1234567890123\nend"[..];
        let mut lines = Vec::new();
        while let Some(line) = next(&mut input, 8).unwrap() {
            lines.push(match line {
                Line::Text(text) => String::from_utf8(text).unwrap(),
                Line::TooLong => "too long".to_owned(),
                Line::Failed(error) => panic!("{error}"),
            });
        }
        assert_eq!(lines, ["ab", "", "12345678", "too long", "too long", "end"]);
    }
}
