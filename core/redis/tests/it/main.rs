//! The integration tests of the Redis backplane, on real servers.
#![allow(clippy::unwrap_used)]

mod access;
mod bounds;
mod cluster;
mod conformance;
mod failover;
mod following;
mod live;
mod outage;
mod recovery;
mod region;
mod support;
