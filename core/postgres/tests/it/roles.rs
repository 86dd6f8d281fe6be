//! The documented roles: each does its work, and nothing of the others'.

use meridian_core::policy::{Policies, Policy, Retention};
use meridian_core::seams::conformance::{Samples, channel, stream};
use meridian_core::seams::{
    Acknowledged, AcknowledgedKey, Applied, CommitError, History, HistoryRead, ReadBounds, ReadFrom,
};
use meridian_core::vocabulary::{
    ChannelKey, Cursor, Namespace, Partition, Position, SubscriberName, UserId,
};
use meridian_postgres::{OpenError, PostgresHistory, SeedError, SeedLog, migrate, seed};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::server::{Server, incarnation};

const ROLES: &str = include_str!("../../../../migrations/postgres/roles.sql");
const DAY_MS: u64 = 86_400_000;

/// The server as another user sees it.
fn login(server: &Server, user: &str) -> Server {
    let mut server = server.clone();
    server.options.url = server.options.url.replace("postgres@", &format!("{user}@"));
    server
}

async fn set_up() -> Server {
    let mut server = Server::own().await;
    server.options.schema = "meridian".into();
    // An owner who is no superuser.
    server
        .run("CREATE ROLE owner1 LOGIN CREATEROLE; GRANT CREATE ON DATABASE postgres TO owner1")
        .await;
    let owner = login(&server, "owner1");
    migrate(&owner.options).await.unwrap();
    owner.run(ROLES).await;
    owner.run(ROLES).await;
    migrate(&owner.options).await.expect("nothing to do");
    server
        .run(
            "CREATE ROLE router1 LOGIN IN ROLE meridian_router; \
             CREATE ROLE edge1 LOGIN IN ROLE meridian_edge; \
             CREATE ROLE copy1 LOGIN IN ROLE meridian_copy",
        )
        .await;
    server
}

/// Each statement is refused for want of a privilege.
async fn refused(server: &Server, statements: &[&str]) {
    let mut connection = server.connect().await;
    for sql in statements {
        let done = sqlx::raw_sql(AssertSqlSafe(*sql)).execute(&mut connection).await;
        let error = done.expect_err(sql);
        let code = error.as_database_error().unwrap().code().unwrap().into_owned();
        assert_eq!(code, "42501", "{sql}: {error}");
    }
    PgConnection::close(connection).await.unwrap();
}

#[tokio::test]
async fn each_role_does_its_work_and_no_more() {
    let server = set_up().await;
    let (mut router, edge) = (login(&server, "router1"), login(&server, "edge1"));
    router.options.upkeep_role = Some("meridian_upkeep".into());
    let early = PostgresHistory::open(edge.options.clone(), &incarnation()).await;
    assert!(matches!(early, Err(OpenError::UnknownLog)));

    // A router stores, on days that are not there yet, and keeps up.
    let history = router.open().await;
    let (mut samples, key) = (Samples::new(stream(1, 0)), channel("a"));
    let start = samples.position();
    let fence = history.claim(samples.stream(), 100).await.unwrap().fence;
    let mut stored = Vec::new();
    for day in 0..3 {
        samples.time_ms = day * DAY_MS;
        let events = samples.events(&key, 2);
        history.commit(samples.stream(), samples.batch(fence, &events)).await.unwrap();
        stored.extend(events);
    }
    let retention = Retention { age_ms: DAY_MS, ..Policy::default().retention };
    let policy = Policy { retention, ..Policy::default() };
    let policies = Policies::new([(Namespace::parse("rooms").unwrap(), policy)].into());
    let upkept = history.upkeep(&policies, 2 * DAY_MS).await.unwrap().unwrap();
    assert_eq!((upkept.dropped, upkept.created), (1, 2));
    refused(
        &router,
        &[
            "DROP TABLE events_19700102",
            "DROP TABLE events",
            "DELETE FROM events",
            "UPDATE events SET body = ''",
            "TRUNCATE channels",
            "DELETE FROM streams",
            "DELETE FROM acknowledged",
            "DELETE FROM marks",
            "CREATE TABLE meridian.mine ()",
            "ALTER TABLE channels ADD COLUMN mine int",
        ],
    )
    .await;

    // Nobody needs more to tell one history from another.
    let elsewhere = Server::shared().await;
    let other = elsewhere.open().await.identity().await.unwrap();
    assert_ne!(history.identity().await.unwrap(), other);

    // An edge reads and acknowledges.
    let reading = edge.open().await;
    reads(&reading, &samples, (start, &stored)).await;
    acknowledges(&reading, &samples, &key).await;
    history.halt(Partition(0), "a reason").await.unwrap();
    assert_eq!(reading.halts().await.unwrap().len(), 1);
    history.halt(Partition(0), "another").await.unwrap();
    history.go_on(Partition(0)).await.unwrap();
    assert!(reading.halt(Partition(0), "forged").await.is_err());

    // And stores nothing else.
    let stream = samples.stream().clone();
    let next = samples.events(&key, 1);
    let forged = reading.commit(&stream, samples.batch(fence, &next)).await;
    assert_eq!(forged, Err(CommitError::Unavailable));
    assert!(reading.claim(&stream, 0).await.is_err());
    assert!(reading.upkeep(&policies, 2 * DAY_MS).await.is_err());
    refused(
        &edge,
        &[
            "INSERT INTO events VALUES (0, 9, 1, -1, 1, 0, 0, 1, 'x', '')",
            "INSERT INTO events_19700102 VALUES (86400000, 9, 1, -1, 1, 0, 0, 1, 'x', '')",
            "UPDATE streams SET fence = 99",
            "UPDATE channels SET head_passed = 99",
            "SELECT FROM windows",
            "INSERT INTO marks VALUES (1, 'a', 0, 1, 0, 0)",
            "DELETE FROM acknowledged",
            "SELECT add_partition(9)",
            "DROP TABLE events_19700102",
            "SET ROLE meridian_upkeep",
            "SET ROLE meridian_router",
        ],
    )
    .await;
    history.commit(&stream, samples.batch(fence, &next)).await.expect("the fence did not move");
}

