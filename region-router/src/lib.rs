//! Meridian's region router: for each partition of a log one owner and one order. It turns records
//! into events (duplicates dropped, predecessors named), sends them out live, stores them in the
//! region's history and keeps the backplane's marker honest. It never answers clients and never
//! writes to the log. Beside it, the bridge: it makes records of the log out of other sources; and the
//! merger, which takes other regions' acknowledged positions into the region's history.

mod acks;
pub mod apply;
pub mod bridge;
mod metering;
mod options;
pub mod partition;
mod router;
mod status;

pub use acks::AckMerger;
pub use options::Options;
pub use router::{Outcome, Router};
pub use status::{Halt, PartitionState, PartitionStatus, Pause, RouterStatus};
