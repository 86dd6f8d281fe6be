//! One suite per seam, to be run against every implementation of it. A suite fails by panicking,
//! and waits on what it expects, never for a time.
#![allow(clippy::unwrap_used, reason = "a suite fails by panicking")]

pub mod acks;
pub mod backplane;
pub mod history;
pub mod ledger;
pub mod log;
mod samples;
mod seeds;
pub mod source;

pub use samples::{Samples, acknowledged, acknowledged_key, channel, stream};
pub use seeds::{Printed, seeds};
