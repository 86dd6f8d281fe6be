//! Many clients coming back at once. Half of the channels are followed while events are published, so
//! the hub holds what was missed; the others are not, so it must be read from history.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use meridian_client::Publish;
use meridian_client::raw::WebSocket;
use meridian_core::protocol::{Command, CommandFrame, Message, PublishItem, Published};
use serde::Serialize;

use super::subject::start_load;
use crate::cli::ResumeArgs;
use crate::clock::monotonic_ns;
use crate::control::{LoadAnswer, LoadOrder, Worker};
use crate::payload;
use crate::procfs::cpu_us;
use crate::publisher::open_session;
use crate::report::{self, Table, count, progress};
use crate::server::Server;
use crate::stats::{Spread, per};
use crate::target::{CODEC, LoadPlan, Subscribe, Transport, channels, from_now};

const PATIENCE: Duration = Duration::from_secs(300);
/// Fits every server's default limit on batches.
const BATCH: usize = 100;

#[derive(Debug, Clone, Serialize)]
struct Figure {
    events: u64,
    opening_s: f64,
    wall_s: f64,
    events_per_s: f64,
    cpu_us_per_event: f64,
}

pub(crate) async fn resume(args: ResumeArgs) -> Result<()> {
    let mut figures = Vec::new();
    for round in 1..=args.rounds {
        let figure = measure(&args).await?;
        progress(format_args!("round {round}: {:.2} µs/event", figure.cpu_us_per_event));
        figures.push(figure);
    }
    let mut table =
        Table::new(&["round", "events", "handshakes", "wall", "events/s", "CPU µs/event"]);
    for (round, figure) in figures.iter().enumerate() {
        table.row([
            (round + 1).to_string(),
            count(figure.events as f64),
            format!("{:.2} s", figure.opening_s),
            format!("{:.2} s", figure.wall_s),
            count(figure.events_per_s),
            format!("{:.2}", figure.cpu_us_per_event),
        ]);
    }
    let cpu = Spread::of(figures.iter().map(|figure| figure.cpu_us_per_event));
    report::publish(&table, &figures, args.common.json.as_deref())?;
    println!("CPU µs/event (min / median / max): {}", report::spread(Some(cpu)));
    Ok(())
}

async fn measure(args: &ResumeArgs) -> Result<Figure> {
    let server = Server::meridian(&args.common, false).await?;
    let (followers, plan) = prepare(args, &server).await?;
    progress(format_args!("opening {} connections", args.clients));
    let (mut clients, opening_ns) = start_load(&plan).await?;
    let expect = (args.clients * args.behind) as u64;
    let cpu_begun = cpu_us(server.pid)?;
    clients.tell(&LoadOrder::Go { expect }).await?;
    let (events, elapsed_ns) = match clients.hear(PATIENCE).await.context("resuming")? {
        LoadAnswer::Done { deliveries, elapsed_ns } => (deliveries, elapsed_ns),
        other => bail!("the clients said {other:?}"),
    };
    let cpu = cpu_us(server.pid)? - cpu_begun;
    drop((followers, clients));
    server.stop().await?;
    let wall_s = elapsed_ns as f64 / 1e9;
    Ok(Figure {
        events,
        opening_s: opening_ns as f64 / 1e9,
        wall_s,
        events_per_s: events as f64 / wall_s,
        cpu_us_per_event: per(cpu as f64, events),
    })
}

/// Publishes what will be missed. The followers of half of the channels stay until the end, so that
/// the hub goes on following those; the clients begin behind each channel's first event.
async fn prepare(args: &ResumeArgs, server: &Server) -> Result<(Worker, LoadPlan)> {
    let names = channels("resume", args.channels);
    let plan = |connections, channels, hold| LoadPlan {
        target: server.target.clone(),
        transport: Transport::WebSocket,
        connections,
        channels,
        hold,
    };
    let followed = from_now(&every_second(&names));
    let (followers, _) = start_load(&plan(followed.len(), followed, false)).await?;
    let mut publisher = open_session(&server.target).await?;
    progress("publishing what will be missed");
    let begun_at = publish_all(&mut publisher, &names, 1, args.common.bytes).await?;
    for events in batches(args.behind) {
        publish_all(&mut publisher, &names, events, args.common.bytes).await?;
    }
    let missed = names.into_iter().zip(begun_at);
    let missed = missed.map(|(channel, cursor)| Subscribe { channel, cursor: Some(cursor) });
    Ok((followers, plan(args.clients, missed.collect(), true)))
}

fn every_second(names: &[String]) -> Vec<String> {
    names.iter().step_by(2).cloned().collect()
}

/// Sizes of the batches that make up so many events.
pub(super) fn batches(events: usize) -> impl Iterator<Item = usize> {
    let rest = events % BATCH;
    std::iter::repeat_n(BATCH, events / BATCH).chain((rest > 0).then_some(rest))
}

/// Publishes so many events on each channel in one batch; the cursor of the last one on each.
pub(super) async fn publish_all(
    socket: &mut WebSocket,
    names: &[String],
    events: usize,
    bytes: usize,
) -> Result<Vec<String>> {
    let mut cursors = Vec::with_capacity(names.len());
    for name in names {
        let items = (0..events).map(|_| -> PublishItem {
            Publish::json(name.clone(), payload::make(bytes, monotonic_ns())).into()
        });
        let command = Command::PublishBatch { events: items.collect() };
        socket.send(CODEC, &CommandFrame { id: Some(2), command }).await?;
        cursors.push(last_cursor(&socket.next_messages(CODEC).await?)?);
    }
    Ok(cursors)
}

fn last_cursor(messages: &[Message]) -> Result<String> {
    match messages {
        [Message::PublishedBatch { results, .. }] => match results.last() {
            Some(Published::Stored { cursor: Some(cursor) }) => Ok(cursor.clone()),
            other => bail!("the last event was not stored: {other:?}"),
        },
        other => bail!("the server answered with {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_channels_are_followed() {
        let names = channels("x", 5);
        assert_eq!(every_second(&names), ["bench:x-0", "bench:x-2", "bench:x-4"]);
    }

    #[test]
    fn batches_add_up() {
        assert_eq!(batches(250).collect::<Vec<_>>(), [100, 100, 50]);
        assert_eq!(batches(100).collect::<Vec<_>>(), [100]);
        assert_eq!(batches(0).count(), 0);
    }

    #[test]
    fn the_cursor_is_that_of_the_last_event() {
        let stored = |cursor: &str| Published::Stored { cursor: Some(cursor.to_owned()) };
        let message = Message::PublishedBatch { id: None, results: vec![stored("a"), stored("b")] };
        assert_eq!(last_cursor(&[message]).unwrap(), "b");
        assert!(last_cursor(&[Message::Ping]).is_err());
    }
}
