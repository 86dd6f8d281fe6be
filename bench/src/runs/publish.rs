//! Acknowledged publishes a second, with a fixed number in flight on one connection (a closed loop).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::BytesMut;
use meridian_client::raw::{Opcode, WebSocket, put_client_frame};
use meridian_core::protocol::Message;
use serde::Serialize;

use crate::cli::PublishArgs;
use crate::clock::monotonic_ns;
use crate::payload;
use crate::procfs::cpu_us;
use crate::publisher::{open_session, publish_command};
use crate::report::{self, Table, count, duration_us, progress};
use crate::server::Server;
use crate::stats::{Latencies, Percentiles, per};
use crate::target::{CODEC, channels};

const ANSWER: Duration = Duration::from_secs(30);

#[derive(Debug, Serialize)]
struct Figure {
    in_flight: usize,
    publishes_per_s: f64,
    latency: Percentiles,
    cpu_us_per_publish: f64,
}

pub(crate) async fn publish(args: PublishArgs) -> Result<()> {
    let server = Server::meridian(&args.common, false).await?;
    let mut figures = Vec::new();
    for in_flight in &args.in_flight {
        ensure!(*in_flight > 0, "at least one must be in flight");
        progress(format_args!("{in_flight} in flight"));
        figures.push(measure(&server, &args, *in_flight).await?);
    }
    server.stop().await?;
    let mut table =
        Table::new(&["in flight", "acknowledged/s", "p50", "p99", "p99.9", "CPU µs/publish"]);
    for figure in &figures {
        table.row([
            count(figure.in_flight as f64),
            count(figure.publishes_per_s),
            duration_us(figure.latency.p50_us),
            duration_us(figure.latency.p99_us),
            duration_us(figure.latency.p999_us),
            format!("{:.1}", figure.cpu_us_per_publish),
        ]);
    }
    report::publish(&table, &figures, args.common.json.as_deref())
}

async fn measure(server: &Server, args: &PublishArgs, in_flight: usize) -> Result<Figure> {
    let mut window = Window {
        socket: open_session(&server.target).await?,
        names: channels("publish", args.channels.max(1)),
        bytes: args.common.bytes,
        next_id: 2,
        sent_ns: HashMap::new(),
    };
    let mut latencies = Latencies::new();
    let cpu_begun = cpu_us(server.pid)?;
    let begun = Instant::now();
    let end = begun + Duration::from_secs(u64::from(args.seconds));
    window.send(in_flight).await?;
    while Instant::now() < end {
        let answered = window.answers(&mut latencies).await?;
        window.send(answered).await?;
    }
    let elapsed = begun.elapsed().as_secs_f64();
    let cpu = cpu_us(server.pid)? - cpu_begun;
    Ok(Figure {
        in_flight,
        publishes_per_s: latencies.count() as f64 / elapsed,
        latency: latencies.percentiles(),
        cpu_us_per_publish: per(cpu as f64, latencies.count()),
    })
}

/// Publishes in flight on one connection.
struct Window {
    socket: WebSocket,
    names: Vec<String>,
    bytes: usize,
    next_id: u64,
    sent_ns: HashMap<u64, u64>,
}

impl Window {
    async fn send(&mut self, publishes: usize) -> Result<()> {
        let mut out = BytesMut::new();
        for _ in 0..publishes {
            let id = self.next_id;
            self.next_id += 1;
            let now = monotonic_ns();
            let channel = &self.names[id as usize % self.names.len()];
            let command = publish_command(id, channel, payload::make(self.bytes, now));
            put_client_frame(&mut out, Opcode::Text, &command);
            self.sent_ns.insert(id, now);
        }
        Ok(self.socket.send_bytes(&out).await?)
    }

    /// The next answers; how many.
    async fn answers(&mut self, latencies: &mut Latencies) -> Result<usize> {
        let messages = tokio::time::timeout(ANSWER, self.socket.next_messages(CODEC))
            .await
            .context("no publish was acknowledged")??;
        let now = monotonic_ns();
        let mut answered = 0;
        for message in messages {
            if let Message::Error(_, error) = &message {
                anyhow::bail!("the server refused: {} {}", error.code, error.message);
            }
            if let Some(sent) = message.id().and_then(|id| self.sent_ns.remove(&id)) {
                latencies.record(now - sent);
                answered += 1;
            }
        }
        Ok(answered)
    }
}
