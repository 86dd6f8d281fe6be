//! The core's integration tests: the conformance suites on the embedded implementations, and what
//! only the embedded ones promise.
#![allow(clippy::unwrap_used)]

mod backplane;
mod folder;
mod history;
mod log;
mod records;
