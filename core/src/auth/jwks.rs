//! A set of public keys in JSON (RFC 7517). Owns what of it is taken: public keys that sign, each for one
//! algorithm, and few enough. What it does not take it leaves out; a text that is no set it refuses whole.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::key::{Algorithm, KeyError, VerificationKey};

/// No larger text is read.
pub const JWKS_BYTES_MOST: usize = 256 * 1024;
/// No set with more keys is taken: an issuer has a few.
pub const JWKS_KEYS_MOST: usize = 64;
const KEY_ID_BYTES_MOST: usize = 255;

/// The keys of a set.
#[derive(Debug, Clone, Default)]
pub struct Jwks {
    pub keys: Vec<VerificationKey>,
    /// Keys that are not taken: of another kind or algorithm, for another use, weak or broken.
    pub left_out: usize,
}

/// Why a text is no set of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// Larger than `JWKS_BYTES_MOST`.
    #[error("the key set has more than {JWKS_BYTES_MOST} bytes")]
    TooLarge,
    /// No JSON object with a list `keys`.
    #[error("not a key set: a JSON object with a list `keys` is expected")]
    Malformed,
    /// More than `JWKS_KEYS_MOST` keys.
    #[error("the key set has more than {JWKS_KEYS_MOST} keys")]
    TooManyKeys,
    /// There is a set, but nothing in it verifies a token.
    #[error("the key set has no key for ES256, RS256 or EdDSA")]
    NoKey,
}

#[derive(Deserialize)]
struct Set<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// The members of a key that matter here. Private members and secrets are not even read.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwks {
    /// Reads a set. A key without `kid` gets the empty id.
    pub fn parse(text: &[u8]) -> Result<Self, JwksError> {
        if text.len() > JWKS_BYTES_MOST {
            return Err(JwksError::TooLarge);
        }
        let set: Set<'_> = serde_json::from_slice(text).map_err(|_| JwksError::Malformed)?;
        if set.keys.len() > JWKS_KEYS_MOST {
            return Err(JwksError::TooManyKeys);
        }
        let mut jwks = Self::default();
        for raw in set.keys {
            match serde_json::from_str::<Jwk>(raw.get()).ok().and_then(Jwk::into_key) {
                Some(key) => jwks.keys.push(key),
                None => jwks.left_out += 1,
            }
        }
        if jwks.keys.is_empty() { Err(JwksError::NoKey) } else { Ok(jwks) }
    }
}

impl Jwk {
    /// `None`: not for us. A shared secret (`oct`) never is: who serves it has shown it.
    fn into_key(self) -> Option<VerificationKey> {
        let signs = self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        let algorithm = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => Algorithm::Rs256,
            ("EC", Some("P-256")) => Algorithm::Es256,
            ("OKP", Some("Ed25519")) => Algorithm::EdDsa,
            _ => return None,
        };
        let meant = self.alg.as_deref().is_none_or(|alg| alg == algorithm.as_str());
        let id = self.kid.clone().unwrap_or_default();
        if !signs || !meant || id.len() > KEY_ID_BYTES_MOST {
            return None;
        }
        self.members(algorithm, id)?.ok()
    }

    fn members(
        self,
        algorithm: Algorithm,
        id: String,
    ) -> Option<Result<VerificationKey, KeyError>> {
        Some(match algorithm {
            Algorithm::Rs256 => VerificationKey::rsa(id, &self.n?, &self.e?),
            Algorithm::Es256 => VerificationKey::p256(id, &self.x?, &self.y?),
            Algorithm::EdDsa => VerificationKey::ed25519(id, &self.x?),
            Algorithm::Hs256 => return None,
        })
    }
}
