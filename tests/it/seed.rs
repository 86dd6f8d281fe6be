//! A region that is built from the other one, or from what the log still has: it decides alike, and says
//! what it cannot know.

use std::collections::BTreeMap;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use meridian_client::{Client, From, Publish, Transport};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;

use crate::client::{next_event, next_ids, token};
use crate::node::eventually_within;
use crate::servers::Regions;
use crate::witnesses::{Cast, Witnesses};

const PATIENCE: Duration = Duration::from_secs(60);
const TWICE: &str = "room:twice";

/// What a region has decided, in the words of the log: no number of its own database is in it.
const DECIDED: [(&str, &str); 4] = [
    (
        "events",
        "SELECT ROW(e.epoch, e.partition, e.passed, e.time_ms, c.tenant, c.name, e.prev_epoch, \
         e.prev_passed, e.id, e.body)::text FROM events e JOIN channels c ON c.id = e.channel_id \
         ORDER BY e.epoch, e.partition, e.passed",
    ),
    (
        "heads",
        "SELECT ROW(tenant, name, partition, head_epoch, head_passed)::text FROM channels ORDER BY 1",
    ),
    (
        "checkpoints",
        "SELECT ROW(epoch, partition, passed, kept_epoch, kept_passed, fingerprint, begins, recorded)::text \
         FROM streams WHERE passed IS NOT NULL ORDER BY 1",
    ),
    (
        "windows",
        "SELECT ROW(s.epoch, s.partition, string_agg(w.packed, '' ORDER BY w.passed))::text \
         FROM windows w JOIN streams s ON s.id = w.stream_id GROUP BY s.epoch, s.partition ORDER BY 1",
    ),
];

async fn connect(regions: &Regions, region: u32) -> PgConnection {
    let mut connection =
        PgConnection::connect(regions.stack.postgres(region)).await.expect("Postgres");
    sqlx::raw_sql("SET search_path = meridian").execute(&mut connection).await.expect("a schema");
    connection
}

async fn texts(connection: &mut PgConnection, sql: &str) -> Vec<String> {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(connection).await.expect("rows")
}

async fn number(connection: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(connection).await.expect("a number")
}

async fn decided(connection: &mut PgConnection) -> BTreeMap<&'static str, Vec<String>> {
    let mut decided = BTreeMap::new();
    for (what, sql) in DECIDED {
        decided.insert(what, texts(connection, sql).await);
    }
    decided
}

/// Once the second region is where the first is, they must have decided alike.
async fn assert_alike(regions: &Regions) -> BTreeMap<&'static str, Vec<String>> {
    let (mut first, mut second) = (connect(regions, 1).await, connect(regions, 2).await);
    let checkpoints = DECIDED[2].1;
    let began = tokio::time::Instant::now();
    while texts(&mut first, checkpoints).await != texts(&mut second, checkpoints).await {
        assert!(began.elapsed() < PATIENCE, "the second region does not get there");
        tokio::time::sleep(crate::node::LOOK_EVERY).await;
    }
    let (first, second) = (decided(&mut first).await, decided(&mut second).await);
    for (what, rows) in &first {
        assert!(!rows.is_empty(), "{what}");
        assert_eq!(rows.len(), second[what].len(), "{what}");
        for (ours, theirs) in rows.iter().zip(&second[what]) {
            assert_eq!(ours, theirs, "{what}");
        }
    }
    first
}

async fn client(regions: &Regions, region: usize, user: &str) -> Client {
    let door = regions.door(region, Transport::WebSocket).token(token(user));
    door.request_timeout(PATIENCE).connect().await.expect("a connection")
}

/// Publishes ever new ids, and each again some ids later, so that some first come before any moment
/// and again after it. Answers how many.
async fn repeat(client: Client, count: Arc<AtomicUsize>, stop: CancellationToken) -> usize {
    let publish = async |n: usize| {
        let event = Publish::json(TWICE, n.to_string()).id(format!("n{n}"));
        client.publish(event).await.expect("acknowledged");
    };
    for n in 0.. {
        if stop.is_cancelled() {
            return n;
        }
        publish(n).await;
        if let Some(before) = n.checked_sub(100) {
            publish(before).await;
        }
        count.store(n, Ordering::Relaxed);
    }
    0
}

async fn seed(regions: &Regions) -> Output {
    let mut command =
        regions.command(&["region", "seed", "--config", "router2.toml", "--from", "router1.toml"]);
    let run = move || command.output().expect("the built command starts");
    tokio::task::spawn_blocking(run).await.expect("it ends")
}