/// A region is seeded by one login that only reads there, and by the owner here.
#[tokio::test]
async fn a_seed_reads_there_and_its_days_belong_to_upkeep_here() {
    let server = set_up().await;
    let (mut router, copier) = (login(&server, "router1"), login(&server, "copy1"));
    let mut samples = Samples::new(stream(1, 0));
    let history = router.open().await;
    let fence = history.claim(samples.stream(), 0).await.unwrap().fence;
    let events = samples.events(&channel("a"), 3);
    server.run("SELECT add_partition(0)").await;
    history.commit(samples.stream(), samples.batch(fence, &events)).await.unwrap();
    history.close().await;

    server.run("CREATE DATABASE other OWNER owner1").await;
    let elsewhere = |of: &Server| {
        let mut there = of.clone();
        there.options.url = there.options.url.replace("/postgres?", "/other?");
        assert_ne!(there.options.url, of.options.url);
        there
    };
    let owner = elsewhere(&login(&server, "owner1"));
    migrate(&owner.options).await.unwrap();
    owner.run(ROLES).await;
    let logs = [SeedLog { name: incarnation().log, epochs: None }];
    let by_edge = seed(&login(&server, "edge1").options, &owner.options, &logs).await;
    assert!(matches!(by_edge, Err(SeedError::Denied(_))), "{by_edge:?}");
    seed(&copier.options, &owner.options, &logs).await.unwrap();
    refused(
        &copier,
        &[
            "INSERT INTO logs (name) VALUES ('x')",
            "UPDATE streams SET fence = 9",
            "SELECT add_partition(9)",
        ],
    )
    .await;

    router.options.upkeep_role = Some("meridian_upkeep".into());
    let history = elsewhere(&router).open().await;
    assert_eq!(history.claim(samples.stream(), 0).await.unwrap().fence, 1);
    let retention = Retention { age_ms: DAY_MS, ..Policy::default().retention };
    let policy = Policy { retention, ..Policy::default() };
    let policies = Policies::new([(Namespace::parse("rooms").unwrap(), policy)].into());
    let upkept = history.upkeep(&policies, 9 * DAY_MS).await.unwrap().unwrap();
    assert_eq!(upkept.dropped, 1);
}

/// All that is stored above a position, the newest of it, heads and checkpoints.
async fn reads(
    history: &PostgresHistory,
    samples: &Samples,
    (start, stored): (Position, &[Applied]),
) {
    let bounds = ReadBounds { max_events: 100, max_bytes: usize::MAX, oldest_time_ms: 0 };
    let key = &stored[0].event.key;
    for from in [ReadFrom::After(start), ReadFrom::Last(4)] {
        let read = history.read(key, samples.stream(), from, bounds).await.unwrap();
        let HistoryRead::Events { events, .. } = read else { panic!("{read:?}") };
        assert!(events.iter().eq(stored[2..].iter().map(|made| &made.event)));
    }
    let log = &samples.stream().log;
    assert_eq!(history.heads(log, std::slice::from_ref(key)).await.unwrap().len(), 1);
    assert_eq!(history.checkpoints(&[samples.stream().clone()]).await.unwrap().len(), 1);
}

async fn acknowledges(history: &PostgresHistory, samples: &Samples, key: &ChannelKey) {
    let subscriber = AcknowledgedKey {
        tenant: key.tenant.clone(),
        user: UserId::parse("ann").unwrap(),
        subscriber: SubscriberName::parse("phone").unwrap(),
        channel: key.channel.clone(),
    };
    let stream = samples.stream().clone();
    for generation in [1, 2] {
        let position = samples.position();
        let cursor = Cursor { log: stream.log.clone(), partition: stream.partition, position };
        let acknowledged = Acknowledged { generation, cursor };
        history.acknowledge(vec![(subscriber.clone(), acknowledged.clone())]).await.unwrap();
        assert_eq!(history.acknowledged(&subscriber).await, Ok(Some(acknowledged)));
    }
}
