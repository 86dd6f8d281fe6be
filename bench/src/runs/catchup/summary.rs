//! What each round gave, as a table.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::place::{Place, missed};
use super::reads::{Cpu, Reads};
use crate::report::{self, Table, count, spread};
use crate::stats::{Spread, per};

/// What was measured in a round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    pub(super) channels: usize,
    pub(super) events: u64,
    pub(super) opening_s: f64,
    pub(super) wall_s: f64,
    pub(super) cpu: Cpu,
    pub(super) reads: Reads,
}

/// What is told of it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Figure {
    pub(super) events: u64,
    pub(super) opening_s: f64,
    pub(super) wall_s: f64,
    pub(super) events_per_s: f64,
    pub(super) edge_cpu_us_per_event: f64,
    pub(super) redis_cpu_us_per_event: f64,
    pub(super) postgres_cpu_us_per_event: f64,
    pub(super) channels_past_ring: usize,
    pub(super) channels_past_redis: usize,
    pub(super) pages: u64,
    pub(super) redis_reads: u64,
    pub(super) postgres_reads: u64,
}

impl Figure {
    pub(super) fn of(round: Round) -> Self {
        let Round { channels, events, opening_s, wall_s, cpu, reads } = round;
        Self {
            events,
            opening_s,
            wall_s,
            events_per_s: events as f64 / wall_s,
            edge_cpu_us_per_event: per(cpu.edge_us as f64, events),
            redis_cpu_us_per_event: per(cpu.redis_us as f64, events),
            postgres_cpu_us_per_event: per(cpu.postgres_us as f64, events),
            channels_past_ring: count_of(channels, |place| place != Place::Ring),
            channels_past_redis: count_of(channels, |place| place == Place::Postgres),
            pages: reads.pages,
            redis_reads: reads.redis,
            postgres_reads: reads.postgres,
        }
    }
}

fn count_of(channels: usize, which: fn(Place) -> bool) -> usize {
    missed(channels).iter().filter(|missed| which(missed.place)).count()
}

pub(super) fn publish(figures: &[Figure], json: Option<&Path>) -> Result<()> {
    let mut table = Table::new(&[
        "round",
        "events",
        "handshakes",
        "wall",
        "events/s",
        "edge CPU µs/event",
        "Redis",
        "Postgres",
        "pages read (channels past the ring)",
        "reads of Redis",
        "reads of Postgres (channels past Redis)",
    ]);
    for (round, figure) in figures.iter().enumerate() {
        table.row([
            (round + 1).to_string(),
            count(figure.events as f64),
            format!("{:.2} s", figure.opening_s),
            format!("{:.2} s", figure.wall_s),
            count(figure.events_per_s),
            format!("{:.2}", figure.edge_cpu_us_per_event),
            format!("{:.2}", figure.redis_cpu_us_per_event),
            format!("{:.2}", figure.postgres_cpu_us_per_event),
            format!("{} ({})", figure.pages, figure.channels_past_ring),
            figure.redis_reads.to_string(),
            format!("{} ({})", figure.postgres_reads, figure.channels_past_redis),
        ]);
    }
    report::publish(&table, &figures, json)?;
    let cpu = Spread::of(figures.iter().map(|figure| figure.edge_cpu_us_per_event));
    println!("edge CPU µs/event (min / median / max): {}", spread(Some(cpu)));
    Ok(())
}
