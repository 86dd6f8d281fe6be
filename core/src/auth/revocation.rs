//! Revocations: tokens that count no more although their time is not over. Owns what a revocation covers,
//! how long it stands, how it is stored, and how many there may be. Never spreads one.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::Identity;
use super::claims::token_id;
use crate::vocabulary::{DeviceId, Tenant, UserId};

/// Revocations that stand at once; more are refused.
pub const REVOCATIONS_MOST: usize = 100_000;

/// What is revoked, in a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Revoked {
    /// The token with this `jti`.
    Token(String),
    /// All of a user's tokens that were made before.
    User(UserId),
    /// All of one device's.
    Device(UserId, DeviceId),
}

/// A revocation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revocation {
    pub tenant: Tenant,
    pub what: Revoked,
    /// When it was made. A user's or device's token made later counts again.
    pub at_ms: u64,
    /// When every token that it covers has run out.
    pub until_ms: u64,
}

/// The text is no revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a revocation")]
pub struct NoRevocation;

/// There are as many as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are {REVOCATIONS_MOST} revocations already")]
pub struct TooMany;

/// The revocations that stand.
#[derive(Debug, Default)]
pub struct Revocations {
    /// The latest of each.
    by_what: HashMap<(Tenant, Revoked), (u64, u64)>,
}

/// As it is stored. Names are short: there may be many, and each node reads them all.
#[derive(Serialize, Deserialize)]
struct Stored {
    n: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    j: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    u: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    d: Option<String>,
    a: u64,
    e: u64,
}

impl Revocation {
    /// Whether the holder's token counts no more.
    pub fn covers(&self, identity: &Identity) -> bool {
        let before = identity.issued_at_ms.is_none_or(|issued| issued <= self.at_ms);
        self.tenant == identity.tenant
            && match &self.what {
                Revoked::Token(id) => identity.token_id.as_ref() == Some(id),
                Revoked::User(user) => before && identity.user == *user,
                Revoked::Device(user, device) => {
                    before && identity.user == *user && identity.device.as_ref() == Some(device)
                }
            }
    }

    /// The text that is stored.
    pub fn encode(&self) -> String {
        let (j, u, d) = match &self.what {
            Revoked::Token(id) => (Some(id.clone()), None, None),
            Revoked::User(user) => (None, Some(user.to_string()), None),
            Revoked::Device(user, device) => {
                (None, Some(user.to_string()), Some(device.to_string()))
            }
        };
        let stored =
            Stored { n: self.tenant.to_string(), j, u, d, a: self.at_ms, e: self.until_ms };
        serde_json::to_string(&stored).expect("invariant: texts and numbers are JSON")
    }

    /// Reads what was stored.
    pub fn decode(text: &str) -> Result<Self, NoRevocation> {
        let stored: Stored = serde_json::from_str(text).map_err(|_| NoRevocation)?;
        let user = |user: &str| UserId::parse(user).map_err(|_| NoRevocation);
        let what = match (&stored.j, &stored.u, &stored.d) {
            (Some(id), None, None) => Revoked::Token(token_id(id).map_err(|_| NoRevocation)?),
            (None, Some(name), None) => Revoked::User(user(name)?),
            (None, Some(name), Some(device)) => {
                Revoked::Device(user(name)?, DeviceId::parse(device).map_err(|_| NoRevocation)?)
            }
            _ => return Err(NoRevocation),
        };
        let tenant = Tenant::parse(&stored.n).map_err(|_| NoRevocation)?;
        Ok(Self { tenant, what, at_ms: stored.a, until_ms: stored.e })
    }
}

impl Revocations {
    /// Adds one; `true`: it says more than what stood.
    pub fn add(&mut self, revocation: &Revocation) -> Result<bool, TooMany> {
        let key = (revocation.tenant.clone(), revocation.what.clone());
        let full = self.by_what.len() >= REVOCATIONS_MOST;
        match self.by_what.get_mut(&key) {
            Some((at_ms, until_ms)) => {
                let more = revocation.at_ms > *at_ms || revocation.until_ms > *until_ms;
                *at_ms = revocation.at_ms.max(*at_ms);
                *until_ms = revocation.until_ms.max(*until_ms);
                Ok(more)
            }
            None if full => Err(TooMany),
            None => {
                self.by_what.insert(key, (revocation.at_ms, revocation.until_ms));
                Ok(true)
            }
        }
    }

    /// Whether the holder's token counts no more.
    pub fn cover(&self, identity: &Identity) -> bool {
        if self.by_what.is_empty() {
            return false;
        }
        let (user, device) = (&identity.user, &identity.device);
        let whats = [
            identity.token_id.clone().map(Revoked::Token),
            Some(Revoked::User(user.clone())),
            device.clone().map(|device| Revoked::Device(user.clone(), device)),
        ];
        whats.into_iter().flatten().any(|what| {
            let key = (identity.tenant.clone(), what);
            let Some((at_ms, until_ms)) = self.by_what.get(&key).copied() else { return false };
            let (tenant, what) = key;
            Revocation { tenant, what, at_ms, until_ms }.covers(identity)
        })
    }

    /// Forgets those whose tokens have run out.
    pub fn sweep(&mut self, now_ms: u64) {
        self.by_what.retain(|_, (_, until_ms)| *until_ms > now_ms);
    }

    /// Those that stand, in order.
    pub fn all(&self) -> BTreeSet<Revocation> {
        let all = self.by_what.iter();
        let revocation =
            |((tenant, what), (at_ms, until_ms)): (&(Tenant, Revoked), &(u64, u64))| {
                let (tenant, what) = (tenant.clone(), what.clone());
                Revocation { tenant, what, at_ms: *at_ms, until_ms: *until_ms }
            };
        all.map(revocation).collect()
    }
}
