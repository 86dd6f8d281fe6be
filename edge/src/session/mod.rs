//! A session: one client connection. `machine` decides, without I/O; `work` carries out what takes
//! time; `outbox` holds what waits for each lane; `driver` ties them to a connection.

mod bucket;
mod driver;
mod machine;
mod outbox;
mod work;

pub(crate) use driver::{Connection, Received, SessionParts, session};
pub(crate) use machine::Settings;
pub(crate) use outbox::{LaneBroken, LaneWriter};
