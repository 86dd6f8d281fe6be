//! Beginning in the middle of a log: of what is left of a truncated one, the first W records, or those
//! of the first D, only fill the window, as they may repeat records that are gone.

use meridian_core::seams::WindowRow;
use meridian_core::vocabulary::{Position, Stream};

use super::{ForeignEpoch, Incoming, SourceMarks, Window, WindowRules};

/// A window being filled.
#[derive(Debug)]
pub struct Filling {
    stream: Stream,
    rules: WindowRules,
    first_time_ms: Option<u64>,
    rows: Vec<WindowRow>,
    marks: SourceMarks,
}

/// What a filling came to.
#[derive(Debug)]
pub struct Filled {
    /// What went in, oldest first.
    pub rows: Vec<WindowRow>,
    pub window: Window,
    pub marks: SourceMarks,
}

/// What a record is to a filling window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fills {
    /// It went in.
    Taken,
    /// The window was full before it: this is the first record to apply.
    Full,
}

impl Filling {
    /// `marks` are those that a history knows from before.
    pub fn new(stream: Stream, rules: WindowRules, marks: SourceMarks) -> Self {
        Self { stream, rules, first_time_ms: None, rows: Vec::new(), marks }
    }

    /// Takes the next record if it may repeat one that is gone.
    pub fn take(&mut self, incoming: &Incoming) -> Result<Fills, ForeignEpoch> {
        incoming.check_epoch(Position::at(self.stream.epoch, incoming.offset))?;
        let first = *self.first_time_ms.get_or_insert(incoming.time_ms);
        if self.rows.len() >= self.rules.records as usize
            || incoming.time_ms.saturating_sub(first) > self.rules.ms
        {
            return Ok(Fills::Full);
        }
        self.rows.push(incoming.row());
        if let Some(mark) = &incoming.mark {
            self.marks.pass(mark);
        }
        Ok(Fills::Taken)
    }

    /// What it came to.
    pub fn finish(self) -> Filled {
        let window = Window::restore(self.rules, &self.rows);
        Filled { rows: self.rows, window, marks: self.marks }
    }
}
