//! What happens to deliveries between a backplane and a link: dropped, held back, out of order.
//! Nothing here knows time: what is held comes after later deliveries, or when it is let go.

use crate::seams::Delivery;
use crate::vocabulary::ChannelKey;

use super::{BackplaneFaults, Chance};

/// A scripted fault of deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// Drops the channel's next deliveries.
    DropNext { channel: ChannelKey, count: usize },
    /// Drops all of the channel's deliveries until the rules are set anew.
    DropAll { channel: ChannelKey },
    /// Holds the channel's next deliveries back until `release`.
    HoldNext { channel: ChannelKey, count: usize },
}

/// The deliveries of one link under way.
pub(super) struct Way {
    chance: Chance,
    /// With the number of later deliveries to let pass; `None`: until released.
    held: Vec<(Option<u64>, Delivery)>,
}

impl Way {
    pub(super) fn new(seed: u64) -> Self {
        Self { chance: Chance::new(seed), held: Vec::new() }
    }

    /// What arrives at the link now.
    pub(super) fn pass(
        &mut self,
        delivery: Delivery,
        rules: &mut Vec<Rule>,
        faults: &BackplaneFaults,
    ) -> Vec<Delivery> {
        let mut arrived = Vec::new();
        match verdict(&delivery, rules) {
            Some(Verdict::Drop) => {}
            Some(Verdict::Hold) => self.held.push((None, delivery)),
            None if self.chance.happens(faults.dropped) => {}
            None if self.chance.happens(faults.delayed) => {
                let passing = 1 + self.chance.below(4);
                self.held.push((Some(passing), delivery));
            }
            None => arrived.push(delivery),
        }
        self.held.retain_mut(|(passing, held)| match passing {
            Some(0) => {
                arrived.push(held.clone());
                false
            }
            Some(passing) => {
                *passing -= 1;
                true
            }
            None => true,
        });
        arrived
    }

    /// Everything that was held back.
    pub(super) fn release(&mut self) -> Vec<Delivery> {
        self.held.drain(..).map(|(_, delivery)| delivery).collect()
    }
}

enum Verdict {
    Drop,
    Hold,
}

/// What the first rule of the delivery's channel says.
fn verdict(delivery: &Delivery, rules: &mut Vec<Rule>) -> Option<Verdict> {
    let key = match delivery {
        Delivery::Event(event) => &event.key,
        Delivery::Ephemeral(event) => &event.key,
        Delivery::Lossy => return None,
    };
    let at = rules.iter().position(|rule| rule.channel() == key)?;
    let (left, verdict) = match &mut rules[at] {
        Rule::DropAll { .. } => return Some(Verdict::Drop),
        Rule::DropNext { count, .. } => (count, Verdict::Drop),
        Rule::HoldNext { count, .. } => (count, Verdict::Hold),
    };
    *left = left.saturating_sub(1);
    if *left == 0 {
        rules.remove(at);
    }
    Some(verdict)
}

impl Rule {
    fn channel(&self) -> &ChannelKey {
        match self {
            Self::DropNext { channel, .. }
            | Self::DropAll { channel }
            | Self::HoldNext { channel, .. } => channel,
        }
    }
}
