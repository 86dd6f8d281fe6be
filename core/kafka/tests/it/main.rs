//! The Kafka log on a real broker. Each test has topics of its own; those that hurt the broker have one of
//! their own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod acks;
mod conformance;
mod ended;
mod epochs;
mod faults;
mod group;
mod help;
mod reading;
mod source;
