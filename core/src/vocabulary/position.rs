//! Positions and the chain: the order of events, and the one rule by which a reader accepts one.

use std::fmt;

/// One incarnation of a log, numbered from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u32);

/// The place of a record in its partition, from 0. Stays below 2^53, so that JavaScript holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Offset(pub u64);

/// A partition of a log, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition(pub u32);

impl From<u32> for Partition {
    fn from(number: u32) -> Self {
        Self(number)
    }
}

/// The last offset passed in a partition; orders by epoch, then offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    pub epoch: Epoch,
    /// The last offset passed; −1 before the epoch's first record.
    pub passed: i64,
}

/// What an event says of its predecessor on the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Prev {
    /// It is the channel's first event.
    None,
    /// The predecessor's place.
    At(Position),
    /// No store could tell when the event was applied.
    Unknown,
}

/// What a reader at a position makes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the next one.
    Accept,
    /// It is at or below the position.
    Duplicate,
    /// Something may lie between: read history from the position.
    Broken,
}

impl Position {
    /// Before everything of any log.
    pub const BEGINNING: Self = Self { epoch: Epoch(1), passed: -1 };

    /// Before anything of this epoch.
    pub fn start_of(epoch: Epoch) -> Self {
        Self { epoch, passed: -1 }
    }

    /// Just behind the record at `offset`.
    pub fn at(epoch: Epoch, offset: Offset) -> Self {
        Self { epoch, passed: offset.0 as i64 }
    }

    /// Just before the record at `offset`.
    pub fn before(epoch: Epoch, offset: Offset) -> Self {
        Self { epoch, passed: offset.0 as i64 - 1 }
    }

    /// The offset to read next in this epoch.
    pub fn next_offset(self) -> Offset {
        Offset((self.passed + 1) as u64)
    }
}

impl Prev {
    /// Whether this predecessor is surely at or below `position`.
    pub fn is_within(self, position: Position) -> bool {
        match self {
            Prev::None => true,
            Prev::At(prev) => prev <= position,
            Prev::Unknown => false,
        }
    }
}

/// The chain's rule: a reader at `position` accepts an event iff `prev ≤ position < event`.
pub fn judge(position: Position, prev: Prev, event: Position) -> Verdict {
    if event <= position {
        Verdict::Duplicate
    } else if prev.is_within(position) {
        Verdict::Accept
    } else {
        Verdict::Broken
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch.0, self.passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u32, passed: i64) -> Position {
        Position { epoch: Epoch(epoch), passed }
    }

    #[test]
    fn chain_rule() {
        let event = at(1, 9);
        assert_eq!(judge(at(1, 5), Prev::At(at(1, 5)), event), Verdict::Accept);
        assert_eq!(judge(at(1, 7), Prev::At(at(1, 5)), event), Verdict::Accept);
        assert_eq!(judge(at(1, 4), Prev::At(at(1, 5)), event), Verdict::Broken);
        assert_eq!(judge(at(1, 9), Prev::At(at(1, 5)), event), Verdict::Duplicate);
        assert_eq!(judge(at(2, -1), Prev::At(at(1, 5)), event), Verdict::Duplicate);
        assert_eq!(judge(at(1, -1), Prev::None, event), Verdict::Accept);
        assert_eq!(judge(at(1, 8), Prev::Unknown, event), Verdict::Broken);
        assert_eq!(judge(at(1, 999), Prev::At(at(1, 999)), at(2, 0)), Verdict::Accept);
    }
}
