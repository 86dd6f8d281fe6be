//! Acknowledged positions on their way out of a process: what waits, and what goes when. Owns the bound
//! on how many and how often; a position of a subscriber is safe in its region's history before it
//! comes here, so what is lost here costs repeated events elsewhere, never missing ones.

mod sender;
mod waiting;

pub use sender::{AckCounts, AckSender};
pub use waiting::{Waiting, WaitingOptions};
