//! Verification of tokens: shape, key, signature, times, then claims. Owns the order of these checks:
//! nothing of a token is believed before its signature holds, and no key is used for an algorithm
//! other than its own. What a token says of its issuer picks the keys that are tried, no more.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::claims::RawClaims;
use super::issuer::{Issuer, Published, Tenants};
use super::key::{Algorithm, VerificationKey};
use super::{Identity, MAX_TOKEN_BYTES};
use crate::vocabulary::Tenant;

/// Checks tokens against a node's keys.
#[derive(Debug, Clone)]
pub struct Verifier {
    keys: Vec<VerificationKey>,
    issuers: Arc<[Issuer]>,
    options: VerifierOptions,
}

/// What a token must fulfil besides its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierOptions {
    /// The names under which this service is meant; a token must name one of them. Empty: a token must
    /// not name any audience (RFC 7519 §4.1.3).
    pub audience: Vec<String>,
    /// By how much the clocks of issuer and node may differ.
    pub leeway_ms: u64,
    /// Whether a token without `exp` is refused.
    pub require_expiry: bool,
    /// The longest time from `iat` (or from now, without one) to `exp`.
    pub max_lifetime_ms: Option<u64>,
}

/// Why a token was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No JWT, or longer than `MAX_TOKEN_BYTES`, or one with extensions that must be understood.
    #[error("the token is malformed")]
    Malformed,
    /// An algorithm that is not supported, or not the one of the key that the token names.
    #[error("the token's algorithm is not supported")]
    UnsupportedAlgorithm,
    /// No key of that id or for that algorithm.
    #[error("the token's key is not known")]
    UnknownKey,
    /// Not signed by the key.
    #[error("the token's signature does not match")]
    BadSignature,
    /// `exp` lies in the past.
    #[error("the token has expired")]
    Expired,
    /// `nbf` or `iat` lies in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `aud` does not name this service.
    #[error("the token is for another audience")]
    WrongAudience,
    /// The key may not speak for the token's `iss`.
    #[error("the token's issuer is not the key's")]
    WrongIssuer,
    /// The issuer does not speak for the token's tenant.
    #[error("the token's issuer may not speak for its tenant")]
    WrongTenant,
    /// The issuer's keys could not be fetched, or too long ago.
    #[error("the keys of the token's issuer are not to be had")]
    KeysUnavailable,
    /// It was revoked, or its holder's tokens were.
    #[error("the token was revoked")]
    Revoked,
    /// A claim is missing where required, of the wrong type, or out of bounds.
    #[error("the token's claim `{claim}` is missing or not valid")]
    BadClaim { claim: &'static str },
}

impl Verifier {
    /// A verifier of those keys. Of two keys with one id for one algorithm both are tried.
    pub fn new(keys: Vec<VerificationKey>, options: VerifierOptions) -> Self {
        Self { keys, issuers: Arc::default(), options }
    }

    /// The same with issuers that have tenants, audiences or published keys of their own.
    #[must_use]
    pub fn with_issuers(self, issuers: Vec<Issuer>) -> Self {
        Self { issuers: issuers.into(), ..self }
    }

    /// The issuers of which more is known than a key.
    pub fn issuers(&self) -> &[Issuer] {
        &self.issuers
    }

    /// Whether an issuer's tokens may name a tenant; whoever is bound to none may name any.
    pub fn speaks_for(&self, issuer: &str, tenant: &Tenant) -> bool {
        self.issuer(issuer).is_none_or(|issuer| issuer.tenants.include(tenant))
    }

    /// Whether an issuer's tokens may name any tenant.
    pub fn speaks_for_all(&self, issuer: &str) -> bool {
        self.issuer(issuer).is_none_or(|issuer| issuer.tenants == Tenants::Any)
    }

    /// The issuer that a token names, if it is one of `issuers`. Nothing of the token is checked.
    pub fn named_issuer(&self, token: &str) -> Option<&Issuer> {
        let payload = decode(Parts::split(token).ok()?.payload).ok()?;
        let name = RawClaims::parse(&payload).ok()?.issuer().ok()?;
        self.issuer(&name)
    }

    /// Checks a token at a moment (milliseconds since 1970) and tells who its holder is.
    pub fn verify(&self, token: &str, now_ms: u64) -> Result<Identity, TokenError> {
        let parts = Parts::split(token)?;
        let payload = decode(parts.payload)?;
        let claims = RawClaims::parse(&payload)?;
        let name = claims.issuer()?;
        let issuer = self.issuer(&name);
        self.check_signature(&parts, &name, issuer)?;
        claims.check_audience(issuer.map_or(&self.options.audience, |issuer| &issuer.audience))?;
        let expires_at_ms = claims.check_times(&self.options, now_ms)?;
        let identity = claims.into_identity(name.into_owned(), expires_at_ms)?;
        match self.speaks_for(&identity.issuer, &identity.tenant) {
            true => Ok(identity),
            false => Err(TokenError::WrongTenant),
        }
    }

