//! Records for the tests, and waiting for a condition.

use meridian_core::seams::Log;
use meridian_core::seams::conformance::channel;
use meridian_core::vocabulary::{Body, EventId, Record, Scope};

/// `count` records of a channel, with ids `round-index`.
pub(crate) fn of(name: &str, count: usize, round: usize, log: &impl Log) -> Vec<Record> {
    let make = |index: usize| Record {
        key: channel(name),
        scope: Scope::of_token("tests", "ann"),
        id: EventId::parse(&format!("{round}-{index}")).unwrap(),
        epoch: log.incarnation().epoch,
        body: Body::default().encode(),
    };
    (0..count).map(make).collect()
}

/// Asks again until there is an answer.
pub(crate) async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        tokio::task::yield_now().await;
    }
}
