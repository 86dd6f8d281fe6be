//! The bridge: reads sources and appends what their routes make of it to the log. For each partition of a
//! source one task, one place, one order: what is committed to the source is in the log. It drops
//! no repeats (the apply step does, by their marks) and knows no broker.

mod change;
mod handle;
mod metering;
mod options;
mod reading;
mod status;
mod worker;

use std::sync::Arc;

use meridian_core::bridge::Route;
use meridian_core::seams::{Log, Source};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use change::{Change, Refusal, ReplayMode};
pub use handle::{AskError, BridgeHandle};
pub use options::{Options, Start};
pub use status::{PartitionState, PartitionStatus, RouteStatus};

use handle::Desk;
use reading::Reading;

/// A route and what it reads.
#[derive(Clone)]
pub struct Bridged {
    pub route: Arc<Route>,
    pub source: Arc<dyn Source>,
    /// What it makes of it is appended here.
    pub log: Arc<dyn Log>,
    /// Where a partition without a commit begins.
    pub start: Start,
}

/// Bridges sources into logs.
pub struct Bridge {
    readings: Vec<Reading>,
    handle: BridgeHandle,
}

impl Bridge {
    pub fn new(routes: Vec<Bridged>, options: Options) -> Self {
        let options = Arc::new(options);
        let reading = |bridged: Bridged| {
            let desk = Arc::new(Desk::new(bridged.route.name.clone()));
            Reading { bridged, options: options.clone(), desk }
        };
        let readings: Vec<Reading> = routes.into_iter().map(reading).collect();
        let handle = BridgeHandle::new(readings.iter().map(|reading| reading.desk.clone()));
        Self { readings, handle }
    }

    /// To look at the bridge and to steer it; good for its whole life.
    pub fn handle(&self) -> BridgeHandle {
        self.handle.clone()
    }

    /// Bridges until it is asked to stop. Dropping it anywhere loses nothing: what is not committed is
    /// read again.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut tasks = JoinSet::new();
        for reading in self.readings {
            tasks.spawn(reading.run(shutdown.child_token()));
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a route of the bridge failed");
            }
        }
    }
}
