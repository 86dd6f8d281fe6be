//! Meridian's log on Kafka: one topic per epoch, each epoch recorded with its topic's identity. Owns
//! producers, readers and the queue in front of them; it never decides about duplicates. Beside the
//! log, the acknowledged positions of its subscribers, and other services' topics as the bridge's sources.

mod acks;
mod call;
mod cluster;
mod context;
mod epochs;
mod gate;
mod group;
mod identity;
mod log;
mod member;
mod options;
mod outbox;
mod producer;
mod reader;
mod reading;
mod single_flight;
mod source;
mod state;
mod tails;
mod writer;

pub use acks::{AckGroup, KafkaAckReader, KafkaAcks};
pub use epochs::{EpochRecord, OpenError, new_epoch, recorded};
pub use group::KafkaGroup;
pub use log::KafkaLog;
pub use member::GroupOptions;
pub use options::{Options, Topics};
pub use source::{KafkaSource, SourceOpenError, SourceOptions};
pub use state::{Ended, LogState};
