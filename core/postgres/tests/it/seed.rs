//! A history that is filled from another one: alike in everything but its owners, or not touched.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use meridian_core::seams::conformance::{Samples, channel, stream};
use meridian_core::seams::{
    Acknowledged, AcknowledgedKey, Claim, History, HistoryRead, Incarnation, Marks, ReadBounds,
    ReadFrom,
};
use meridian_core::vocabulary::{
    ChannelKey, Cursor, Epoch, LogName, Partition, SourceName, SourcePartition, SourcePlace,
    SubscriberName, UserId,
};
use meridian_postgres::{PostgresHistory, SeedError, SeedLog, Seeded, seed};
use sqlx::{Connection, Row};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::crash;
use crate::server::{Server, incarnation, unmigrated};

const DAY_MS: u64 = 86_400_000;

fn logs() -> [SeedLog; 1] {
    [SeedLog { name: incarnation().log, epochs: Some(vec![incarnation(), next_epoch()]) }]
}

fn next_epoch() -> Incarnation {
    Incarnation { epoch: Epoch(2), identity: "its next".into(), ..incarnation() }
}

/// An empty schema on the same server.
async fn target(source: &Server) -> Server {
    let options = unmigrated(&source.stack);
    meridian_postgres::migrate(&options).await.unwrap();
    Server { stack: source.stack.clone(), options }
}

async fn copy(from: &Server, to: &Server) -> Result<Seeded, SeedError> {
    seed(&from.options, &to.options, &logs()).await
}

/// Two epochs, several days, two partitions; repeats of a bridge, and somebody who acknowledged.
async fn fill(server: &Server) -> (PostgresHistory, Samples) {
    let history = server.open().await;
    let mut samples = Samples::new(stream(1, 0));
    for day in 0..3 {
        samples.time_ms = (20_000 + day) * DAY_MS;
        store(&history, &mut samples, ["a", "b"], 3).await;
    }
    store(&history, &mut Samples::new(stream(1, 7)), ["c", "d"], 2).await;
    history.close().await;
    let history = PostgresHistory::open(server.options.clone(), &next_epoch()).await.unwrap();
    let mut samples = samples.next_epoch();
    samples.time_ms = 20_003 * DAY_MS;
    store(&history, &mut samples, ["a", "b"], 4).await;
    let key = subscriber();
    let cursor =
        Cursor { log: incarnation().log, partition: Partition(0), position: samples.position() };
    history.acknowledge(vec![(key, Acknowledged { generation: 3, cursor })]).await.unwrap();
    server.run(FEED).await;
    (history, samples)
}

async fn store(
    history: &PostgresHistory,
    samples: &mut Samples,
    channels: [&str; 2],
    count: usize,
) {
    let fence = history.claim(samples.stream(), 0).await.unwrap().fence;
    for name in channels {
        samples.skip();
        let events = samples.events(&channel(name), count);
        let mut batch = samples.batch(fence, &events);
        batch.marks = marks(samples.position().passed as u64);
        history.commit(samples.stream(), batch).await.unwrap();
    }
}

/// A feed's value and its floor.
const FEED: &str = "INSERT INTO feed_values (channel_id, key, epoch, passed, time_ms, weight, id, body) \
    SELECT id, 'k', 1, 1, 1, 70, 'i', 'any' FROM channels WHERE partition = 0; \
    INSERT INTO feed_floors SELECT id, 1, 0 FROM channels WHERE partition = 0";

fn marks(offset: u64) -> Marks {
    let of = SourcePartition { source: SourceName::parse("orders").unwrap(), partition: 2 };
    Marks::from([(of, SourcePlace { generation: 1, offset, index: 0 })])
}

fn subscriber() -> AcknowledgedKey {
    let ChannelKey { tenant, channel } = channel("a");
    AcknowledgedKey {
        tenant,
        user: UserId::parse("ann").unwrap(),
        subscriber: SubscriberName::parse("phone").unwrap(),
        channel,
    }
}

/// Every table's columns, days' tables aside, and what a region halts, which is its own affair.
async fn columns(server: &Server) -> BTreeMap<String, Vec<String>> {
    let mut connection = server.connect().await;
    let sql = "SELECT table_name::text, column_name::text FROM information_schema.columns c \
               JOIN information_schema.tables t USING (table_schema, table_name) \
               WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' \
               AND table_name !~ '^events_' AND table_name NOT IN ('_sqlx_migrations', 'halts') \
               ORDER BY ordinal_position";
    let rows = sqlx::query(sql).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let mut columns: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows {
        columns.entry(row.get(0)).or_default().push(row.get(1));
    }
    columns
}

