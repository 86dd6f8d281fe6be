//! The backplane's suite in process, and behind a test double that has no faults.

use meridian_core::embedded::faulty::{BackplaneFaults, FaultyBackplane};
use meridian_core::embedded::{BackplaneOptions, InProcessBackplane};
use meridian_core::seams::conformance::backplane as suite;

fn in_process() -> InProcessBackplane {
    InProcessBackplane::new(BackplaneOptions {
        channel_events: suite::CHANNEL_EVENTS,
        link_capacity: suite::LINK_CAPACITY,
        ..BackplaneOptions::default()
    })
}

#[tokio::test]
async fn conformance_in_process() {
    suite::all(in_process).await;
}

#[tokio::test]
async fn conformance_behind_a_double_without_faults() {
    suite::all(|| FaultyBackplane::new(in_process, 1, BackplaneFaults::default())).await;
}
