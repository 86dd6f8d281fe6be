//! Latency of a second channel: alone, and while the first fans out. Its subscribers are spread over
//! all workers, so each shares its worker with subscribers of the busy channel.

use anyhow::{Context as _, Result};

use super::subject::{Subject, Turn};
use super::summary::{Summary, table};
use crate::cli::NeighbourArgs;
use crate::report::{self, progress};
use crate::server::Server;
use crate::target::{LoadPlan, PublishPlan, Target, Transport, channels, from_now};

pub(crate) async fn neighbour(args: NeighbourArgs) -> Result<()> {
    let server = Server::meridian(&args.common, false).await?;
    let target = server.target.clone();
    let (busy_load, busy_publish) =
        plans(&target, "busy", args.subscribers, args.rate, args.common.bytes);
    let (load, publish) =
        plans(&target, "second", args.neighbours, args.neighbour_rate, args.common.bytes);
    let pid = server.pid;
    let mut busy = Subject::start("busy", server, busy_load, busy_publish).await?;
    let mut second = Subject::beside("second", pid, load, publish).await?;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for round in 1..=args.rounds.rounds {
        alone.push(second.turn(args.rounds.seconds).await?);
        beside.push(both(&mut busy, &mut second, args.rounds.seconds).await?);
        progress(format_args!("round {round}"));
    }
    let shape = format!("{} × {}/s", args.neighbours, args.neighbour_rate);
    let summaries = [
        Summary::of(&shape, "second channel, alone", &alone, 0.0),
        Summary::of(&shape, "second channel, beside", &beside, 0.0),
    ];
    second.stop().await?;
    busy.stop().await?;
    report::publish(&table(&summaries), &summaries, args.common.json.as_deref())
}

/// The second channel's turn while the first has one.
async fn both(busy: &mut Subject, second: &mut Subject, seconds: u32) -> Result<Turn> {
    busy.begin(seconds).await?;
    second.begin(seconds).await?;
    let turn = second.end(seconds).await.context("the second channel")?;
    busy.end(seconds).await.context("the busy channel")?;
    Ok(turn)
}

fn plans(
    target: &Target,
    name: &str,
    connections: usize,
    rate: u32,
    bytes: usize,
) -> (LoadPlan, PublishPlan) {
    let names = channels(name, 1);
    let load = LoadPlan {
        target: target.clone(),
        transport: Transport::WebSocket,
        connections,
        channels: from_now(&names),
        hold: false,
    };
    let publish = PublishPlan { target: target.clone(), channels: names, bytes, rate };
    (load, publish)
}
