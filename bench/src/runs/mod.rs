//! The runs: each starts what it needs, measures in turns and reports.

mod catchup;
mod fanout;
mod idle;
mod neighbour;
mod publish;
mod regions;
mod resume;
mod router;
mod subject;
mod summary;
mod wt;

pub(crate) use catchup::catchup;
pub(crate) use fanout::fanout;
pub(crate) use idle::idle;
pub(crate) use neighbour::neighbour;
pub(crate) use publish::publish;
pub(crate) use regions::{far_side, forward, regions};
pub(crate) use resume::resume;
pub(crate) use router::{router, router_floor};
pub(crate) use wt::wt;
