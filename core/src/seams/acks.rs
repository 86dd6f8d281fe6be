//! The seam by which acknowledged positions travel between the regions of a log. It merges nothing:
//! each region's history does.

mod stored;

use async_trait::async_trait;

use super::KeyedAck;
use crate::vocabulary::LogName;

pub use self::stored::{AckDamage, ack_key, ack_value, read_ack};

/// The store that the positions travel through did not do as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the acknowledged positions' log is unavailable")]
pub struct AckLogError;

/// What a reader got.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AckBatch {
    /// Each key's in the order in which they are held.
    pub acks: Vec<KeyedAck>,
    /// Records that can't be read: damaged, of a newer version, or of another log. They are passed over.
    pub unreadable: usize,
}

/// The acknowledged positions of one log's named subscribers, on their way to all regions. Of each
/// key it keeps the last that was appended, of the others as many as it likes.
///
/// - *Order*: one handle's appends of a key are held in the order of its calls and within a call. Between
///   handles there is none: a lower position may be appended last, and is then the one that is kept.
///   Whoever reads it and knows a higher one appends that again, so that what is kept is in the
///   end the highest.
/// - *Durability*: what was answered `Ok` survives `kill -9` of every process involved, until a later one
///   of its key is held. After an error any part may be held.
/// - *Cancel safety*: a dropped `append` is held in any part, or will be.
#[async_trait]
pub trait AckLog: Send + Sync + 'static {
    /// The log that the positions are in.
    fn log(&self) -> &LogName;

    /// Appends positions of this log.
    async fn append(&self, acks: Vec<KeyedAck>) -> Result<(), AckLogError>;
}

/// A region's reader. Several of one region share what there is.
///
/// - *Completeness*: of each key the last position is given to some reader of the region, and again to
///   one after it, unless a reader that was given it has committed since. More may be given again:
///   merging the same twice changes nothing.
/// - *Order*: within a batch and from one to the next, a key's positions come in the order in which they
///   are held, except that a reader may begin anew from further back.
/// - A region that never committed gets all that is held; so does every region where the store was made
///   anew.
/// - *Cancel safety*: a dropped `next` takes nothing away from the one after; a dropped `commit` was made or
///   not.
#[async_trait]
pub trait AckReader: Send + 'static {
    /// The next positions; waits until there is something to tell.
    async fn next(&mut self) -> Result<AckBatch, AckLogError>;

    /// Notes that all that `next` gave is in the region's history.
    async fn commit(&mut self) -> Result<(), AckLogError>;

    /// Records that this reader has not been given yet, as far as it knows.
    fn lag(&self) -> u64;
}
