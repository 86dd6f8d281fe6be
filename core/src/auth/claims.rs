//! The claims of a token whose signature held. Owns their grammar and bounds, so that no token takes more
//! memory than it should; every refusal names the claim.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::grant::{Action, Actions, Grant, Pattern};
use super::{Identity, TokenError, VerifierOptions};
use crate::vocabulary::{Channel, DeviceId, Scope, Tenant, UserId};

pub(super) const MAX_ISSUER_BYTES: usize = 255;
pub(super) const MAX_TOKEN_ID_BYTES: usize = 128;
/// Bounds on a list of names, such as roles.
pub(super) const MAX_NAMES: usize = 64;
pub(super) const MAX_NAME_BYTES: usize = 128;
pub(super) const MAX_GRANTS: usize = 128;
pub(super) const MAX_SUBSCRIBE: usize = 64;

/// Each claim as it stands in the token, so that a wrong type is told by the claim's name.
#[derive(Deserialize)]
pub(super) struct RawClaims<'a> {
    #[serde(borrow, default)]
    tenant: Option<&'a RawValue>,
    #[serde(borrow, default)]
    sub: Option<&'a RawValue>,
    #[serde(borrow, default)]
    device: Option<&'a RawValue>,
    #[serde(borrow, default)]
    roles: Option<&'a RawValue>,
    #[serde(borrow, default)]
    permissions: Option<&'a RawValue>,
    #[serde(borrow, default)]
    channels: Option<&'a RawValue>,
    #[serde(borrow, default)]
    subscribe: Option<&'a RawValue>,
    #[serde(borrow, default)]
    iss: Option<&'a RawValue>,
    #[serde(borrow, default)]
    aud: Option<&'a RawValue>,
    #[serde(borrow, default)]
    exp: Option<&'a RawValue>,
    #[serde(borrow, default)]
    nbf: Option<&'a RawValue>,
    #[serde(borrow, default)]
    iat: Option<&'a RawValue>,
    #[serde(borrow, default)]
    jti: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<'a> {
    #[serde(borrow)]
    One(Cow<'a, str>),
    Many(Vec<Cow<'a, str>>),
}

impl<'a> RawClaims<'a> {
    pub(super) fn parse(payload: &'a [u8]) -> Result<Self, TokenError> {
        serde_json::from_slice(payload).map_err(|_| TokenError::Malformed)
    }

    /// `iss`; empty if there is none.
    pub(super) fn issuer(&self) -> Result<Cow<'a, str>, TokenError> {
        let issuer: Cow<'a, str> = read(self.iss, "iss")?.unwrap_or_default();
        if issuer.len() > MAX_ISSUER_BYTES || issuer.chars().any(char::is_control) {
            return Err(TokenError::BadClaim { claim: "iss" });
        }
        Ok(issuer)
    }

    pub(super) fn check_audience(&self, audience: &[String]) -> Result<(), TokenError> {
        let named = match read(self.aud, "aud")? {
            None => Vec::new(),
            Some(OneOrMany::One(name)) => vec![name],
            Some(OneOrMany::Many(names)) => names,
        };
        let meant = match (named.is_empty(), audience.is_empty()) {
            (true, unnamed) => unnamed,
            (false, _) => named.iter().any(|name| audience.iter().any(|own| *own == **name)),
        };
        if meant { Ok(()) } else { Err(TokenError::WrongAudience) }
    }

    /// Checks `exp`, `nbf` and `iat`; returns the first moment at which the token counts as expired.
    pub(super) fn check_times(
        &self,
        options: &VerifierOptions,
        now_ms: u64,
    ) -> Result<Option<u64>, TokenError> {
        let bad_expiry = TokenError::BadClaim { claim: "exp" };
        let leeway_ms = options.leeway_ms;
        let (exp_ms, iat_ms) = (numeric_date(self.exp, "exp")?, numeric_date(self.iat, "iat")?);
        let from_ms = numeric_date(self.nbf, "nbf")?.max(iat_ms).unwrap_or(0);
        let Some(exp_ms) = exp_ms else {
            if options.require_expiry || options.max_lifetime_ms.is_some() {
                return Err(bad_expiry);
            }
            return not_before(from_ms, now_ms, leeway_ms).map(|()| None);
        };
        let expires_at_ms = exp_ms.saturating_add(leeway_ms);
        if now_ms >= expires_at_ms {
            return Err(TokenError::Expired);
        }
        not_before(from_ms, now_ms, leeway_ms)?;
        let lifetime_ms = exp_ms.saturating_sub(iat_ms.unwrap_or(now_ms));
        if options.max_lifetime_ms.is_some_and(|max| lifetime_ms > max) {
            return Err(bad_expiry);
        }
        Ok(Some(expires_at_ms))
    }

    pub(super) fn into_identity(
        self,
        issuer: String,
        expires_at_ms: Option<u64>,
    ) -> Result<Identity, TokenError> {
        let user = required(self.sub, "sub", UserId::parse)?;
        Ok(Identity {
            tenant: required(self.tenant, "tenant", Tenant::parse)?,
            device: optional(self.device, "device", DeviceId::parse)?,
            roles: names(self.roles, "roles")?,
            permissions: names(self.permissions, "permissions")?,
            grants: grants(self.channels)?,
            subscribe: channels(self.subscribe)?,
            token_id: optional(self.jti, "jti", token_id)?,
            issued_at_ms: numeric_date(self.iat, "iat")?,
            expires_at_ms,
            scope: Scope::of_token(&issuer, user.as_str()),
            issuer,
            user,
        })
    }
}

