//! Fan-out beside the floor: the targets hold their connections all the time and take turns.

use anyhow::Result;

use super::subject::{Subject, Turn};
use super::summary::{Summary, ratio, table};
use crate::cli::{Common, FanoutArgs, Rounds, Shape};
use crate::report::{self, progress};
use crate::server::Server;
use crate::target::{LoadPlan, PublishPlan, Transport, channels, from_now};

const WARM_UP_SECONDS: u32 = 2;

pub(crate) async fn fanout(args: FanoutArgs) -> Result<()> {
    let shapes = if args.shapes.is_empty() { &Shape::ALL[..] } else { &args.shapes };
    let mut summaries = Vec::new();
    for shape in shapes {
        let mut subjects = vec![
            subject("meridian", Server::meridian(&args.common, false).await?, *shape, &args.common)
                .await?,
            subject("floor", Server::floor(false).await?, *shape, &args.common).await?,
        ];
        if args.tls {
            let server = Server::meridian(&args.common, true).await?;
            subjects.push(subject("meridian, TLS", server, *shape, &args.common).await?);
            subjects.push(
                subject("floor, TLS", Server::floor(true).await?, *shape, &args.common).await?,
            );
        }
        let turns = alternate(&mut subjects, &args.rounds).await?;
        summaries.extend(summarize(shape.name(), &subjects, &turns)?);
        for subject in subjects {
            subject.stop().await?;
        }
    }
    report::publish(&table(&summaries), &summaries, args.common.json.as_deref())
}

async fn subject(
    name: &'static str,
    server: Server,
    shape: Shape,
    common: &Common,
) -> Result<Subject> {
    let (count, connections, rate) = shape.numbers();
    let names = channels("fanout", count);
    let load = LoadPlan {
        target: server.target.clone(),
        transport: Transport::WebSocket,
        connections,
        channels: from_now(&names),
        hold: false,
    };
    let publish =
        PublishPlan { target: server.target.clone(), channels: names, bytes: common.bytes, rate };
    Subject::start(name, server, load, publish).await
}

/// Every subject's turns, A B A B …, after a warm-up of each.
pub(super) async fn alternate(subjects: &mut [Subject], rounds: &Rounds) -> Result<Vec<Vec<Turn>>> {
    let mut turns = vec![Vec::new(); subjects.len()];
    for subject in subjects.iter_mut() {
        subject.turn(WARM_UP_SECONDS).await?;
    }
    for round in 1..=rounds.rounds {
        for (subject, turns) in subjects.iter_mut().zip(&mut turns) {
            let turn = subject.turn(rounds.seconds).await?;
            progress(format_args!(
                "round {round} {}: {} deliveries, {:.2} µs each",
                subject.name,
                turn.deliveries,
                turn.cpu_us_per_delivery()
            ));
            turns.push(turn);
        }
    }
    Ok(turns)
}

/// Subjects come as (server, floor), then (TLS server, TLS floor) if at all.
pub(super) fn summarize(
    shape: &str,
    subjects: &[Subject],
    turns: &[Vec<Turn>],
) -> Result<Vec<Summary>> {
    let (floor, floor_tls) = (turns.get(1), turns.get(3));
    subjects
        .iter()
        .zip(turns)
        .enumerate()
        .map(|(at, (subject, turns))| {
            let mut summary = Summary::of(shape, subject.name, turns, subject.rss_per_connection);
            summary.ratio = floor.map(|floor| ratio(turns, floor)).transpose()?;
            if at >= 2 {
                summary.ratio_tls = floor_tls.map(|floor| ratio(turns, floor)).transpose()?;
            }
            Ok(summary)
        })
        .collect()
}
