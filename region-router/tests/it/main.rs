//! The router against stores that fail, lose and lie as real ones do.

mod chaos;
mod embedded;
mod interleavings;
mod pipeline;
mod router;
mod takeover;
mod truncated;
mod world;
