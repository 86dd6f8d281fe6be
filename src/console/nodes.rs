//! Asks the nodes that the console shows how they are doing, each second. Owns the asking, and the answer
//! under `/ops/v1/nodes`; what the answers come to is `summary`'s.

use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use meridian_edge::{OpsAnswer, OpsApi, OpsRequest};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::summary::{self, Kind, Region, Seen};

const EVERY: Duration = Duration::from_secs(1);
/// A node that takes longer counts as away.
const PATIENCE: Duration = Duration::from_secs(2);
/// Far above what a node's metrics take.
const ANSWER_BYTES_MOST: usize = 4 << 20;

/// A node and its admin address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Watched {
    region: String,
    name: String,
    /// `HOST:PORT`.
    address: String,
}

#[derive(Debug, thiserror::Error)]
#[error("must be REGION/NAME=HOST:PORT, such as eu/edge-1=127.0.0.1:8441")]
pub(super) struct NotWatched;

impl FromStr for Watched {
    type Err = NotWatched;

    fn from_str(text: &str) -> Result<Self, NotWatched> {
        let (named, address) = text.split_once('=').ok_or(NotWatched)?;
        let (region, name) = named.split_once('/').ok_or(NotWatched)?;
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if region.is_empty() || name.is_empty() || port.is_none() || address.contains('/') {
            return Err(NotWatched);
        }
        let [region, name, address] = [region, name, address].map(str::to_owned);
        Ok(Self { region, name, address })
    }
}

/// The task that asks, and what it found.
pub(super) struct Watcher {
    found: watch::Receiver<Vec<Region>>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// Asks until `stop`.
    pub(super) fn start(nodes: Vec<(Kind, Watched)>, stop: CancellationToken) -> Self {
        let (sender, found) = watch::channel(Vec::new());
        let task = tokio::spawn(async move {
            let mut ticks = interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while stop.run_until_cancelled(ticks.tick()).await.is_some() {
                let seen = join_all(nodes.iter().map(|(kind, node)| look(*kind, node))).await;
                sender.send_replace(summary::regions(&seen));
            }
        });
        Self { found, task }
    }

    pub(super) fn api(&self) -> NodesApi {
        NodesApi { found: self.found.clone() }
    }

    pub(super) async fn ended(self) {
        if let Err(error) = self.task.await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the watcher failed");
        }
    }
}

/// Answers `/ops/v1/nodes`.
pub(super) struct NodesApi {
    found: watch::Receiver<Vec<Region>>,
}

#[async_trait]
impl OpsApi for NodesApi {
    fn prefix(&self) -> &str {
        "/ops/v1/nodes"
    }

    async fn answer(&self, request: OpsRequest) -> OpsAnswer {
        if request.method != Method::GET {
            let body = json!({ "title": "only GET" }).to_string();
            return OpsAnswer { status: StatusCode::METHOD_NOT_ALLOWED, body };
        }
        let body = json!({ "regions": *self.found.borrow() }).to_string();
        OpsAnswer { status: StatusCode::OK, body }
    }
}

async fn look(kind: Kind, node: &Watched) -> Seen {
    let ask = async |path| timeout(PATIENCE, get(&node.address, path)).await.ok().flatten();
    let (readyz, metrics) = tokio::join!(ask("/readyz"), ask("/metrics"));
    Seen {
        kind,
        region: node.region.clone(),
        node: node.name.clone(),
        readyz: readyz.and_then(|body| serde_json::from_slice(&body).ok()),
        metrics: String::from_utf8_lossy(&metrics.unwrap_or_default()).into_owned(),
    }
}

/// The answer's body, whatever its status: a node that is not ready says why.
async fn get(address: &str, path: &str) -> Option<Bytes> {
    let stream = TcpStream::connect(address).await.ok()?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.ok()?;
    let request = Request::get(path).header(http::header::HOST, address);
    let request = request.body(Empty::<Bytes>::new()).ok()?;
    let answer = async {
        let response = sender.send_request(request).await.ok()?;
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MOST).collect().await;
        body.ok().map(|body| body.to_bytes())
    };
    tokio::pin!(connection, answer);
    tokio::select! {
        body = &mut answer => body,
        // The server closes when it has answered.
        _ = &mut connection => answer.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_named_with_its_region() {
        let parsed: Watched = "eu/edge-1=10.0.0.5:8441".parse().unwrap();
        let [region, name, address] = ["eu", "edge-1", "10.0.0.5:8441"].map(str::to_owned);
        assert_eq!(parsed, Watched { region, name, address });
        for bad in ["", "edge=h:1", "/e=h:1", "eu/=h:1", "eu/e=h", "eu/e=h:x", "eu/e=http://h:1"] {
            assert!(bad.parse::<Watched>().is_err(), "{bad}");
        }
    }
}
