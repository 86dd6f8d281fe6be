//! The router against stores that fail, lose and lie as real ones do.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bridge;
mod chaos;
mod embedded;
mod interleavings;
mod pipeline;
mod router;
mod takeover;
mod truncated;
mod world;
