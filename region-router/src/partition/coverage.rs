//! Which part of its epoch a region's view covers, and what the history's heads are worth for that.
//! Pure.

use meridian_core::seams::Checkpoint;
use meridian_core::vocabulary::{Offset, Position, Prev};

/// The view covers its epoch from here on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Coverage {
    pub(super) begins: Offset,
    uncovered: Option<Position>,
}

impl Coverage {
    pub(super) fn of(checkpoint: Option<&Checkpoint>) -> Self {
        Self {
            begins: checkpoint.map_or(Offset(0), |stored| stored.begins),
            uncovered: checkpoint.and_then(Checkpoint::uncovered),
        }
    }

    /// What the history's head of a channel says of the next event's predecessor. A head from before
    /// the view begins says nothing: others may have followed it.
    pub(super) fn prev(self, head: Option<Position>) -> Prev {
        match head {
            Some(head) if Some(head) > self.uncovered => Prev::At(head),
            None if self.uncovered.is_none() => Prev::None,
            _ => Prev::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use meridian_core::vocabulary::Epoch;

    use super::*;

    #[test]
    fn what_lies_before_the_view_tells_nothing() {
        let at = |epoch, passed| Position { epoch: Epoch(epoch), passed };
        let stored = |begins| {
            let position = at(2, 200);
            let begins = Offset(begins);
            Checkpoint { position, last_kept: position, fingerprint: [0; 16], begins }
        };
        let whole = Coverage::of(Some(&stored(0)));
        assert_eq!(whole.prev(None), Prev::None);
        assert_eq!(whole.prev(Some(at(1, 7))), Prev::At(at(1, 7)), "of the epoch before");
        let truncated = Coverage::of(Some(&stored(100)));
        assert_eq!(truncated.prev(None), Prev::Unknown);
        assert_eq!(truncated.prev(Some(at(2, 99))), Prev::Unknown);
        assert_eq!(truncated.prev(Some(at(1, 7))), Prev::Unknown);
        assert_eq!(truncated.prev(Some(at(2, 100))), Prev::At(at(2, 100)));
    }
}
