//! What the log of positions keeps of a key after a batch, beside what the region knows. Pure.

use std::collections::BTreeMap;

use meridian_core::seams::{Acknowledged, AcknowledgedKey, KeyedAck};

/// A key's last position in a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kept {
    /// None higher is known; this is it.
    Highest(Acknowledged),
    /// This higher one is known.
    Below(Acknowledged),
}

/// Of each key of a batch; `held` are those of which the history held a higher one than all of it.
pub(super) fn kept(acks: Vec<KeyedAck>, held: Vec<KeyedAck>) -> BTreeMap<AcknowledgedKey, Kept> {
    let mut highest: BTreeMap<AcknowledgedKey, Acknowledged> = held.into_iter().collect();
    let mut last: BTreeMap<AcknowledgedKey, Acknowledged> = BTreeMap::new();
    for (key, ack) in acks {
        let known = highest.entry(key.clone()).or_insert_with(|| ack.clone());
        if known.rank() < ack.rank() {
            known.clone_from(&ack);
        }
        last.insert(key, ack);
    }
    let judge = |(key, last): (AcknowledgedKey, Acknowledged)| {
        let known = highest.remove(&key)?;
        let kept =
            if last.rank() < known.rank() { Kept::Below(known) } else { Kept::Highest(last) };
        Some((key, kept))
    };
    last.into_iter().filter_map(judge).collect()
}

#[cfg(test)]
mod tests {
    use meridian_core::seams::conformance::{acknowledged, acknowledged_key as key};

    use super::*;

    #[test]
    fn the_last_of_a_key_is_judged_by_the_highest_known() {
        let of = |name: &str, passed| (key(name), acknowledged(0, 1, passed));
        let acks = vec![
            of("rises", 1),
            of("falls", 9),
            of("low", 5),
            of("rises", 2),
            of("falls", 8),
            of("dips", 9),
            of("dips", 8),
            of("dips", 9),
        ];
        let mut reset = of("low", 1);
        reset.1.generation = 1;
        let kept = kept(acks, vec![reset.clone()]);
        let expected = [
            (key("dips"), Kept::Highest(acknowledged(0, 1, 9))),
            (key("falls"), Kept::Below(acknowledged(0, 1, 9))),
            (key("low"), Kept::Below(reset.1)),
            (key("rises"), Kept::Highest(acknowledged(0, 1, 2))),
        ];
        assert_eq!(kept, expected.into());
    }
}
