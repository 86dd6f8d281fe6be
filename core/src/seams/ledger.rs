//! The ledger seam: what the nodes of a region know of tokens together. It is small, and asked often.

use async_trait::async_trait;

use super::BackplaneError;
use crate::auth::Revocation;

/// Tickets that may wait to be taken; more are refused.
pub const TICKETS_MOST: usize = 100_000;

/// A place among the revocations, as only the ledger itself reads it. The default is before the first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LedgerPlace(pub String);

/// A ticket as it is kept: nobody who reads it here can use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptTicket {
    pub id: String,
    pub sealed: String,
    /// From then on nobody takes it; whoever takes it looks at the time as well.
    pub until_ms: u64,
}

/// One region's ledger.
///
/// - *Loss*: any of it may vanish at any time, as from the backplane; who needs it writes it again.
/// - *Order*: whoever goes on from a place misses nothing that was added after the answer that told it.
/// - *Atomicity*: of all who take a ticket, at most one gets it. A `take_ticket` that failed may have
///   taken it.
/// - *Cancel safety*: dropping a call leaves it done or not.
#[async_trait]
pub trait TokenLedger: Send + Sync + 'static {
    /// Tells every node of the region.
    async fn revoke(&self, revocation: &Revocation) -> Result<(), BackplaneError>;

    /// Some of what was added after a place, in that order, and the place to go on from; as many as
    /// fit an answer. Nothing: that was all.
    async fn revocations(
        &self,
        after: &LedgerPlace,
    ) -> Result<(Vec<Revocation>, LedgerPlace), BackplaneError>;

    /// Keeps a ticket until it is taken or its time is over at `now_ms` of a later call.
    async fn put_ticket(&self, ticket: &KeptTicket, now_ms: u64) -> Result<(), BackplaneError>;

    /// Takes a ticket out.
    async fn take_ticket(&self, id: &str) -> Result<Option<KeptTicket>, BackplaneError>;
}
