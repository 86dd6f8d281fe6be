//! Quotas: what the clients of one user, device, address, tenant or session may do to a node together.

use std::num::NonZeroU32;

use super::reader::Section;

const MOST: u64 = u32::MAX as u64;

/// `[quotas]`. Everything is off unless one says so: a default would surprise whoever has many clients
/// behind one address, or one service that publishes much.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quotas {
    pub session: Quota,
    pub user: Quota,
    pub device: Quota,
    pub ip: Quota,
    pub tenant: Quota,
}

/// What one of them may do. `None`: anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quota {
    /// At once.
    pub connections: Option<NonZeroU32>,
    /// Events.
    pub publishes: Option<Rate>,
    /// Bytes of payloads that are published.
    pub bytes: Option<Rate>,
    /// Connections that begin.
    pub handshakes: Option<Rate>,
}

/// So many a second, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub per_s: NonZeroU32,
    pub burst: NonZeroU32,
}

/// What is counted of whom.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Connections,
    Publishes,
    Handshakes,
}

impl Quotas {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        use Of::{Connections, Handshakes, Publishes};
        Self {
            session: section.section("session", |section| read(section, &[Publishes])),
            user: section.section("user", |section| read(section, &[Connections, Publishes])),
            device: section.section("device", |section| read(section, &[Connections])),
            ip: section.section("ip", |section| read(section, &[Connections, Handshakes])),
            tenant: section.section("tenant", |section| read(section, &[Connections, Publishes])),
        }
    }
}

fn read(section: &mut Section<'_, '_>, of: &[Of]) -> Quota {
    let mut quota = Quota::default();
    if of.contains(&Of::Connections) {
        quota.connections = NonZeroU32::new(section.number("connections", 0, 0..=MOST) as u32);
    }
    if of.contains(&Of::Publishes) {
        quota.publishes = rate(section, "publishes_per_s", "publishes_burst");
        quota.bytes = rate(section, "bytes_per_s", "bytes_burst");
    }
    if of.contains(&Of::Handshakes) {
        quota.handshakes = rate(section, "handshakes_per_s", "handshakes_burst");
    }
    quota
}

/// Without a burst of its own, what the rate gives in two seconds: clients are not that even.
fn rate(section: &mut Section<'_, '_>, per_s: &'static str, burst: &'static str) -> Option<Rate> {
    let given = NonZeroU32::new(section.number(per_s, 0, 0..=MOST) as u32);
    let at_once = NonZeroU32::new(section.number(burst, 0, 0..=MOST) as u32);
    if given.is_none() && at_once.is_some() {
        section.fault(per_s, format!("missing: `{burst}` alone bounds nothing"));
    }
    let per_s = given?;
    Some(Rate { per_s, burst: at_once.unwrap_or_else(|| per_s.saturating_mul(TWO)) })
}

const TWO: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);