fn not_before(from_ms: u64, now_ms: u64, leeway_ms: u64) -> Result<(), TokenError> {
    if from_ms > now_ms.saturating_add(leeway_ms) { Err(TokenError::NotYetValid) } else { Ok(()) }
}

fn read<'a, T: Deserialize<'a>>(
    raw: Option<&'a RawValue>,
    claim: &'static str,
) -> Result<Option<T>, TokenError> {
    let bad = |_| TokenError::BadClaim { claim };
    raw.map(|raw| serde_json::from_str(raw.get()).map_err(bad)).transpose()
}

fn optional<T, E>(
    raw: Option<&RawValue>,
    claim: &'static str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, TokenError> {
    let text: Option<Text<'_>> = read(raw, claim)?;
    text.map(|text| parse(&text.0).map_err(|_| TokenError::BadClaim { claim })).transpose()
}

fn required<T, E>(
    raw: Option<&RawValue>,
    claim: &'static str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<T, TokenError> {
    optional(raw, claim, parse)?.ok_or(TokenError::BadClaim { claim })
}

/// A NumericDate (RFC 7519 §2: seconds since 1970, perhaps with a fraction) in milliseconds.
fn numeric_date(raw: Option<&RawValue>, claim: &'static str) -> Result<Option<u64>, TokenError> {
    match read::<f64>(raw, claim)? {
        // A float turned into an integer saturates, so a date beyond all time stays beyond it.
        Some(seconds) if seconds >= 0.0 => Ok(Some((seconds * 1000.0).round() as u64)),
        Some(_) => Err(TokenError::BadClaim { claim }),
        None => Ok(None),
    }
}

fn names(raw: Option<&RawValue>, claim: &'static str) -> Result<BTreeSet<String>, TokenError> {
    let names: Vec<Text<'_>> = read(raw, claim)?.unwrap_or_default();
    if names.len() > MAX_NAMES || !names.iter().all(|name| is_name(&name.0)) {
        return Err(TokenError::BadClaim { claim });
    }
    Ok(names.into_iter().map(|name| String::from(&*name.0)).collect())
}

/// Whether the text can be a role's or a permission's name.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME_BYTES && !text.chars().any(char::is_control)
}

fn grants(raw: Option<&RawValue>) -> Result<Vec<Grant>, TokenError> {
    let bad = TokenError::BadClaim { claim: "channels" };
    let named: BTreeMap<Text<'_>, Vec<Text<'_>>> = read(raw, "channels")?.unwrap_or_default();
    if named.len() > MAX_GRANTS {
        return Err(bad);
    }
    let mut grants = Vec::with_capacity(named.len());
    for (pattern, actions) in named {
        let pattern = Pattern::parse(&pattern.0).map_err(|_| bad)?;
        let actions = actions.iter().map(|action| action.0.parse::<Action>());
        let actions = actions.collect::<Result<Actions, _>>().map_err(|_| bad)?;
        grants.push(Grant { pattern, actions });
    }
    Ok(grants)
}

fn channels(raw: Option<&RawValue>) -> Result<Vec<Channel>, TokenError> {
    let bad = TokenError::BadClaim { claim: "subscribe" };
    let named: Vec<Text<'_>> = read(raw, "subscribe")?.unwrap_or_default();
    if named.len() > MAX_SUBSCRIBE {
        return Err(bad);
    }
    let channels = named.iter().map(|name| Channel::parse(&name.0));
    let channels = channels.collect::<Result<BTreeSet<_>, _>>().map_err(|_| bad)?;
    Ok(channels.into_iter().collect())
}

pub(super) fn token_id(text: &str) -> Result<String, TokenError> {
    let fits = !text.is_empty() && text.len() <= MAX_TOKEN_ID_BYTES;
    if fits && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err(TokenError::BadClaim { claim: "jti" })
    }
}

/// A string, borrowed from the token where it has no escapes.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
