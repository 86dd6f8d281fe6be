//! The runs: each starts what it needs, measures in turns and reports.

mod fanout;
mod idle;
mod neighbour;
mod publish;
mod resume;
mod subject;
mod summary;
mod wt;

pub(crate) use fanout::fanout;
pub(crate) use idle::idle;
pub(crate) use neighbour::neighbour;
pub(crate) use publish::publish;
pub(crate) use resume::resume;
pub(crate) use wt::wt;
