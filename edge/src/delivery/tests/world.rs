//! A region on stores in memory that can fail, and the truth to compare its clients with.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use meridian_core::embedded::faulty::BackplaneFaults;
use meridian_core::embedded::{BackplaneOptions, InProcessBackplane};
use meridian_core::seams::Log;
use meridian_core::vocabulary::Position;
use meridian_region_router::apply::{
    Decision, Feeds, Heads, Incoming, SourceMarks, Start, State, Window, WindowRules,
};
use tokio::time::sleep;

use super::memory::{MemoryHistory, MemoryLog};
use super::region::Region;
use super::slow::{Faulty, Slow};
use crate::hub::testing::key;

pub(super) struct World {
    region: Region,
    pub(super) log: Arc<MemoryLog>,
    pub(super) history: Arc<MemoryHistory>,
    pub(super) backplane: Arc<Faulty>,
    pub(super) slow: Arc<Slow>,
}

impl Deref for World {
    type Target = Region;

    fn deref(&self) -> &Region {
        &self.region
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Region {
        &mut self.region
    }
}

impl World {
    pub(super) async fn new(seed: u64) -> Self {
        Self::with_epoch(seed, 1).await
    }

    pub(super) async fn with_epoch(seed: u64, epoch: u32) -> Self {
        let hot = BackplaneOptions { channel_events: 6, ..BackplaneOptions::default() };
        let make = move || InProcessBackplane::new(hot.clone());
        let backplane = Arc::new(Faulty::new(make, seed, BackplaneFaults::default()));
        let slow = Arc::new(Slow::new(backplane.clone(), seed));
        let (log, history) = (Arc::new(MemoryLog::new(epoch)), Arc::new(MemoryHistory::default()));
        let mut region =
            Region::on(log.clone(), history.clone(), backplane.clone(), slow.clone()).await;
        region.start_router();
        Self { region, log, history, backplane, slow }
    }

    /// The events that the log makes, per channel, by the apply step alone.
    pub(super) fn truth(&self, channel: &str) -> Vec<Position> {
        let (stream, start) = (self.stream(channel), self.start());
        let incarnation = self.log.incarnation();
        let rules = WindowRules { records: incarnation.window_records, ms: incarnation.window_ms };
        let mut state = State::new(Start {
            stream,
            position: start,
            last_kept: start,
            window: Window::new(rules),
            marks: SourceMarks::default(),
            heads: Heads::new(1 << 16),
            feeds: Feeds::default(),
        });
        let records = self.log.records().into_iter().map(Incoming::decode);
        let kept = records.filter_map(|incoming| match state.step(&incoming) {
            Decision::Kept(applied) => Some(applied.event),
            _ => None,
        });
        kept.filter(|event| event.key == key(channel)).map(|event| event.position()).collect()
    }

    fn start(&self) -> Position {
        Position::start_of(self.log.incarnation().epoch)
    }

    /// Waits until everything in the log is in the history.
    pub(super) async fn until_stored(&self) {
        let end = self.log.records().len() as i64 - 1;
        while self.history.position().map(|at| at.passed) != Some(end) {
            sleep(Duration::from_millis(1)).await;
        }
    }
}