/// Ends a seed with `kill -9` when it has copied nearly everything.
async fn break_off(regions: &Regions) {
    let (mut first, mut second) = (connect(regions, 1).await, connect(regions, 2).await);
    sqlx::raw_sql("BEGIN; LOCK TABLE acknowledged").execute(&mut first).await.expect("a lock");
    let mut command =
        regions.command(&["region", "seed", "--config", "router2.toml", "--from", "router1.toml"]);
    let mut child = command.stderr(Stdio::null()).spawn().expect("the built command starts");
    let waits =
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'acknowledged'::regclass";
    let began = tokio::time::Instant::now();
    while number(&mut first, waits).await == 0 {
        assert!(began.elapsed() < PATIENCE && child.try_wait().expect("ours").is_none());
        tokio::time::sleep(crate::node::LOOK_EVERY).await;
    }
    child.kill().expect("the process is ours");
    child.wait().expect("the process is ours");
    sqlx::raw_sql("ROLLBACK").execute(&mut first).await.expect("a rollback");
    let held = "SELECT count(*) FROM pg_locks WHERE relation = 'channels'::regclass AND pid <> pg_backend_pid()";
    while number(&mut second, held).await > 0 {
        assert!(began.elapsed() < PATIENCE, "the killed seed's locks stay");
        tokio::time::sleep(crate::node::LOOK_EVERY).await;
    }
    for table in ["logs", "channels", "events", "streams", "days"] {
        assert_eq!(
            number(&mut second, &format!("SELECT count(*) FROM {table}")).await,
            0,
            "{table}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_seeded_from_the_other_decides_alike() {
    let mut regions = Regions::prepare();
    for name in ["router1", "edge1"] {
        regions.revive(name).await;
    }
    let reader = client(&regions, 1, "reader").await;
    let mut heard = reader.subscribe(TWICE, From::Now).await.expect("a subscription");
    let cast = Cast { publishers: 4, readers: 8, channels: 4, pace: Duration::from_millis(5) };
    let door = |regions: &Regions, transport| regions.door(1, transport);
    let witnesses = Witnesses::start_at(&|_, transport| door(&regions, transport), &cast).await;
    let (repeated, stop) = (Arc::<AtomicUsize>::default(), CancellationToken::new());
    let repeats = repeat(client(&regions, 1, "twice").await, repeated.clone(), stop.clone());
    let repeats = tokio::spawn(repeats);
    let reaches = async |more: usize| {
        let wanted = repeated.load(Ordering::Relaxed) + more;
        let reached = || (repeated.load(Ordering::Relaxed) >= wanted).then_some(());
        eventually_within(PATIENCE, "more events", reached).await;
    };

    reaches(300).await;
    break_off(&regions).await;
    let output = seed(&regions).await;
    let said =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(output.status.success(), "{said:?}");
    assert!(said[0].starts_with("ok\nlog        global, epoch 1\n"), "{said:?}");
    assert!(said[1].contains("copied streams"), "{said:?}");
    let again = seed(&regions).await;
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(!again.status.success() && said.contains("holds a history already"), "{said}");
    reaches(150).await;
    for name in ["router2", "edge2"] {
        regions.revive(name).await;
    }
    reaches(150).await;
    stop.cancel();
    let count = repeats.await.expect("all were acknowledged");
    // Everything once more, through the new region.
    let other = client(&regions, 2, "twice").await;
    for n in 0..count {
        let event = Publish::json(TWICE, n.to_string()).id(format!("n{n}"));
        other.publish(event).await.expect("acknowledged");
    }
    let verdict = witnesses.finish_at(&|_, transport| door(&regions, transport)).await;
    assert!(verdict.acknowledged > 200, "{verdict:?}");

    let rows = assert_alike(&regions).await;
    println!(
        "{verdict:?}; {count} ids twice or more; {} events in each region",
        rows["events"].len()
    );
    // From the first event's cursor the new region has the rest, each once, without a gap.
    let first = next_event(&mut heard).await;
    let cursor = first.cursor().expect("a cursor");
    let mut room = other.subscribe(TWICE, From::Cursor(cursor)).await.expect("a subscription");
    let wanted: Vec<String> = (1..count).map(|n| format!("n{n}")).collect();
    assert_eq!(next_ids(&mut room, count - 1).await, wanted);
    assert_eq!(next_ids(&mut heard, count - 1).await, wanted);
}
