//! The runs on real servers, tiny: each counts what it says that it counts.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Runs to its end with the server built beside the bench.
fn run(args: &[&str]) -> Output {
    let bench = Path::new(env!("CARGO_BIN_EXE_meridian-bench"));
    let server = bench.with_file_name("meridian");
    assert!(server.exists(), "{} is not built: `cargo build -p meridian`", server.display());
    Command::new(bench).args(args).arg("--server-cmd").arg(server).output().unwrap()
}

/// The figures of a run that succeeds.
fn figures(args: &[&str]) -> Value {
    let json = tempfile::NamedTempFile::new().unwrap();
    let path = json.path().to_str().unwrap();
    let output = run(&[args, &["--json", path]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn positive(value: &Value) -> bool {
    value.as_f64().is_some_and(|number| number > 0.0)
}

#[test]
fn router_and_bare_loop_work_off_the_same_log() {
    let figures = figures(&[
        "router",
        "--events",
        "2000",
        "--channels",
        "50",
        "--rounds",
        "1",
        "--window",
        "1000",
        "--takeovers",
        "1",
    ]);
    for subject in ["router", "floor"] {
        let turn = &figures[subject][0]["paces"];
        let partitions = turn["partitions_per_s"].as_array().unwrap();
        assert_eq!(partitions.len(), 8, "{subject}: {turn}");
        assert!(partitions.iter().all(positive), "{subject}: {turn}");
        // What is stored was applied before.
        assert!(turn["applied_per_s"].as_f64() >= turn["stored_per_s"].as_f64(), "{turn}");
        assert!(positive(&turn["stored_per_s"]), "{subject}: {turn}");
    }
    let takeovers = &figures["takeovers"];
    assert_eq!(takeovers["window_rows"], 1000);
    assert!(positive(&takeovers["takeover_ms"][0]) && positive(&takeovers["claim_ms"][0]));
}

#[test]
fn clients_catch_up_from_ring_redis_and_postgres() {
    let figures = figures(&[
        "catchup",
        "--clients",
        "48",
        "--channels",
        "16",
        "--behind",
        "20",
        "--rounds",
        "1",
    ]);
    let figure = &figures[0];
    assert_eq!(figure["events"], 48 * 20);
    assert_eq!(
        (figure["channels_past_ring"].as_u64(), figure["channels_past_redis"].as_u64()),
        (Some(8), Some(4))
    );
    let reads = |name: &str| figure[name].as_u64().unwrap();
    // Each range is read at least once, and by each of the edge's workers (one a core) at most once.
    let workers = std::thread::available_parallelism().unwrap().get() as u64;
    assert!(reads("pages") <= 8 * workers && reads("postgres_reads") <= 4 * workers, "{figure}");
    assert!(reads("pages") >= 8 && reads("redis_reads") >= 8, "{figure}");
    assert!(reads("postgres_reads") >= 4, "{figure}");
    assert!(reads("postgres_reads") < reads("redis_reads"), "{figure}");
}

#[test]
fn events_cross_the_link() {
    let args = [
        "regions",
        "--rounds",
        "1",
        "--seconds",
        "2",
        "--rate",
        "50",
        "--channels",
        "4",
        "--loss",
        "0",
        "--round-trip",
        "20",
    ];
    if !rustix::process::geteuid().is_root() {
        let output = run(&args);
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("a link needs root"));
        return;
    }
    let figures = figures(&args);
    let rows = figures.as_array().unwrap();
    assert_eq!(rows.len(), 3);
    for row in rows {
        assert_eq!((&row["missing"], &row["failed"]), (&Value::from(0), &Value::from(0)), "{row}");
        assert!(row["round_trip_ms"].as_f64() >= Some(20.0), "{row}");
    }
    let p50_us = |row: usize| rows[row]["all"]["p50_us"].as_f64().unwrap();
    // Half a round trip at least over the link, and less from the router on than from the beginning.
    assert!(p50_us(1) >= 10_000.0 && p50_us(2) >= 10_000.0, "{figures}");
    assert!(p50_us(0) > 0.0 && p50_us(0) < p50_us(1), "{figures}");
}
