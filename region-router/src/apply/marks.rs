//! Source marks: which records of a bridge are repeats, at any age. A function of the log alone: of all
//! records before, kept or dropped, the highest place of each source partition.
//!
//! A bridge appends each source partition in order and without holes, so that at or below the highest
//! place everything is in the log. A lower generation is behind as well: a redelivery sends all that
//! its predecessor had not been acknowledged for.

use meridian_core::seams::Marks;
use meridian_core::vocabulary::SourceMark;

/// The highest places of a log partition, and which of them are not handed over to be stored.
#[derive(Debug, Default)]
pub struct SourceMarks {
    highest: Marks,
    raised: Marks,
}

impl SourceMarks {
    /// The marks as a history stored them.
    pub fn restore(stored: Marks) -> Self {
        Self { highest: stored, raised: Marks::new() }
    }

    /// Takes the partition's next marked record in; says whether it repeats one.
    pub fn pass(&mut self, mark: &SourceMark) -> bool {
        if self.highest.get(&mark.of).is_some_and(|highest| mark.at <= *highest) {
            return true;
        }
        self.highest.insert(mark.of.clone(), mark.at);
        self.raised.insert(mark.of.clone(), mark.at);
        false
    }

    /// What was raised since this was asked last.
    pub fn take_raised(&mut self) -> Marks {
        std::mem::take(&mut self.raised)
    }

    /// How many source partitions are marked.
    pub fn len(&self) -> usize {
        self.highest.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.highest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use meridian_core::vocabulary::{SourceName, SourcePartition, SourcePlace};

    use super::*;

    fn mark(partition: u32, generation: u32, offset: u64, index: u32) -> SourceMark {
        let source = SourceName::parse("orders").unwrap();
        SourceMark {
            of: SourcePartition { source, partition },
            at: SourcePlace { generation, offset, index },
        }
    }

    #[test]
    fn at_or_below_is_a_repeat() {
        let mut marks = SourceMarks::default();
        for (mark, repeats) in [
            (mark(0, 1, 5, 0), false),
            (mark(0, 1, 5, 0), true),
            (mark(0, 1, 5, 1), false),
            (mark(0, 1, 4, 9), true),
            (mark(1, 1, 4, 0), false),
            (mark(0, 2, 0, 0), false),
            (mark(0, 1, 6, 0), true),
            (mark(0, 2, 1, 0), false),
        ] {
            assert_eq!(marks.pass(&mark), repeats, "{mark:?}");
        }
    }

    #[test]
    fn only_what_was_raised_is_to_be_stored() {
        let mut marks = SourceMarks::default();
        marks.pass(&mark(0, 1, 5, 0));
        marks.pass(&mark(0, 1, 6, 0));
        let raised = marks.take_raised();
        let expected = mark(0, 1, 6, 0);
        assert_eq!(raised, Marks::from([(expected.of, expected.at)]));
        let mut restored = SourceMarks::restore(raised);
        assert!(restored.pass(&mark(0, 1, 6, 0)));
        assert!(restored.take_raised().is_empty());
    }
}
