//! Which channel's missed events are found where: half in the ring, a quarter in Redis, a quarter in
//! Postgres only. Pure.

/// Where the events that a channel's clients missed are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Ring,
    Redis,
    Postgres,
}

/// A channel of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missed {
    pub(super) channel: String,
    pub(super) place: Place,
}

/// So many channels, mixed.
pub(super) fn missed(channels: usize) -> Vec<Missed> {
    (0..channels).map(Missed::of).collect()
}

impl Missed {
    fn of(n: usize) -> Self {
        let (place, namespace) = match n % 4 {
            1 => (Place::Redis, "bench"),
            3 => (Place::Postgres, "cold"),
            _ => (Place::Ring, "bench"),
        };
        Self { channel: format!("{namespace}:missed-{n}"), place }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_are_past_the_ring_and_half_of_those_past_redis() {
        let all = missed(1000);
        let count = |place| all.iter().filter(|missed| missed.place == place).count();
        assert_eq!((count(Place::Ring), count(Place::Redis)), (500, 250));
        assert!(all.iter().all(|m| m.channel.starts_with("cold:") == (m.place == Place::Postgres)));
    }
}
