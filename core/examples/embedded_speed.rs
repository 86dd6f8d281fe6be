//! Measures the embedded stores: `cargo run --release -p meridian-core --example embedded_speed --
//! [folder] [append|commit|read|apply]`. Prints wall time and this process's CPU time (user and system, from /proc).
#![allow(clippy::unwrap_used, reason = "a measurement fails by panicking")]

use std::sync::Arc;
use std::time::Instant;

use meridian_core::embedded::{Embedded, Options, open};
use meridian_core::seams::{
    Applied, Backplane, Batch, Checkpoint, History, HistoryRead, Log, Marks, ReadBounds, ReadFrom,
    Stale, WindowRow,
};
use meridian_core::vocabulary::{
    Body, Channel, ChannelKey, Epoch, Event, EventId, LogName, Offset, Partition, Position, Prev,
    Record, Scope, Stream, Tenant,
};

const CHANNELS: u64 = 1_000;
const EVENTS: u64 = 100;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let folder = std::env::args().nth(1).map_or_else(
        || std::env::temp_dir().join(format!("meridian-speed-{}", std::process::id())),
        Into::into,
    );
    let only = std::env::args().nth(2);
    let wanted = |phase: &str| only.as_deref().is_none_or(|only| only == phase);
    let stores = open(&folder, Options::default()).await.unwrap();
    if wanted("append") {
        for (in_flight, calls) in [(1, 2_000), (64, 60_000), (512, 300_000)] {
            appends(&stores, in_flight, calls).await;
        }
    }
    if wanted("commit") || wanted("read") {
        commits(&stores).await;
    }
    if wanted("read") {
        reads(&stores, 1).await;
        reads(&stores, 64).await;
    }
    if wanted("apply") {
        applies(&stores).await;
    }
    stores.close().await;
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Acknowledged appends of one record with a payload of 200 bytes.
async fn appends(stores: &Embedded, in_flight: usize, calls: usize) {
    let (begun, cpu) = (Instant::now(), cpu_us());
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..in_flight {
        let log = stores.log.clone();
        callers.spawn(async move {
            for call in 0..calls / in_flight {
                let sent = record(&format!("c{caller}"), &format!("{caller}-{call}"));
                log.append(vec![sent]).await.remove(0).unwrap();
            }
        });
    }
    callers.join_all().await;
    report(&format!("append, {in_flight} in flight"), calls as u64, begun, cpu);
}

/// Every channel's events, in batches of 1,000.
async fn commits(stores: &Embedded) {
    let fence = stores.history.claim(&stream(), 0).await.unwrap().fence;
    let (begun, cpu) = (Instant::now(), cpu_us());
    for round in 0..EVENTS {
        let events: Vec<Arc<Event>> =
            (0..CHANNELS).map(|channel| Arc::new(event(round, channel))).collect();
        let window = events.iter().map(window_row).collect();
        let position = events.last().unwrap().position();
        let checkpoint =
            Checkpoint { position, last_kept: position, fingerprint: [0; 16], begins: Offset(0) };
        let batch = Batch { fence, checkpoint, events, window, marks: Marks::new() };
        stores.history.commit(&stream(), batch).await.unwrap();
    }
    report("commit, 1,000 events a batch", CHANNELS * EVENTS, begun, cpu);
}

/// Every channel from its start, 100 events each.
async fn reads(stores: &Embedded, at_once: u64) {
    let (begun, cpu) = (Instant::now(), cpu_us());
    const ROUNDS: u64 = 5;
    let mut readers = tokio::task::JoinSet::new();
    for reader in 0..at_once {
        let history = stores.history.clone();
        readers.spawn(async move {
            let bounds = ReadBounds { max_events: 100, max_bytes: 1 << 20, oldest_time_ms: 0 };
            for round in (0..CHANNELS * ROUNDS).filter(|round| round % at_once == reader) {
                let from = ReadFrom::After(Position::start_of(Epoch(1)));
                let key = key(&format!("c{}", round % CHANNELS));
                let read = history.read(&key, &stream(), from, bounds).await.unwrap();
                let HistoryRead::Events { events, .. } = read else { panic!("{read:?}") };
                assert_eq!(events.len() as u64, EVENTS);
            }
        });
    }
    readers.join_all().await;
    let name = format!("read, 100 events each, {at_once} at once");
    report(&name, CHANNELS * EVENTS * ROUNDS, begun, cpu);
}

/// Events of 1,000 channels through the backplane, one follower each.
async fn applies(stores: &Embedded) {
    let backplane = &stores.backplane;
    backplane.repair(&stream(), None, Stale::All, Position::start_of(Epoch(1))).await.unwrap();
    let mut link = backplane.link().await.unwrap();
    let followed: Vec<_> = (0..CHANNELS).map(|c| (key(&format!("c{c}")), stream())).collect();
    link.control.follow(&followed).await.unwrap();
    let mut last = Position::start_of(Epoch(1));
    let mut all = Vec::new();
    for round in 0..EVENTS {
        for channel in 0..CHANNELS {
            let event = Arc::new(event(round, channel));
            all.push(Applied { event: event.clone(), last_kept_before: last });
            last = event.position();
        }
    }
    let (begun, cpu) = (Instant::now(), cpu_us());
    for batch in all.chunks(500) {
        backplane.apply(&stream(), batch).await.unwrap();
        for _ in batch {
            link.deliveries.recv().await.unwrap();
        }
    }
    report("apply and deliver to one link", CHANNELS * EVENTS, begun, cpu);
}

fn report(what: &str, count: u64, begun: Instant, cpu_before_us: u64) {
    let (wall, cpu_us) = (begun.elapsed(), cpu_us() - cpu_before_us);
    println!(
        "{what}: {:.0}/s, {:.2} µs of CPU each ({count} in {:.2} s)",
        count as f64 / wall.as_secs_f64(),
        cpu_us as f64 / count as f64,
        wall.as_secs_f64()
    );
}

/// User and system time of this process; 100 ticks a second.
fn cpu_us() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<u64>().unwrap();
    (ticks(11) + ticks(12)) * 10_000
}

fn key(name: &str) -> ChannelKey {
    ChannelKey {
        tenant: Tenant::parse("speed").unwrap(),
        channel: Channel::parse(&format!("rooms:{name}")).unwrap(),
    }
}

fn stream() -> Stream {
    Stream { log: LogName::parse("global").unwrap(), epoch: Epoch(1), partition: Partition(0) }
}

fn record(name: &str, id: &str) -> Record {
    Record {
        key: key(name),
        scope: Scope::of_token("speed", "ann"),
        id: EventId::parse(id).unwrap(),
        epoch: Epoch(1),
        body: Body { data: vec![b'x'; 200].into(), ..Body::default() }.encode(),
    }
}

fn event(round: u64, channel: u64) -> Event {
    let offset = round * CHANNELS + channel;
    let prev = match offset.checked_sub(CHANNELS) {
        Some(before) => Prev::At(Position::at(Epoch(1), Offset(before))),
        None => Prev::None,
    };
    Event {
        key: key(&format!("c{channel}")),
        stream: stream(),
        offset: Offset(offset),
        prev,
        time_ms: 1_000,
        id: EventId::parse(&format!("id-{offset}")).unwrap(),
        body: Body { data: vec![b'x'; 128].into(), ..Body::default() },
    }
}

fn window_row(event: &Arc<Event>) -> WindowRow {
    WindowRow { offset: event.offset, time_ms: event.time_ms, key: [1; 16] }
}
