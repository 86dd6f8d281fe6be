//! The seams between Meridian and its stores. Each trait's doc comment is its contract, and each
//! has one conformance suite that runs against every implementation. Nothing here knows a store.

mod acks;
mod backplane;
#[cfg(feature = "testing")]
pub mod conformance;
mod history;
mod ledger;
mod log;
mod source;

pub use acks::{AckBatch, AckDamage, AckLog, AckLogError, AckReader, ack_key, ack_value, read_ack};
pub use backplane::{
    Applied, ApplyOutcome, Backplane, BackplaneError, Delivery, Ephemeral, HotHead, HotRead, Link,
    LinkControl, Stale,
};
pub use history::{
    Acknowledged, AcknowledgedKey, Batch, ChangesFrom, ChangesRead, Checkpoint, Claim, CommitError,
    DamagedWindow, FeedState, Gone, GoneReason, History, HistoryError, HistoryRead, KeyedAck,
    Marks, ReadBounds, ReadFrom, RecordKey, Snapshot, WindowRow, highest_acks, is_removal,
    pack_window, unpack_window,
};
pub use ledger::{KeptTicket, LedgerPlace, TICKETS_MOST, TokenLedger};
pub use log::{AppendError, Appended, Incarnation, Log, LogError, LogRecord};
pub use source::{DeadLetter, Source, SourceBounds, SourceCommit, SourceError, SourceRecord};
