//! Whom a node still lets in: everyone up to its reserve, then only clients that another region sent.
//! Pure; counts nothing itself.

/// One of so many sessions is kept for clients that were sent here: from the same load on, clients
/// that have a choice pass the node by.
const RESERVE: usize = 20;

/// How many sessions a node takes, and of whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    most: usize,
    reserved: usize,
}

/// How a client came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// By its own choice.
    Itself,
    /// By another region's redirect.
    Sent,
}

impl Room {
    /// A reserve makes sense only where those who are refused have another region to go to.
    pub(crate) fn new(most: usize, has_elsewhere: bool) -> Self {
        let reserved =
            if has_elsewhere { most.div_ceil(RESERVE).min(most.saturating_sub(1)) } else { 0 };
        Self { most, reserved }
    }

    /// The most sessions at any time.
    pub(crate) fn most(self) -> usize {
        self.most
    }

    /// Whether another connection is taken beside so many.
    pub(crate) fn takes_connection(self, others: usize) -> bool {
        others < self.most
    }

    /// Whether a client may stay that has connected and is one of so many.
    pub(crate) fn keeps(self, all: usize, came: Came) -> bool {
        match came {
            Came::Sent => all <= self.most,
            Came::Itself => all <= self.most - self.reserved,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_twentieth_is_for_clients_that_were_sent() {
        let room = Room::new(100, true);
        assert!(room.keeps(95, Came::Itself) && !room.keeps(96, Came::Itself));
        assert!(room.keeps(100, Came::Sent) && !room.keeps(101, Came::Sent));
        assert!(room.takes_connection(99) && !room.takes_connection(100));
    }

    #[test]
    fn without_another_region_nobody_is_refused_before_the_end() {
        let room = Room::new(100, false);
        assert!(room.keeps(100, Came::Itself));
    }

    #[test]
    fn small_nodes_keep_one_place_and_the_smallest_none() {
        assert!(!Room::new(3, true).keeps(3, Came::Itself));
        assert!(Room::new(1, true).keeps(1, Came::Itself));
    }
}
