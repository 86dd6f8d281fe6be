//! Asking a region how it is: one HTTP request on a connection of its own.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HOST};
use hyper_util::rt::TokioIo;

use super::{Address, failure, tcp};
use crate::connection::Health;
use crate::error::Lost;

/// A longer answer is none.
const MAX_BYTES: usize = 64 * 1024;

/// The region's answer. The round trip counts opening the connection, alike for all regions.
pub(super) async fn ask(
    address: &Address,
    tls: Option<Arc<rustls::ClientConfig>>,
) -> Result<Health, Lost> {
    let asked = Instant::now();
    let io = tcp::connect(address, tls).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(failure)?;
    let request = Request::get(address.probe_path())
        .header(HOST, address.authority())
        .header(ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(failure)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(failure)?;
        let round_trip = asked.elapsed();
        if !response.status().is_success() {
            return Err(Lost::Handshake(response.status().as_u16()));
        }
        let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
        let body = body.map_err(|error| Lost::Transport(Arc::from(error)))?.to_bytes();
        Health::read(&body, round_trip).ok_or(Lost::Malformed)
    };
    // The connection moves the bytes of the answer; it must not end first.
    tokio::select! {
        answer = answer => answer,
        ended = drive(connection) => Err(ended),
    }
}

async fn drive<C>(connection: C) -> Lost
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    match connection.await {
        Ok(()) => std::future::pending().await,
        Err(error) => failure(error),
    }
}
