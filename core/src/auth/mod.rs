//! Who a token's holder is, and what they may do. Owns the reading and making of tokens, the keys, and
//! the decision by policy. It never reads a clock (time is an argument), never does I/O, and never
//! puts a key's secret into an error or into `Debug` output.

mod authorise;
mod claims;
mod grant;
mod identity;
mod issuer;
mod jwks;
mod key;
mod mint;
mod revocation;
mod verify;

#[cfg(test)]
mod tests;

pub use authorise::{Authoriser, Decision, PolicyAuthoriser};
pub use grant::{Action, Actions, Grant, Pattern, PatternError};
pub use identity::Identity;
pub use issuer::{Issuer, KeyPlace, KeySet, KeySource, Published, Tenants};
pub use jwks::{JWKS_BYTES_MOST, JWKS_KEYS_MOST, Jwks, JwksError};
pub use key::{
    Algorithm, KeyError, MAX_RSA_BITS, MIN_RSA_BITS, MIN_SECRET_BYTES, SigningKey, VerificationKey,
};
pub use mint::{Claims, MintError, mint};
pub use revocation::{NoRevocation, REVOCATIONS_MOST, Revocation, Revocations, Revoked, TooMany};
pub use verify::{TokenError, Verifier, VerifierOptions};

/// No longer token is looked at; no longer one is made.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;
