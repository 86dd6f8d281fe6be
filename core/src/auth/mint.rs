//! Making tokens, for `meridian token`, `meridian dev` and tests. Never makes one that `Verifier` would
//! refuse for its shape or size.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::MAX_TOKEN_BYTES;
use super::claims::{MAX_GRANTS, MAX_ISSUER_BYTES, MAX_NAMES, MAX_SUBSCRIBE, is_name, token_id};
use super::grant::Grant;
use super::key::SigningKey;
use crate::vocabulary::{Channel, DeviceId, Tenant, UserId};

/// What a token is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    pub tenant: Tenant,
    pub user: UserId,
    pub device: Option<DeviceId>,
    pub issuer: Option<String>,
    pub audience: Option<String>,
    pub roles: BTreeSet<String>,
    pub permissions: BTreeSet<String>,
    pub grants: Vec<Grant>,
    pub subscribe: Vec<Channel>,
    pub token_id: Option<String>,
    /// From now to `exp`; `None` makes a token that never expires.
    pub ttl_ms: Option<u64>,
}

/// Why no token was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// A claim that every node would refuse.
    #[error("the claim `{claim}` is not valid or has too many entries")]
    BadClaim { claim: &'static str },
    /// More than `MAX_TOKEN_BYTES`.
    #[error("the token would be longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// The key cannot sign.
    #[error("the key cannot sign")]
    Key,
}

impl Claims {
    /// A token for a user of a tenant, with no rights of its own, good for an hour.
    pub fn new(tenant: Tenant, user: UserId) -> Self {
        Self {
            tenant,
            user,
            device: None,
            issuer: None,
            audience: None,
            roles: BTreeSet::new(),
            permissions: BTreeSet::new(),
            grants: Vec::new(),
            subscribe: Vec::new(),
            token_id: None,
            ttl_ms: Some(3_600_000),
        }
    }

    fn check(&self) -> Result<(), MintError> {
        let issuer_fits =
            |text: &String| text.len() <= MAX_ISSUER_BYTES && !text.chars().any(char::is_control);
        let names_fit = |names: &BTreeSet<String>| {
            names.len() <= MAX_NAMES && names.iter().all(|name| is_name(name))
        };
        let checks = [
            ("iss", self.issuer.as_ref().is_none_or(issuer_fits)),
            ("roles", names_fit(&self.roles)),
            ("permissions", names_fit(&self.permissions)),
            ("channels", self.grants.len() <= MAX_GRANTS),
            ("subscribe", self.subscribe.len() <= MAX_SUBSCRIBE),
            ("jti", self.token_id.as_ref().is_none_or(|id| token_id(id).is_ok())),
        ];
        match checks.into_iter().find(|(_, good)| !good) {
            Some((claim, _)) => Err(MintError::BadClaim { claim }),
            None => Ok(()),
        }
    }

    fn to_json(&self, now_ms: u64) -> Value {
        let mut claims = Map::new();
        let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        put("tenant", json!(self.tenant.as_str()));
        put("sub", json!(self.user.as_str()));
        put("iat", numeric_date(now_ms));
        if let Some(ttl_ms) = self.ttl_ms {
            put("exp", numeric_date(now_ms.saturating_add(ttl_ms)));
        }
        let texts = [
            ("device", self.device.as_ref().map(DeviceId::as_str)),
            ("iss", self.issuer.as_deref()),
            ("aud", self.audience.as_deref()),
            ("jti", self.token_id.as_deref()),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                put(name, json!(text));
            }
        }
        for (name, set) in [("roles", &self.roles), ("permissions", &self.permissions)] {
            if !set.is_empty() {
                put(name, json!(set));
            }
        }
        if !self.grants.is_empty() {
            put("channels", grants(&self.grants));
        }
        if !self.subscribe.is_empty() {
            let channels: Vec<&str> = self.subscribe.iter().map(Channel::as_str).collect();
            put("subscribe", json!(channels));
        }
        Value::Object(claims)
    }
}

/// Makes a token at a moment (milliseconds since 1970).
pub fn mint(key: &SigningKey, claims: &Claims, now_ms: u64) -> Result<String, MintError> {
    claims.check()?;
    let mut header = json!({"alg": key.algorithm.as_str(), "typ": "JWT"});
    if !key.id.is_empty() {
        header["kid"] = json!(key.id);
    }
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", encode(&header), encode(&claims.to_json(now_ms)));
    let signature = key.sign(signed.as_bytes()).ok_or(MintError::Key)?;
    let token = format!("{signed}.{signature}");
    if token.len() > MAX_TOKEN_BYTES { Err(MintError::TooLong) } else { Ok(token) }
}

/// Whole seconds as an integer, which every reader takes; a fraction only where there is one.
fn numeric_date(ms: u64) -> Value {
    if ms.is_multiple_of(1000) { json!(ms / 1000) } else { json!(ms as f64 / 1000.0) }
}

/// The grants by pattern; those of one pattern become one.
fn grants(grants: &[Grant]) -> Value {
    let mut by_pattern = Map::new();
    for grant in grants {
        let all = grants.iter().filter(|other| other.pattern == grant.pattern);
        let actions = all.flat_map(|grant| grant.actions.iter());
        let actions: BTreeSet<_> = actions.map(super::Action::as_str).collect();
        by_pattern.insert(grant.pattern.to_string(), json!(actions));
    }
    Value::Object(by_pattern)
}
