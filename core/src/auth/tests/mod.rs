//! Tokens and rules against what must never pass. `Forge` makes tokens that `mint` never would.

mod claims;
mod issuers;
mod revocations;
mod rules;
mod tokens;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Algorithm, SigningKey, TokenError, VerificationKey, Verifier, VerifierOptions};

const NOW_MS: u64 = 1_764_000_000_000;
const NOW_S: u64 = NOW_MS / 1000;
const SECRET: &[u8] = b"a secret of thirty-two bytes, ok";
const PRIVATE_PEM: &str = include_str!("../../../tests/keys/es256-private.pem");
const PUBLIC_PEM: &str = include_str!("../../../tests/keys/es256-public.pem");
const OTHER_PUBLIC_PEM: &str = include_str!("../../../tests/keys/other-public.pem");
const P384_PUBLIC_PEM: &str = include_str!("../../../tests/keys/es384-public.pem");
const P384_PRIVATE_PEM: &str = include_str!("../../../tests/keys/es384-private.pem");
const RSA_PRIVATE_PEM: &str = include_str!("../../../tests/keys/rs256-private.pem");
const RSA_PUBLIC_PEM: &str = include_str!("../../../tests/keys/rs256-public.pem");
const RSA1024_PRIVATE_PEM: &str = include_str!("../../../tests/keys/rsa1024-private.pem");
const RSA1024_PUBLIC_PEM: &str = include_str!("../../../tests/keys/rsa1024-public.pem");
const ED_PRIVATE_PEM: &str = include_str!("../../../tests/keys/ed25519-private.pem");
const ED_PUBLIC_PEM: &str = include_str!("../../../tests/keys/ed25519-public.pem");
const ED448_PUBLIC_PEM: &str = include_str!("../../../tests/keys/ed448-public.pem");

fn hs_key() -> VerificationKey {
    VerificationKey::hs256("hs", SECRET).unwrap()
}

fn es_key() -> VerificationKey {
    VerificationKey::from_pem("es", Algorithm::Es256, PUBLIC_PEM).unwrap()
}

fn rs_key() -> VerificationKey {
    VerificationKey::from_pem("rs", Algorithm::Rs256, RSA_PUBLIC_PEM).unwrap()
}

fn ed_key() -> VerificationKey {
    VerificationKey::from_pem("ed", Algorithm::EdDsa, ED_PUBLIC_PEM).unwrap()
}

fn hs_signer() -> SigningKey {
    SigningKey::hs256("hs", SECRET).unwrap()
}

fn es_signer() -> SigningKey {
    SigningKey::from_pem("es", PRIVATE_PEM).unwrap()
}

fn rs_signer() -> SigningKey {
    SigningKey::from_pem("rs", RSA_PRIVATE_PEM).unwrap()
}

fn ed_signer() -> SigningKey {
    SigningKey::from_pem("ed", ED_PRIVATE_PEM).unwrap()
}

fn signers() -> [SigningKey; 4] {
    [hs_signer(), es_signer(), rs_signer(), ed_signer()]
}

fn verifier() -> Verifier {
    Verifier::new(vec![hs_key(), es_key(), rs_key(), ed_key()], VerifierOptions::default())
}

/// The least that passes.
fn good() -> Value {
    json!({"tenant": "demo", "sub": "ann", "exp": NOW_S + 3600})
}

/// The least that passes, with some claims set; `null` removes one.
fn with(claims: &Value) -> Value {
    let mut all = good();
    for (name, value) in claims.as_object().unwrap() {
        all[name] = value.clone();
    }
    all
}

/// Signs any header and payload.
fn forge(header: &Value, payload: &Value, signer: &SigningKey) -> String {
    forge_text(&header.to_string(), &payload.to_string(), signer)
}

fn forge_text(header: &str, payload: &str, signer: &SigningKey) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = signer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{signature}")
}

/// What the verifier says of claims that are signed as they should be.
fn refusal(payload: &Value, options: VerifierOptions) -> Option<TokenError> {
    let token = forge(&json!({"alg": "HS256"}), payload, &hs_signer());
    Verifier::new(vec![hs_key()], options).verify(&token, NOW_MS).err()
}
