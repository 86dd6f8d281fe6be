//! Memory of connections that do nothing: resident bytes of a fresh server before and after.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::subject::start_load;
use crate::cli::IdleArgs;
use crate::procfs::rss_bytes;
use crate::report::{self, Table, count, kib, progress};
use crate::server::Server;
use crate::stats::per;
use crate::target::{LoadPlan, Transport, channels, from_now};

/// What handshakes leave behind is given back by then, or never.
const SETTLE: Duration = Duration::from_secs(3);

#[derive(Debug, Serialize)]
struct Figure {
    transport: &'static str,
    connections: usize,
    subscribed: bool,
    rss_bytes_per_connection: f64,
}

pub(crate) async fn idle(args: IdleArgs) -> Result<()> {
    let mut figures = Vec::new();
    for (name, transport, connections) in [
        ("WebSocket", Transport::WebSocket, args.websockets),
        ("WebTransport", Transport::WebTransport, args.sessions),
    ] {
        for subscribed in [false, true] {
            if connections == 0 {
                continue;
            }
            let rss_bytes_per_connection =
                measure(&args, transport, connections, subscribed).await?;
            figures.push(Figure {
                transport: name,
                connections,
                subscribed,
                rss_bytes_per_connection,
            });
        }
    }
    let mut table = Table::new(&["transport", "connections", "channels each", "RSS/connection"]);
    for figure in &figures {
        table.row([
            figure.transport.to_owned(),
            count(figure.connections as f64),
            u8::from(figure.subscribed).to_string(),
            kib(figure.rss_bytes_per_connection),
        ]);
    }
    report::publish(&table, &figures, args.common.json.as_deref())
}

async fn measure(
    args: &IdleArgs,
    transport: Transport,
    connections: usize,
    subscribed: bool,
) -> Result<f64> {
    let server = Server::meridian(&args.common, false).await?;
    progress(format_args!("opening {connections} connections over {transport:?}"));
    let plan = |connections| LoadPlan {
        target: server.target.clone(),
        transport,
        connections,
        channels: if subscribed { from_now(&channels("idle", 1)) } else { Vec::new() },
        hold: false,
    };
    // A few first: what a server allocates once is no part of a connection.
    let first = start_load(&plan(10)).await?;
    let before = rss_bytes(server.pid)?;
    let rest = start_load(&plan(connections)).await?;
    tokio::time::sleep(SETTLE).await;
    let after = rss_bytes(server.pid)?;
    drop((first, rest));
    server.stop().await?;
    Ok(per(after.saturating_sub(before) as f64, connections as u64))
}
