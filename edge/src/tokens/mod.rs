//! Whether a token is good, now. Owns the node's verifier and what keeps its keys fresh; what a holder may
//! do is the authoriser's affair.

mod keeper;
mod schedule;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use meridian_core::auth::{Identity, TokenError, Verifier};
use meridian_core::protocol::Code;
use tokio::task::JoinSet;

use self::keeper::Asker;
use crate::clock::now_ms;
pub use crate::outbound::OutboundError;

/// Checks tokens.
pub(crate) struct Tokens {
    verifier: Verifier,
    /// By the issuer's name.
    askers: BTreeMap<String, Asker>,
}

impl Tokens {
    /// The node's tokens; `tasks` fetches its issuers' keys.
    pub(crate) fn start(
        verifier: Verifier,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, OutboundError> {
        let askers = keeper::start(&verifier, tasks)?.into_iter().collect();
        Ok(Self { verifier, askers })
    }

    /// Whose the token is. Waits a bounded time where its key has to be fetched first. Cancel safe.
    pub(crate) async fn verify(&self, token: &str) -> Result<Identity, TokenError> {
        match self.verify_now(token) {
            Checked::Decided(decided) => decided,
            Checked::NeedsKey(first) => self.verify_later(token, first).await,
        }
    }

    /// The same without waiting.
    pub(crate) fn verify_now(&self, token: &str) -> Checked {
        match self.verifier.verify(token, now_ms()) {
            Err(error @ (TokenError::UnknownKey | TokenError::KeysUnavailable)) => {
                match self.asker(token).is_some() {
                    true => Checked::NeedsKey(error),
                    false => Checked::Decided(Err(error)),
                }
            }
            decided => Checked::Decided(decided),
        }
    }

    /// After the keys were looked at again. `first` is what was said before.
    pub(crate) async fn verify_later(
        &self,
        token: &str,
        first: TokenError,
    ) -> Result<Identity, TokenError> {
        let Some(asker) = self.asker(token) else { return Err(first) };
        let reached = asker.look_again().await;
        match self.verifier.verify(token, now_ms()) {
            // Of a key that we could not ask for we don't know that it is none.
            Err(TokenError::UnknownKey) if !reached => Err(TokenError::KeysUnavailable),
            decided => decided,
        }
    }

    fn asker(&self, token: &str) -> Option<&Asker> {
        self.verifier.named_issuer(token).and_then(|issuer| self.askers.get(&issuer.name))
    }
}

/// A token looked at with what is in memory.
#[allow(clippy::large_enum_variant, reason = "it lives for one call, on the stack")]
pub(crate) enum Checked {
    Decided(Result<Identity, TokenError>),
    /// Its key is not there; it may be fetched.
    NeedsKey(TokenError),
}

/// Fetches the keys of a verifier's issuers as long as `tasks` lives: for a process that is no edge.
pub fn keep_keys(verifier: &Verifier, tasks: &mut JoinSet<()>) -> Result<(), OutboundError> {
    keeper::start(verifier, tasks).map(|_| ())
}

/// How a client is told that its token is refused.
pub(crate) fn code_of(error: TokenError) -> Code {
    match error {
        TokenError::Expired => Code::TokenExpired,
        TokenError::KeysUnavailable => Code::AuthoriserUnavailable,
        _ => Code::Unauthenticated,
    }
}
