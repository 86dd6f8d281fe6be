//! A session: one client connection. `machine` decides, without I/O; `work` carries out what takes
//! time; `outbox` holds what waits for each lane; `driver` ties them to a connection.

mod bucket;
mod driver;
mod machine;
mod outbox;
mod work;

#[cfg(test)]
mod machine_tests;
#[cfg(test)]
mod outbox_tests;

pub(crate) use bucket::Bucket;
pub(crate) use driver::{Connection, Next, Received, SessionParts, Standing, session};
pub(crate) use machine::Settings;
#[cfg(test)]
pub(crate) use outbox::{Flushed, Outbox, Wrote};
pub(crate) use outbox::{LaneBroken, LaneWriter};
pub(crate) use work::{authorise, read_history};
#[cfg(test)]
pub(crate) use work::{behind, read_page};
