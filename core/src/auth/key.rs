//! Keys: what verifies and what signs tokens. Owns their forms and checks; a key is good for exactly one
//! algorithm, whatever a token says. It never shows a secret.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::rust_crypto;
use jsonwebtoken::{DecodingKey, EncodingKey, crypto};

/// RFC 7518 §3.2: a key of the hash's size or larger must be used with HS256.
pub const MIN_SECRET_BYTES: usize = 32;
/// RFC 7518 §3.3: a key of 2048 bits or larger must be used with RS256.
pub const MIN_RSA_BITS: usize = 2048;
/// What the verifying library takes; a check costs the more, the longer the key is.
pub const MAX_RSA_BITS: usize = 4096;
const ED25519_BYTES: usize = 32;

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC with SHA-256 and a shared secret.
    Hs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// RSA with SHA-256 and the padding of PKCS#1, version 1.5.
    Rs256,
    /// Ed25519.
    EdDsa,
}

/// A key that checks tokens.
#[derive(Clone)]
pub struct VerificationKey {
    pub(super) id: String,
    pub(super) algorithm: Algorithm,
    pub(super) issuer: Option<String>,
    key: DecodingKey,
}

/// A key that makes tokens. One with an empty id makes tokens that name no key.
#[derive(Clone)]
pub struct SigningKey {
    pub(super) id: String,
    pub(super) algorithm: Algorithm,
    key: EncodingKey,
}

