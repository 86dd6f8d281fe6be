//! Tickets: a token for one connect within half a minute, where the token itself cannot or must not travel.
//! The region's ledger keeps each sealed with a key that only the ticket's holder has, so any node of the
//! region takes it, once, and who reads the ledger has nothing.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use meridian_core::seams::{BackplaneError, KeptTicket, TokenLedger};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use sha2::{Digest as _, Sha256};

use crate::clock::now_ms;

/// How long a ticket is good.
pub(crate) const TICKET_TIME: Duration = Duration::from_secs(30);
/// No token begins so: the first part of one is JSON in base64.
const PREFIX: &str = "ticket.";
const SECRET_BYTES: usize = 32;

/// Makes and takes tickets.
#[derive(Clone)]
pub(crate) struct Tickets {
    ledger: Arc<dyn TokenLedger>,
}

/// Why a ticket yields no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TicketError {
    #[error("the ticket is none, was used, or ran out")]
    NotGood,
    #[error("the region's ledger does not answer")]
    Unavailable(#[from] BackplaneError),
}

/// Whether a text that stands for a token is a ticket.
pub(crate) fn is_ticket(token: &str) -> bool {
    token.starts_with(PREFIX)
}

impl Tickets {
    pub(super) fn new(ledger: Arc<dyn TokenLedger>) -> Self {
        Self { ledger }
    }

    /// A ticket for a token that was checked.
    pub(crate) async fn issue(&self, token: &str) -> Result<String, BackplaneError> {
        let secret: [u8; SECRET_BYTES] = rand::random();
        let sealed = seal(&secret, token).ok_or(BackplaneError)?;
        let now = now_ms();
        let until_ms = now + TICKET_TIME.as_millis() as u64;
        let ticket = KeptTicket { id: id(&secret), sealed, until_ms };
        self.ledger.put_ticket(&ticket, now).await?;
        Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret)))
    }

    /// The token of a ticket, which is used up by it.
    pub(crate) async fn redeem(&self, ticket: &str) -> Result<String, TicketError> {
        let text = ticket.strip_prefix(PREFIX).ok_or(TicketError::NotGood)?;
        let secret = URL_SAFE_NO_PAD.decode(text).ok().filter(|it| it.len() == SECRET_BYTES);
        let secret = secret.ok_or(TicketError::NotGood)?;
        let kept = self.ledger.take_ticket(&id(&secret)).await?.ok_or(TicketError::NotGood)?;
        if now_ms() >= kept.until_ms {
            return Err(TicketError::NotGood);
        }
        open(&secret, &kept.sealed).ok_or(TicketError::NotGood)
    }
}

fn derived(purpose: &[u8], secret: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(purpose).chain_update(secret).finalize().into()
}

fn id(secret: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(derived(b"ticket id\0", secret))
}

fn key(secret: &[u8]) -> Option<LessSafeKey> {
    UnboundKey::new(&CHACHA20_POLY1305, &derived(b"ticket key\0", secret))
        .ok()
        .map(LessSafeKey::new)
}

/// Each key seals one text, so its nonce is none of many.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

fn seal(secret: &[u8], token: &str) -> Option<String> {
    let mut bytes = token.as_bytes().to_vec();
    key(secret)?.seal_in_place_append_tag(nonce(), Aad::empty(), &mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

fn open(secret: &[u8], sealed: &str) -> Option<String> {
    let mut bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
    let opened = key(secret)?.open_in_place(nonce(), Aad::empty(), &mut bytes).ok()?;
    String::from_utf8(opened.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use meridian_core::embedded::InProcessLedger;

    use super::*;

    #[tokio::test]
    async fn a_ticket_is_good_once_and_the_ledger_shows_nothing() {
        let ledger = Arc::new(InProcessLedger::default());
        let (here, there) = (Tickets::new(ledger.clone()), Tickets::new(ledger.clone()));
        let ticket = here.issue("a.secret.token").await.unwrap();
        assert!(is_ticket(&ticket) && !is_ticket("eyJhbGciOiJIUzI1NiJ9.e30.x"));
        let secret = URL_SAFE_NO_PAD.decode(ticket.strip_prefix(PREFIX).unwrap()).unwrap();
        let kept = ledger.take_ticket(&id(&secret)).await.unwrap().unwrap();
        assert!(!kept.sealed.contains("secret") && !ticket.contains(&kept.id));
        assert_eq!(open(&[0; 32], &kept.sealed), None, "another key opens nothing");
        ledger.put_ticket(&kept, 0).await.unwrap();
        assert_eq!(there.redeem(&ticket).await, Ok("a.secret.token".to_owned()));
        assert_eq!(there.redeem(&ticket).await, Err(TicketError::NotGood));
        for bad in ["", "ticket.", "ticket.AAAA", "a.b.c"] {
            assert_eq!(here.redeem(bad).await, Err(TicketError::NotGood), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_ticket_of_old_is_not_good() {
        let ledger = Arc::new(InProcessLedger::default());
        let tickets = Tickets::new(ledger.clone());
        let ticket = tickets.issue("a.b.c").await.unwrap();
        let secret = URL_SAFE_NO_PAD.decode(ticket.strip_prefix(PREFIX).unwrap()).unwrap();
        let kept = ledger.take_ticket(&id(&secret)).await.unwrap().unwrap();
        let old = KeptTicket { until_ms: now_ms(), ..kept };
        ledger.put_ticket(&old, 0).await.unwrap();
        assert_eq!(tickets.redeem(&ticket).await, Err(TicketError::NotGood));
    }
}
