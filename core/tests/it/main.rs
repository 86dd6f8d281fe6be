//! The core's integration tests: the conformance suites on the embedded implementations, and what
//! only the embedded ones promise.
#![allow(clippy::unwrap_used)]

mod acks;
mod backplane;
mod faulty;
mod folder;
mod history;
mod kill;
mod log;
mod log_model;
mod records;