/// Why a key was refused. Never holds any of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Anyone could find it by trying.
    #[error("an HS256 secret needs at least {MIN_SECRET_BYTES} bytes")]
    ShortSecret,
    /// A PEM as a secret is a mistake, and with a public key a grave one.
    #[error("this is a PEM, not a secret; use `pem` with the algorithm ES256, RS256 or EdDSA")]
    SecretIsPem,
    /// The text is no base64.
    #[error("the secret is not valid base64")]
    BadBase64,
    /// The PEM is no public key for the algorithm.
    #[error("expected the PEM of {} public key (`-----BEGIN PUBLIC KEY-----`)", .0.key_name())]
    BadPublicPem(Algorithm),
    /// The PEM is no private key for the algorithm, in PKCS#8.
    #[error("expected the PEM of {} private key in PKCS#8 (`-----BEGIN PRIVATE KEY-----`)", .0.key_name())]
    BadPrivatePem(Algorithm),
    /// The PEM is no private key for any algorithm that has one, in PKCS#8.
    #[error(
        "expected the PEM of a private key on P-256, of RSA or of Ed25519, in PKCS#8 \
         (`-----BEGIN PRIVATE KEY-----`)"
    )]
    NoPrivatePem,
    /// Such a key can be broken, or costs too much to use.
    #[error("an RSA key must have from {MIN_RSA_BITS} to {MAX_RSA_BITS} bits")]
    RsaBits,
    /// Its members don't make a key.
    #[error("not {} public key", .0.key_name())]
    BadMembers(Algorithm),
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 4] = [Self::Hs256, Self::Es256, Self::Rs256, Self::EdDsa];

    /// The name in a token's header and in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// What its keys are called, with the article.
    fn key_name(self) -> &'static str {
        match self {
            Self::Hs256 => "a secret",
            Self::Es256 => "a P-256",
            Self::Rs256 => "an RSA",
            Self::EdDsa => "an Ed25519",
        }
    }

    /// The algorithm of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == text)
    }

    fn of_crate(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

impl VerificationKey {
    /// A shared secret for HS256.
    pub fn hs256(id: impl Into<String>, secret: &[u8]) -> Result<Self, KeyError> {
        check_secret(secret)?;
        let key = DecodingKey::from_secret(secret);
        Ok(Self { id: id.into(), algorithm: Algorithm::Hs256, issuer: None, key })
    }

    /// A public key, as PEM (SPKI).
    pub fn from_pem(
        id: impl Into<String>,
        algorithm: Algorithm,
        pem: &str,
    ) -> Result<Self, KeyError> {
        let bad = KeyError::BadPublicPem(algorithm);
        if !pem.contains("-----BEGIN PUBLIC KEY-----") {
            return Err(bad);
        }
        let pem = pem.as_bytes();
        let key = match algorithm {
            Algorithm::Hs256 => return Err(KeyError::SecretIsPem),
            Algorithm::Es256 => DecodingKey::from_ec_pem(pem),
            Algorithm::Rs256 => DecodingKey::from_rsa_pem(pem),
            Algorithm::EdDsa => DecodingKey::from_ed_pem(pem),
        };
        Self::public(id.into(), algorithm, key.map_err(|_| bad)?, bad)
    }

    /// An RSA key by its members in a JWK (RFC 7518 §6.3.1).
    pub(super) fn rsa(id: String, n: &str, e: &str) -> Result<Self, KeyError> {
        let bad = KeyError::BadMembers(Algorithm::Rs256);
        let key = DecodingKey::from_rsa_components(n, e).map_err(|_| bad)?;
        let n = URL_SAFE_NO_PAD.decode(n).map_err(|_| bad)?;
        check_rsa_bits(&n)?;
        Self::used(id, Algorithm::Rs256, key, bad)
    }

    /// A point on P-256 by its members in a JWK (RFC 7518 §6.2.1).
    pub(super) fn p256(id: String, x: &str, y: &str) -> Result<Self, KeyError> {
        let bad = KeyError::BadMembers(Algorithm::Es256);
        let key = DecodingKey::from_ec_components(x, y).map_err(|_| bad)?;
        Self::public(id, Algorithm::Es256, key, bad)
    }

    /// A point on Ed25519 by its member in a JWK (RFC 8037 §2).
    pub(super) fn ed25519(id: String, x: &str) -> Result<Self, KeyError> {
        let bad = KeyError::BadMembers(Algorithm::EdDsa);
        let key = DecodingKey::from_ed_components(x).map_err(|_| bad)?;
        Self::public(id, Algorithm::EdDsa, key, bad)
    }

    fn public(
        id: String,
        algorithm: Algorithm,
        key: DecodingKey,
        bad: KeyError,
    ) -> Result<Self, KeyError> {
        let bytes = key.try_get_as_bytes().map_err(|_| bad)?;
        match algorithm {
            Algorithm::Rs256 => check_rsa_bits(&rsa_modulus(bytes).ok_or(bad)?)?,
            // The library takes the first bytes of a longer key, and panics at a shorter one.
            Algorithm::EdDsa if bytes.len() != ED25519_BYTES => return Err(bad),
            _ => {}
        }
        Self::used(id, algorithm, key, bad)
    }

    /// A point of another curve, or a modulus that is none, is noticed only on use.
    fn used(
        id: String,
        algorithm: Algorithm,
        key: DecodingKey,
        bad: KeyError,
    ) -> Result<Self, KeyError> {
        let key = Self { id, algorithm, issuer: None, key };
        key.try_verify(b"", "").map_err(|_| bad)?;
        Ok(key)
    }

    /// Binds the key to an issuer: it verifies that issuer's tokens only, and no unbound key does.
    #[must_use]
    pub fn bound_to(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// The key's id (`kid`).
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What the key is for.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The issuer that the key is bound to.
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// Whether `signature` (base64url, no padding) is this key's of `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &str) -> bool {
        self.try_verify(message, signature).unwrap_or(false)
    }

    fn try_verify(&self, message: &[u8], signature: &str) -> jsonwebtoken::errors::Result<bool> {
        crypto::verify(signature, message, &self.key, self.algorithm.of_crate())
    }
}

impl SigningKey {
    /// A shared secret for HS256.
    pub fn hs256(id: impl Into<String>, secret: &[u8]) -> Result<Self, KeyError> {
        check_secret(secret)?;
        let key = EncodingKey::from_secret(secret);
        Ok(Self { id: id.into(), algorithm: Algorithm::Hs256, key })
    }

    /// A private key, as PEM (PKCS#8); its form tells the algorithm.
    pub fn from_pem(id: impl Into<String>, pem: &str) -> Result<Self, KeyError> {
        let id = id.into();
        for algorithm in [Algorithm::Es256, Algorithm::Rs256, Algorithm::EdDsa] {
            match Self::from_pem_for(&id, algorithm, pem) {
                Err(KeyError::BadPrivatePem(_)) => {}
                decided => return decided,
            }
        }
        Err(KeyError::NoPrivatePem)
    }

    fn from_pem_for(id: &str, algorithm: Algorithm, pem: &str) -> Result<Self, KeyError> {
        let bad = KeyError::BadPrivatePem(algorithm);
        if !pem.contains("-----BEGIN PRIVATE KEY-----") {
            return Err(bad);
        }
        let bytes = pem.as_bytes();
        let key = match algorithm {
            Algorithm::Hs256 => return Err(KeyError::SecretIsPem),
            Algorithm::Es256 => EncodingKey::from_ec_pem(bytes),
            Algorithm::Rs256 => EncodingKey::from_rsa_pem(bytes),
            Algorithm::EdDsa => EncodingKey::from_ed_pem(bytes),
        };
        let key = key.map_err(|_| bad)?;
        if algorithm == Algorithm::Rs256 {
            let utils = &rust_crypto::DEFAULT_PROVIDER.key_utils;
            let members = (utils.rsa_pub_components_from_private_key)(key.as_bytes());
            check_rsa_bits(&members.map_err(|_| bad)?.0)?;
        }
        let key = Self { id: id.to_owned(), algorithm, key };
        key.sign(b"").ok_or(bad)?;
        Ok(key)
    }

    /// The key's id (`kid`).
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What the key is for.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The signature, base64url without padding.
    pub(super) fn sign(&self, message: &[u8]) -> Option<String> {
        crypto::sign(message, &self.key, self.algorithm.of_crate()).ok()
    }
}

fn rsa_modulus(der: &[u8]) -> Option<Vec<u8>> {
    let utils = &rust_crypto::DEFAULT_PROVIDER.key_utils;
    (utils.rsa_pub_components_from_public_key)(der).ok().map(|(modulus, _)| modulus)
}

/// `modulus` is big-endian.
fn check_rsa_bits(modulus: &[u8]) -> Result<(), KeyError> {
    let at = modulus.iter().position(|byte| *byte != 0).unwrap_or(modulus.len());
    let leading = modulus.get(at).map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = (8 * (modulus.len() - at)).saturating_sub(leading);
    if (MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) { Ok(()) } else { Err(KeyError::RsaBits) }
}

fn check_secret(secret: &[u8]) -> Result<(), KeyError> {
    if secret.trim_ascii_start().starts_with(b"-----BEGIN") {
        return Err(KeyError::SecretIsPem);
    }
    if secret.len() < MIN_SECRET_BYTES {
        return Err(KeyError::ShortSecret);
    }
    Ok(())
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}