/// What a schema holds, by table: of all there are, every column but the owners' numbers.
async fn contents(server: &Server) -> BTreeMap<String, Vec<String>> {
    let mut connection = server.connect().await;
    let mut contents = BTreeMap::new();
    for (table, mut columns) in columns(server).await {
        columns.retain(|column| column != "fence");
        let row = columns.join(", ");
        let sql = format!("SELECT ROW({row})::text FROM {table} ORDER BY 1");
        let query = sqlx::query_scalar(sqlx::AssertSqlSafe(sql));
        contents.insert(table, query.fetch_all(&mut connection).await.unwrap());
    }
    connection.close().await.unwrap();
    contents
}

/// What a claim found, its fence aside.
fn found(claim: &Claim) -> impl PartialEq + std::fmt::Debug + use<> {
    let mut feeds = claim.feeds.clone();
    feeds.sort_by(|a, b| (&a.0, &a.1.key).cmp(&(&b.0, &b.1.key)));
    (claim.checkpoint.clone(), claim.window.clone(), claim.marks.clone(), feeds)
}

#[tokio::test]
async fn a_copy_is_alike_in_everything_but_its_owners() {
    let source = Server::shared().await;
    let (history, mut samples) = fill(&source).await;
    let target = target(&source).await;
    let seeded = copy(&source, &target).await.unwrap();
    let whole = contents(&source).await;
    assert_eq!(contents(&target).await, whole);
    assert!(whole.values().all(|rows| !rows.is_empty()), "{whole:?}");
    assert_eq!(seeded.events, 30);
    assert_eq!(seeded.rows, whole.values().map(|rows| rows.len() as u64).sum::<u64>());
    assert_eq!(seeded.epochs, BTreeMap::from([(incarnation().log, 2)]));
    assert_eq!(target.number("SELECT max(fence) FROM streams").await, 0);
    assert_eq!(target.number("SELECT count(*) FROM days WHERE attached").await, 5);

    // Both go on alike, new channels included.
    let copied = PostgresHistory::open(target.options.clone(), &next_epoch()).await.unwrap();
    let (ours, theirs) = (
        history.claim(samples.stream(), 1_000).await.unwrap(),
        copied.claim(samples.stream(), 1_000).await.unwrap(),
    );
    assert_eq!(found(&ours), found(&theirs));
    assert_eq!(theirs.fence, 1);
    let mut events = samples.events(&channel("a"), 2);
    events.extend(samples.events(&channel("new"), 2));
    for (history, claim) in [(&history, ours), (&copied, theirs)] {
        let batch = samples.batch(claim.fence, &events);
        history.commit(samples.stream(), batch).await.unwrap();
    }
    assert_eq!(contents(&target).await, contents(&source).await);
    let read = async |history: &PostgresHistory| {
        let bounds = ReadBounds { max_events: 100, max_bytes: usize::MAX, oldest_time_ms: 0 };
        let from = ReadFrom::Last(100);
        let read = history.read(&channel("a"), samples.stream(), from, bounds).await;
        let Ok(HistoryRead::Events { gone: None, events, .. }) = read else { panic!("{read:?}") };
        events
    };
    assert_eq!(read(&copied).await, read(&history).await);
    assert_eq!(read(&copied).await.len(), 9, "one epoch's");
    assert_eq!(
        copied.acknowledged(&subscriber()).await.unwrap(),
        history.acknowledged(&subscriber()).await.unwrap()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_under_load_is_of_one_moment() {
    let source = Server::shared().await;
    let history = Arc::new(source.open().await);
    let ((stop, stopped), (stored, mut count)) = (watch::channel(false), watch::channel(0));
    let mut writers = JoinSet::new();
    for partition in 0..crash::PARTITIONS {
        let (history, stopped) = (history.clone(), stopped.clone());
        writers.spawn(crash::write(history, partition, stopped, stored.clone()));
    }
    for round in 1..=3 {
        count.wait_for(|count| *count >= 40 * round).await.unwrap();
        let target = target(&source).await;
        copy(&source, &target).await.unwrap();
        let history = target.open().await;
        for partition in 0..crash::PARTITIONS {
            let stream = stream(1, partition);
            let claim = history.claim(&stream, 1 << 17).await.unwrap();
            let end = claim.checkpoint.unwrap().position;
            assert!(end.passed > 0);
            crash::check(&history, partition, end).await;
            let window = claim.window.iter().map(|row| row.offset.0);
            assert!(window.eq(0..=end.passed as u64), "the window of {partition}");
        }
        history.close().await;
    }
    stop.send(true).unwrap();
    writers.join_all().await;
}

#[tokio::test]
async fn only_what_fits_is_copied_and_a_refused_target_stays_as_it_is() {
    let source = Server::shared().await;
    let refused = copy(&source, &target(&source).await).await;
    assert!(matches!(refused, Err(SeedError::UnknownLog { .. })), "{refused:?}");
    let (history, _) = fill(&source).await;
    history.close().await;

    let unmigrated = Server { stack: source.stack.clone(), options: unmigrated(&source.stack) };
    let refused = copy(&source, &unmigrated).await;
    assert!(matches!(refused, Err(SeedError::Target(_))), "{refused:?}");
    let refused = copy(&unmigrated, &target(&source).await).await;
    assert!(matches!(refused, Err(SeedError::Source(_))), "{refused:?}");

    let empty = target(&source).await;
    let attempt = async |epochs| {
        let log = SeedLog { name: incarnation().log, epochs: Some(epochs) };
        seed(&source.options, &empty.options, &[log]).await
    };
    let other = Incarnation { identity: "recreated".into(), ..next_epoch() };
    let refused = attempt(vec![incarnation(), other]).await;
    assert!(
        matches!(refused, Err(SeedError::OtherLog { what: "identity", epoch: 2, .. })),
        "{refused:?}"
    );
    let refused = attempt(vec![incarnation()]).await;
    assert!(matches!(refused, Err(SeedError::UnknownEpoch { epoch: 2, .. })), "{refused:?}");
    assert!(contents(&empty).await.values().all(Vec::is_empty));

    source.run("INSERT INTO _sqlx_migrations SELECT 999, description, installed_on, success, checksum, execution_time FROM _sqlx_migrations LIMIT 1").await;
    let refused = copy(&source, &empty).await;
    assert!(matches!(refused, Err(SeedError::SourceVersion { .. })), "{refused:?}");
    source.run("DELETE FROM _sqlx_migrations WHERE version = 999").await;

    let mut holder = empty.connect().await;
    let mut writing = holder.begin().await.unwrap();
    sqlx::query("INSERT INTO logs (name) VALUES ('x')").execute(&mut *writing).await.unwrap();
    let mut hurried = Server { options: empty.options.clone(), ..empty.clone() };
    hurried.options.lock_timeout = Duration::from_millis(100);
    let refused = copy(&source, &hurried).await;
    assert!(matches!(refused, Err(SeedError::Busy { .. })), "{refused:?}");
    writing.rollback().await.unwrap();

    copy(&source, &empty).await.unwrap();
    let before = contents(&empty).await;
    let refused = copy(&source, &empty).await;
    assert!(matches!(refused, Err(SeedError::NotEmpty { table: "logs", .. })), "{refused:?}");
    assert_eq!(contents(&empty).await, before);
}

#[tokio::test]
async fn other_logs_stay_where_they_are() {
    let source = Server::shared().await;
    let (history, _) = fill(&source).await;
    let zone = LogName::parse("europe").unwrap();
    let log = Incarnation { log: zone.clone(), ..incarnation() };
    let zoned = PostgresHistory::open(source.options.clone(), &log).await.unwrap();
    let mut samples = Samples::new(stream(1, 0));
    let key = channel("a");
    let events = samples.events(&key, 2);
    let zoned_stream = meridian_core::vocabulary::Stream { log: zone, ..stream(1, 0) };
    let fence = zoned.claim(&zoned_stream, 0).await.unwrap().fence;
    zoned.commit(&zoned_stream, samples.batch(fence, &events)).await.unwrap();
    let target = target(&source).await;
    let seeded = copy(&source, &target).await.unwrap();
    assert_eq!((seeded.events, target.number("SELECT count(*) FROM logs").await), (30, 1));
    assert_eq!(target.number("SELECT count(*) FROM streams").await, 3);
    history.close().await;
}

/// Broken off when nearly everything is over there.
#[tokio::test]
async fn a_copy_that_is_broken_off_leaves_nothing_and_is_begun_again() {
    let source = Server::shared().await;
    let (history, _) = fill(&source).await;
    history.close().await;
    let target = target(&source).await;
    let mut holder = source.connect().await;
    let mut locked = holder.begin().await.unwrap();
    sqlx::query("LOCK TABLE acknowledged").execute(&mut *locked).await.unwrap();
    let mut patient = source.clone();
    patient.options.lock_timeout = Duration::from_secs(60);
    let halfway = target.clone();
    let copying = tokio::spawn(async move { copy(&patient, &halfway).await });
    let waits =
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'acknowledged'::regclass";
    until(async || source.number(waits).await == 1).await;
    copying.abort();
    assert!(copying.await.unwrap_err().is_cancelled());
    locked.rollback().await.unwrap();
    let free = "SELECT count(*) FROM pg_locks WHERE relation = 'channels'::regclass";
    until(async || target.number(free).await == 0).await;
    assert!(contents(&target).await.values().all(Vec::is_empty));
    assert_eq!(target.number("SELECT count(*) FROM days").await, 0);
    copy(&source, &target).await.unwrap();
    assert_eq!(contents(&target).await, contents(&source).await);
}

async fn until(mut reached: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !reached().await {
        assert!(began.elapsed() < Duration::from_secs(20), "it never came to that");
        sleep(Duration::from_millis(10)).await;
    }
}
