//! Meridian's edge: takes events from publishers and gets them to every client that is subscribed and
//! allowed. Imports point one way: transport → session → hub; the stores are seams of the core.

mod acks;
mod authoriser;
mod clock;
mod delivery;
mod frame;
mod http_api;
mod hub;
mod lifecycle;
mod metrics;
mod names;
mod node;
mod ops;
mod orders;
mod outbound;
mod polling;
mod publish;
mod quota;
mod regions;
mod room;
mod session;
mod tokens;
mod transport;
mod worker;

pub use authoriser::authoriser;
pub use delivery::{Histories, Logs, Stores};
pub use lifecycle::Phase;
pub use node::{NodeOptions, RunningNode, StartError};
pub use ops::{
    ConsoleInfo, OpsAnswer, OpsApi, OpsOptions, OpsRequest, OtherRegion, PartState, serve_admin,
};
pub use tokens::{OutboundError, keep_keys};
pub use transport::{Certificates, ResetKey, TlsError};
