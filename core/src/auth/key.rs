//! Keys: what verifies and what signs tokens. Owns their forms and checks; a key is good for exactly one
//! algorithm, whatever a token says. It never shows a secret.

use std::fmt;

use jsonwebtoken::{DecodingKey, EncodingKey, crypto};

/// RFC 7518 §3.2: a key of the hash's size or larger must be used with HS256.
pub const MIN_SECRET_BYTES: usize = 32;

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC with SHA-256 and a shared secret.
    Hs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
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
    #[error("this is a PEM, not a secret; use `pem` with the algorithm ES256")]
    SecretIsPem,
    /// The text is no base64.
    #[error("the secret is not valid base64")]
    BadBase64,
    /// The PEM is no public key on P-256.
    #[error("expected the PEM of a P-256 public key (`-----BEGIN PUBLIC KEY-----`)")]
    BadPublicPem,
    /// The PEM is no private key on P-256 in PKCS#8.
    #[error("expected the PEM of a P-256 private key in PKCS#8 (`-----BEGIN PRIVATE KEY-----`)")]
    BadPrivatePem,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 2] = [Self::Hs256, Self::Es256];

    /// The name in a token's header and in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Es256 => "ES256",
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

    /// The public key for ES256, as PEM (SPKI).
    pub fn es256_pem(id: impl Into<String>, pem: &str) -> Result<Self, KeyError> {
        if !pem.contains("-----BEGIN PUBLIC KEY-----") {
            return Err(KeyError::BadPublicPem);
        }
        let key = DecodingKey::from_ec_pem(pem.as_bytes()).map_err(|_| KeyError::BadPublicPem)?;
        let key = Self { id: id.into(), algorithm: Algorithm::Es256, issuer: None, key };
        // A point of another curve is noticed only on use.
        key.try_verify(b"", "").map_err(|_| KeyError::BadPublicPem)?;
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

    /// The private key for ES256, as PEM (PKCS#8).
    pub fn es256_pem(id: impl Into<String>, pem: &str) -> Result<Self, KeyError> {
        let key = EncodingKey::from_ec_pem(pem.as_bytes()).map_err(|_| KeyError::BadPrivatePem)?;
        let key = Self { id: id.into(), algorithm: Algorithm::Es256, key };
        key.sign(b"").ok_or(KeyError::BadPrivatePem)?;
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
