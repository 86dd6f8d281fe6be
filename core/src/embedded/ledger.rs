//! The ledger inside one process. A restart empties it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::auth::{REVOCATIONS_MOST, Revocation};
use crate::seams::{BackplaneError, KeptTicket, LedgerPlace, TICKETS_MOST, TokenLedger};

const ANSWER_MOST: usize = 1000;

/// A ledger in this process.
#[derive(Default)]
pub struct InProcessLedger {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    revocations: VecDeque<Revocation>,
    /// How many went before the first.
    gone: usize,
    tickets: HashMap<String, KeptTicket>,
}

impl InProcessLedger {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl TokenLedger for InProcessLedger {
    async fn revoke(&self, revocation: &Revocation) -> Result<(), BackplaneError> {
        let mut inner = self.lock();
        if inner.revocations.len() >= REVOCATIONS_MOST {
            inner.revocations.pop_front();
            inner.gone += 1;
        }
        inner.revocations.push_back(revocation.clone());
        Ok(())
    }

    async fn revocations(
        &self,
        after: &LedgerPlace,
    ) -> Result<(Vec<Revocation>, LedgerPlace), BackplaneError> {
        let inner = self.lock();
        let from = after.0.parse().unwrap_or(0).max(inner.gone);
        let some = inner.revocations.iter().skip(from - inner.gone).take(ANSWER_MOST).cloned();
        let some: Vec<Revocation> = some.collect();
        let next = LedgerPlace((from + some.len()).to_string());
        Ok((some, next))
    }

    async fn put_ticket(&self, ticket: &KeptTicket, now_ms: u64) -> Result<(), BackplaneError> {
        let mut inner = self.lock();
        inner.tickets.retain(|_, kept| kept.until_ms > now_ms);
        if inner.tickets.len() >= TICKETS_MOST {
            return Err(BackplaneError);
        }
        inner.tickets.insert(ticket.id.clone(), ticket.clone());
        Ok(())
    }

    async fn take_ticket(&self, id: &str) -> Result<Option<KeptTicket>, BackplaneError> {
        Ok(self.lock().tickets.remove(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seams::conformance::ledger;

    #[tokio::test]
    async fn conformance() {
        ledger::all(|| async { InProcessLedger::default() }).await;
    }
}