    fn issuer(&self, name: &str) -> Option<&Issuer> {
        self.issuers.iter().find(|issuer| issuer.name == name)
    }

    /// Whether a key signed the token that may speak for the issuer it names.
    fn check_signature(
        &self,
        parts: &Parts<'_>,
        name: &str,
        issuer: Option<&Issuer>,
    ) -> Result<(), TokenError> {
        let header = decode(parts.header)?;
        let header: Header<'_> =
            serde_json::from_slice(&header).map_err(|_| TokenError::Malformed)?;
        if header.crit.is_some() {
            return Err(TokenError::Malformed);
        }
        let algorithm = Algorithm::parse(&header.alg).ok_or(TokenError::UnsupportedAlgorithm)?;
        let kid = header.kid.as_deref();
        let configured = match signer(&self.keys, algorithm, kid, parts) {
            Ok(key) => return self.check_issuer(key, name),
            Err(refusal) => refusal,
        };
        let Some(published) = issuer.and_then(|issuer| issuer.published.as_ref()) else {
            return Err(configured);
        };
        check_published(published, algorithm, kid, parts)
    }

    /// A bound key speaks for its issuer only, and for an issuer with keys of its own none but these do:
    /// otherwise one issuer could publish in another's scope.
    fn check_issuer(&self, key: &VerificationKey, name: &str) -> Result<(), TokenError> {
        let allowed = match &key.issuer {
            Some(bound) => bound == name,
            None => {
                self.issuer(name).is_none()
                    && self.keys.iter().all(|other| other.issuer.as_deref() != Some(name))
            }
        };
        if allowed { Ok(()) } else { Err(TokenError::WrongIssuer) }
    }
}

/// The key that signed the token: the one that it names, or else any for its algorithm.
fn signer<'k>(
    keys: &'k [VerificationKey],
    algorithm: Algorithm,
    kid: Option<&str>,
    parts: &Parts<'_>,
) -> Result<&'k VerificationKey, TokenError> {
    let mut refusal = TokenError::UnknownKey;
    for key in keys.iter().filter(|key| kid.is_none_or(|kid| key.id == kid)) {
        if key.algorithm == algorithm {
            if key.verifies(parts.signed, parts.signature) {
                return Ok(key);
            }
            refusal = TokenError::BadSignature;
        } else if kid.is_some() && refusal == TokenError::UnknownKey {
            refusal = TokenError::UnsupportedAlgorithm;
        }
    }
    Err(refusal)
}

/// Of several published keys for an algorithm a token must name one (OpenID Connect Core §10.1): a
/// set may be large, and each try costs.
fn check_published(
    published: &Published,
    algorithm: Algorithm,
    kid: Option<&str>,
    parts: &Parts<'_>,
) -> Result<(), TokenError> {
    let keys = published.set.keys().ok_or(TokenError::KeysUnavailable)?;
    let several = keys.iter().filter(|key| key.algorithm == algorithm).nth(1).is_some();
    if kid.is_none() && several {
        return Err(TokenError::UnknownKey);
    }
    signer(&keys, algorithm, kid, parts).map(|_| ())
}

impl Default for VerifierOptions {
    /// No audience, 30 s of leeway, `exp` required, any lifetime.
    fn default() -> Self {
        Self {
            audience: Vec::new(),
            leeway_ms: 30_000,
            require_expiry: true,
            max_lifetime_ms: None,
        }
    }
}

#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow, default)]
    kid: Option<Cow<'a, str>>,
    /// Extensions that must be understood (RFC 7515 §4.1.11); none is.
    #[serde(default)]
    crit: Option<IgnoredAny>,
}

struct Parts<'a> {
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
    /// Header, dot and payload: what the signature covers.
    signed: &'a [u8],
}

impl<'a> Parts<'a> {
    fn split(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        if payload.contains('.') {
            return Err(TokenError::Malformed);
        }
        Ok(Self { header, payload, signature, signed: signed.as_bytes() })
    }
}

/// The text of a JSON object; serde would also take a list for a struct.
fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    let text = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)?;
    if text.trim_ascii_start().starts_with(b"{") { Ok(text) } else { Err(TokenError::Malformed) }
}
