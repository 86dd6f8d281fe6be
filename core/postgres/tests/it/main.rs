//! The history's suite on a real PostgreSQL, and what only this history promises.
#![allow(clippy::unwrap_used)]

mod conformance;
mod opening;
mod server;
