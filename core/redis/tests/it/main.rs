//! The integration tests of the Redis backplane, on real servers.
#![allow(clippy::unwrap_used)]

mod conformance;
mod recovery;
mod support;
