//! Meridian's log on Kafka: one topic per epoch, each epoch recorded with its topic's identity. Owns
//! producers, readers and the queue in front of them; it never decides about duplicates.

mod call;
mod cluster;
mod context;
mod epochs;
mod gate;
mod group;
mod identity;
mod log;
mod options;
mod outbox;
mod producer;
mod reader;
mod reading;
mod state;
mod tails;
mod writer;

pub use epochs::{EpochRecord, OpenError, new_epoch};
pub use group::{GroupOptions, KafkaGroup};
pub use log::KafkaLog;
pub use options::{Options, Topics};
pub use state::{Ended, LogState};
