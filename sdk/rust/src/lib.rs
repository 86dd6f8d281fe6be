//! Meridian's client library: subscribe to channels, publish events, and go on after a drop from
//! where the application was.
//!
//! [`Client`] owns one connection and one task that drives it; dropping the last clone ends both.
//! It reconnects by itself, resumes each channel from its position, checks the chain of events and
//! repeats publishes safely. It never hides a gap, and never takes more events into memory than a
//! subscription's bound.
//!
//! Inside, `connection::Machine` decides and does no I/O; `driver` does I/O and decides nothing.
//! [`raw`] opens bare connections without any of this, for load generators and hostile tests.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use meridian_client::{Client, From, Publish, Update};
//!
//! let client = Client::builder("http://127.0.0.1:8080").token("eyJ…").connect().await?;
//! let mut flights = client.subscribe("flights:SFO", From::Last(20)).await?;
//! client.publish(Publish::json("flights:SFO", r#"{"to":"LAX"}"#)).await?;
//! while let Some(update) = flights.next().await {
//!     match update {
//!         Update::Event(event) => println!("{:?} at {:?}", event.body.data, event.cursor()),
//!         Update::Gap(gap) => println!("load the state afresh: {}", gap.reason),
//!         Update::Skipped(count) => println!("too slow for {count}"),
//!         Update::Ended(why) => println!("ended: {}", why.code),
//!     }
//! }
//! # Ok(()) }
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

pub mod raw;

mod builder;
mod client;
mod connection;
mod driver;
mod error;
mod io;
mod live_map;
mod mailbox;
mod publish;
mod subscription;
mod tls;
mod transport;
mod update;

pub use builder::Builder;
pub use client::Client;
pub use connection::{Moves, Reason, Region, Session, State};
pub use error::{ConnectError, Lost, RequestError, SubscribeError};
pub use io::Io;
pub use live_map::LiveMap;
pub use meridian_core::protocol::{
    Action, Code, Codec, Connected, EventView, HistoryPage, Limits, ModePush as Modes,
    ReplyError as Refusal,
};
pub use meridian_core::vocabulary::{Body, Epoch, EventKind, Offset, Position, Prev};
pub use publish::{Publish, Receipt};
pub use subscription::Subscription;
pub use tls::{CertificateHash, HashError, TlsError, Trust};
pub use transport::{Choice, Transport};
pub use update::{Event, Gap, Place, Start as From, Update};
