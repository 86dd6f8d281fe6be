//! How Postgres carries out the reads, in its own words: by index, and on the days that are needed.

use std::time::Duration;

use meridian_core::seams::conformance::{Samples, channel, stream};
use meridian_core::seams::{History, HistoryRead, ReadBounds, ReadFrom};
use meridian_core::vocabulary::Position;

use crate::server::Server;

const DAY_MS: u64 = 86_400_000;
const CHANNELS: usize = 200;
const DAYS: u64 = 5;
/// On each day of each channel: 100,000 in all.
const EVENTS: usize = 100;

/// The plans of all statements that `read` causes, those within functions too.
async fn plans(server: &Server, from: ReadFrom, expected: usize) -> Vec<String> {
    let log = server.stack.folder("pg1").join("log");
    let before = std::fs::read_to_string(&log).unwrap().len();
    let mut explained = server.clone();
    explained.options.url.push_str(
        "&options=-c%20session_preload_libraries%3Dauto_explain%20\
         -c%20auto_explain.log_min_duration%3D0%20-c%20auto_explain.log_nested_statements%3Don%20\
         -c%20auto_explain.log_verbose%3Doff",
    );
    let history = explained.open().await;
    let bounds = ReadBounds { max_events: 100, max_bytes: 1 << 20, oldest_time_ms: 0 };
    let read = history.read(&channel("c7"), &stream(1, 0), from, bounds).await.unwrap();
    let HistoryRead::Events { gone: None, events, .. } = read else { panic!("{read:?}") };
    assert_eq!(events.len(), expected);
    history.close().await;
    let said = std::fs::read_to_string(&log).unwrap()[before..].to_owned();
    // One entry a statement: its text, then its plan.
    let plans: Vec<String> = said
        .split("duration: ")
        .filter(|entry| entry.contains("FROM events"))
        .map(str::to_owned)
        .collect();
    assert!(said.contains("FROM spans") || expected == 0, "no plans in the server's log: {said}");
    for plan in &plans {
        assert!(!plan.contains("Seq Scan on events"), "{plan}");
        assert!(plan.contains("Index"), "{plan}");
    }
    plans
}

fn opened(plan: &str) -> Vec<String> {
    let days = (0..DAYS).map(|day| format!("events_1970010{}", day + 1));
    days.filter(|day| plan.contains(&format!("on {day}"))).collect()
}

#[tokio::test]
async fn reads_go_by_index_and_open_the_days_they_need() {
    let mut server = Server::own().await;
    server.options.patience = Duration::from_secs(20);
    let history = server.open().await;
    let mut samples = Samples::new(stream(1, 0));
    let start = samples.position();
    let fence = history.claim(samples.stream(), 0).await.unwrap().fence;
    let keys: Vec<_> = (0..CHANNELS).map(|i| channel(&format!("c{i}"))).collect();
    let mut third_day = start;
    for day in 0..DAYS {
        samples.time_ms = day * DAY_MS;
        if day == 2 {
            third_day = samples.position();
        }
        for _ in 0..EVENTS / 5 {
            let events: Vec<_> = keys.iter().flat_map(|key| samples.events(key, 5)).collect();
            history.commit(samples.stream(), samples.batch(fence, &events)).await.unwrap();
        }
    }
    let rows = server.number("SELECT count(*) FROM events").await;
    assert_eq!(rows as usize, CHANNELS * DAYS as usize * EVENTS);

    // Before and after the server has statistics.
    for _ in 0..2 {
        for (after, day) in [(start, "events_19700101"), (third_day, "events_19700103")] {
            let plans = plans(&server, ReadFrom::After(after), 100).await;
            assert_eq!(plans.len(), 1, "a page of one day");
            assert_eq!(opened(&plans[0]), [day], "{}", plans[0]);
        }
        let last = Position { passed: samples.position().passed - 1_000, ..start };
        let end = plans(&server, ReadFrom::After(last), 5).await;
        assert_eq!(opened(&end[0]), ["events_19700105"]);
        let newest = plans(&server, ReadFrom::Last(150), 100).await;
        let days: Vec<Vec<String>> = newest.iter().map(|plan| opened(plan)).collect();
        // Where they begin: the last day, then all the others; and then what is read.
        assert_eq!(days[0], ["events_19700105"]);
        assert_eq!(days[2..], [["events_19700104"], ["events_19700105"]]);
        server.run("VACUUM ANALYZE").await;
    }
    let now = plans(&server, ReadFrom::After(samples.position()), 0).await;
    assert!(now.is_empty(), "whoever is up to date opens no day: {now:?}");
    let newest = plans(&server, ReadFrom::Last(50), 50).await;
    assert!(newest[0].contains("Index Only Scan"), "{}", newest[0]);
    assert_eq!(opened(&newest[0]), ["events_19700105"]);
    history.close().await;
}
