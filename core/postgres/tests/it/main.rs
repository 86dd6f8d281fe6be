//! The history's suite on a real PostgreSQL, and what only this history promises.
#![allow(clippy::unwrap_used)]

mod bytes;
mod conformance;
mod crash;
mod days;
mod fences;
mod opening;
mod outage;
mod plans;
mod roles;
mod seed;
mod server;
mod tls;
