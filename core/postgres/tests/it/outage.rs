//! A network that swallows everything: calls end in time, and nothing is lost of the pool.

use std::sync::Arc;
use std::time::{Duration, Instant};

use meridian_core::seams::conformance::{Samples, channel, stream};
use meridian_core::seams::{CommitError, History, HistoryError, ReadBounds, ReadFrom};
use meridian_core::vocabulary::Position;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::server::Server;

/// More than there are connections of both kinds.
const CALLS: usize = 20;

/// Passes bytes on to a server, as long as it is open.
struct Wire {
    port: u16,
    open: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Wire {
    async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (open, gate) = watch::channel(true);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut pumps = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(&target).await.unwrap();
                let ((near_in, near_out), (far_in, far_out)) =
                    (near.into_split(), far.into_split());
                pumps.spawn(pump(near_in, far_out, gate.clone()));
                pumps.spawn(pump(far_in, near_out, gate.clone()));
            }
        });
        Self { port, open, _tasks: tasks }
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut gate: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if gate.wait_for(|open| *open).await.is_err()
            || to.write_all(&buffer[..count]).await.is_err()
        {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_network_holds_nobody() {
    let mut server = Server::shared().await;
    server.options.patience = Duration::from_millis(400);
    let host = server.options.url.rsplit_once('@').unwrap().1.split('/').next().unwrap().to_owned();
    let wire = Wire::to(host.clone()).await;
    let through = format!("127.0.0.1:{}", wire.port);
    server.options.url = server.options.url.replace(&host, &through);
    let history = Arc::new(server.open().await);
    let (mut samples, key) = (Samples::new(stream(1, 0)), channel("a"));
    let fence = history.claim(samples.stream(), 0).await.unwrap().fence;
    let events = samples.events(&key, 3);
    history.commit(samples.stream(), samples.batch(fence, &events)).await.unwrap();
    let next = samples.events(&key, 1);
    let batch = samples.batch(fence, &next);
    let bounds = ReadBounds { max_events: 10, max_bytes: 1 << 20, oldest_time_ms: 0 };
    let from = ReadFrom::After(Position::start_of(stream(1, 0).epoch));

    wire.open.send(false).unwrap();
    let (began, mut calls) = (Instant::now(), JoinSet::new());
    for _ in 0..CALLS {
        let (history, key, batch) = (history.clone(), key.clone(), batch.clone());
        calls.spawn(async move {
            let read = history.read(&key, &stream(1, 0), from, bounds).await;
            assert!(matches!(read, Err(HistoryError)));
            let stored = history.commit(&stream(1, 0), batch).await;
            assert!(matches!(stored, Err(CommitError::Unavailable)));
        });
    }
    // And some callers do not even wait for that.
    for _ in 0..CALLS {
        let (history, key) = (history.clone(), key.clone());
        calls.spawn(async move {
            let (log, keys) = (stream(1, 0).log, std::slice::from_ref(&key));
            let heads = history.heads(&log, keys);
            let heads = tokio::time::timeout(Duration::from_millis(50), heads).await;
            assert!(!matches!(heads, Ok(Ok(_))));
        });
    }
    calls.join_all().await;
    let waited = began.elapsed();
    assert!(waited < 8 * server.options.patience, "{waited:?}");

    wire.open.send(true).unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let (history, key, batch) = (history.clone(), key.clone(), batch.clone());
        calls.spawn(async move {
            while history.read(&key, &stream(1, 0), from, bounds).await.is_err() {}
            while history.commit(&stream(1, 0), batch.clone()).await.is_err() {}
        });
    }
    calls.join_all().await;
    let window = history.claim(&stream(1, 0), 100).await.unwrap().window;
    assert_eq!(window.len(), 4, "repeats are harmless");
}
