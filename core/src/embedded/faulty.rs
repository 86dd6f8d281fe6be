//! Test doubles around any implementation of a seam: they lose, repeat, hold back and forget, by
//! seed or by script, within what the seam's contract allows. For tests only.

mod backplane;
mod chance;
mod deliveries;
mod log;

pub use backplane::{Announce, BackplaneFaults, FaultyBackplane};
pub use chance::Chance;
pub use deliveries::Rule;
pub use log::{FaultyLog, LogFaults};
