//! A live partition of a region: written and read without a pause while its Redis has outages.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use meridian_core::seams::Backplane as _;
use meridian_core::seams::conformance::channel;
use meridian_core::vocabulary::Stream;
use meridian_redis::RedisBackplane;

use crate::region::{Reader, Shelf, Writer};
use crate::support::{follow, until};

/// Events of the followed channel.
const EVENTS: usize = 400;
/// Events between two outages.
const APART: usize = 100;
/// How often `outage` is called.
pub(crate) const OUTAGES: usize = EVENTS / APART - 1;

/// What a run through outages saw.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) lossy: usize,
    pub(crate) repairs: usize,
    /// How long it took at most until an event was applied.
    pub(crate) longest: Duration,
}

/// Publishes and reads, while `outage` is called after every `APART` events. Each event must be read
/// once and in order.
pub(crate) async fn live(
    backplane: &RedisBackplane,
    stream: Stream,
    outage: impl Fn() + Send + Sync + 'static,
) -> Seen {
    let (outage, shelf) = (Arc::new(outage), Arc::new(Shelf::default()));
    let published = AtomicUsize::new(0);
    let mut link = backplane.link().await.unwrap();
    let mut writer = Writer::new(stream.clone(), shelf.clone());
    let mut reader = Reader::new(channel("a"), stream, shelf);
    follow(&link, &writer.samples, &[channel("a")]).await;

    let writes = async {
        for _ in 0..EVENTS {
            writer.publish(backplane, &[channel("a"), channel("b")], 20).await;
            published.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let outages = async {
        for after in (1..=OUTAGES).map(|nth| nth * APART) {
            until("the next outage", async || published.load(Ordering::Relaxed) >= after).await;
            let outage = outage.clone();
            tokio::task::spawn_blocking(move || outage()).await.unwrap();
        }
    };
    tokio::join!(writes, outages, reader.read(backplane, &mut link, EVENTS));
    let of_a = writer.log.iter().map(|applied| &applied.event);
    let of_a: Vec<_> = of_a.filter(|event| event.key == channel("a")).cloned().collect();
    assert_eq!(reader.got, of_a);
    Seen { lossy: reader.lossy, repairs: writer.repairs, longest: writer.longest }
}
