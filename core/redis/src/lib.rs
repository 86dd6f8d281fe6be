//! The backplane on Redis: markers, hot history and live fan-out of a region, on one server, one with
//! replicas behind Sentinel, or a cluster. Owns its connections and their tasks; never decides what
//! is an event, and never retries a write: the router does.
//!
//! # A user of least privileges
//! The ACL rule of a user that may do what the backplane needs and nothing else, for the prefix `mrd`:
//! ```text
#![doc = include_str!("least.acl")]
//! ```

mod apply;
mod backplane;
mod connect;
mod encoding;
mod hot;
mod keys;
mod ledger;
mod link;
mod options;
mod retain;
mod scripts;

pub use self::backplane::RedisBackplane;
pub use self::options::{Credentials, HotBounds, OptionsError, RedisOptions, Timing};
