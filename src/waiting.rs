//! The time before a process can do anything: neither Kafka nor Postgres tells what a log is. It owns
//! the admin address then, so that an operator sees what is missing; it serves no client.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use meridian_core::config::{Config, RegionStores};
use meridian_edge::{OpsOptions, PartState, serve_admin};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

use crate::process::Signals;
use crate::region::{self, Opening, Region};

/// Between two tries, each of which has its own bounds.
const RETRY: Duration = Duration::from_secs(1);

/// Opens the region's servers, as soon as it is known what the log is; `None`: asked to end before.
pub(crate) async fn open(
    config: &mut Config,
    stores: &RegionStores,
    (metrics, signals): (&PrometheusHandle, &mut Signals),
) -> Result<Option<Region>> {
    let policies = Arc::new(config.policies.clone());
    let places = region::places(config, stores)?;
    let mut room: Option<Room> = None;
    loop {
        let opening = tokio::select! {
            opening = region::open(stores, &places, policies.clone()) => opening?,
            () = signals.next() => return Ok(None),
        };
        let why = match opening {
            Opening::Opened(region) => {
                if let Some(room) = room {
                    room.leave().await;
                }
                return Ok(Some(region));
            }
            Opening::Waiting(why) => why,
        };
        tracing::warn!(why, "a log is not known yet: waiting");
        match &room {
            Some(room) => room.tell(why),
            None => {
                let opened = Room::open(config.listen.admin, why, metrics.clone()).await?;
                // The process stays where it was seen.
                config.listen.admin = opened.address;
                room = Some(opened);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            () = signals.next() => return Ok(None),
        }
    }
}

/// The admin listener meanwhile.
struct Room {
    address: SocketAddr,
    why: Arc<Mutex<String>>,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

impl Room {
    async fn open(admin: SocketAddr, why: String, metrics: PrometheusHandle) -> Result<Self> {
        let (why, stop) = (Arc::new(Mutex::new(why)), CancellationToken::new());
        let told = why.clone();
        let ops = OpsOptions {
            parts: Arc::new(move || vec![part(&told)]),
            metrics: Arc::new(move || metrics.render()),
            console: None,
            api: None,
            fail: None,
        };
        let (address, serving) = serve_admin(admin, ops, stop.clone())
            .await
            .with_context(|| format!("cannot listen on {admin}"))?;
        Ok(Self { address, why, stop, serving: tokio::spawn(serving) })
    }

    fn tell(&self, why: String) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Frees the address.
    async fn leave(self) {
        self.stop.cancel();
        let _ = self.serving.await;
    }
}

fn part(why: &Mutex<String>) -> PartState {
    let why = why.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let detail = format!("the log is not known yet: {why}");
    PartState { part: "log".to_owned(), ready: false, vital: true, detail, rebuilding: false }
}
