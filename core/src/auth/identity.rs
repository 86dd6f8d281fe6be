//! The holder of a verified token. Owns what is known of them; decides nothing.

use std::collections::BTreeSet;

use super::grant::Grant;
use crate::vocabulary::{Channel, DeviceId, Scope, Tenant, UserId};

/// Who a verified token's holder is and what the token says they may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub tenant: Tenant,
    pub user: UserId,
    pub device: Option<DeviceId>,
    /// Empty for a token without `iss`.
    pub issuer: String,
    pub roles: BTreeSet<String>,
    pub permissions: BTreeSet<String>,
    /// Count only where a namespace's policy lists the rule `granted`.
    pub grants: Vec<Grant>,
    /// The channels to which the server subscribes the session on connect (each still authorised).
    pub subscribe: Vec<Channel>,
    pub token_id: Option<String>,
    /// `iat`, in milliseconds since 1970.
    pub issued_at_ms: Option<u64>,
    /// The first moment at which the token counts as expired here: `exp` and the leeway. `None` for a
    /// token without `exp`.
    pub expires_at_ms: Option<u64>,
    /// The publisher scope: issuer and user.
    pub scope: Scope,
}

impl Identity {
    /// Whether the token has run out.
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_at_ms.is_some_and(|at| now_ms >= at)
    }
}
