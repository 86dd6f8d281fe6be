//! Whether a token is good, now. Owns the node's verifier and what keeps its keys fresh; what a holder may
//! do is the authoriser's affair.

mod exchange;
mod keeper;
mod revoked;
mod schedule;
mod tickets;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use meridian_core::auth::{Identity, TokenError, Verifier};
use meridian_core::protocol::Code;
use meridian_core::seams::TokenLedger;
use tokio::task::JoinSet;

pub(crate) use self::exchange::{PATH as TICKET_PATH, answer as answer_ticket};
use self::keeper::Asker;
pub(crate) use self::revoked::{Reach, RevokedTokens};
pub(crate) use self::tickets::is_ticket;
use self::tickets::{TicketError, Tickets};
use crate::clock::now_ms;
pub use crate::outbound::OutboundError;

/// Checks tokens.
pub(crate) struct Tokens {
    verifier: Verifier,
    /// By the issuer's name.
    askers: BTreeMap<String, Asker>,
    revoked: RevokedTokens,
    tickets: Tickets,
}

impl Tokens {
    /// The node's tokens; `tasks` fetches its issuers' keys.
    pub(crate) fn start(
        verifier: Verifier,
        ledger: Arc<dyn TokenLedger>,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, OutboundError> {
        let askers = keeper::start(&verifier, tasks)?.into_iter().collect();
        let (revoked, tickets) = (RevokedTokens::new(ledger.clone()), Tickets::new(ledger));
        Ok(Self { verifier, askers, revoked, tickets })
    }

    pub(crate) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    pub(crate) fn revoked(&self) -> &RevokedTokens {
        &self.revoked
    }

    pub(crate) fn tickets(&self) -> &Tickets {
        &self.tickets
    }

    /// Whose the token is that a ticket stands for; the ticket is used up.
    pub(crate) async fn redeem(&self, ticket: &str) -> Result<Identity, Code> {
        let token = self.tickets.redeem(ticket).await.map_err(|error| match error {
            TicketError::NotGood => Code::Unauthenticated,
            TicketError::Unavailable(_) => Code::AuthoriserUnavailable,
        })?;
        self.verify(&token).await.map_err(code_of)
    }

    fn check(&self, token: &str) -> Result<Identity, TokenError> {
        let identity = self.verifier.verify(token, now_ms())?;
        if self.revoked.cover(&identity) { Err(TokenError::Revoked) } else { Ok(identity) }
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
        match self.check(token) {
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
        match self.check(token) {
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
        TokenError::Revoked => Code::TokenRevoked,
        _ => Code::Unauthenticated,
    }
}
