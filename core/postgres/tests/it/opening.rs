//! What a history is opened on: a migrated schema, of one log, on a server that can be trusted.

use meridian_core::seams::Incarnation;
use meridian_core::vocabulary::{Epoch, LogName};
use meridian_postgres::{OpenError, PostgresHistory, migrate};

use crate::server::{Server, incarnation, shared, unmigrated};

async fn open(server: &Server, log: Incarnation) -> Result<(), OpenError> {
    let history = PostgresHistory::open(server.options.clone(), &log).await?;
    history.close().await;
    Ok(())
}

#[tokio::test]
async fn a_schema_must_be_migrated() {
    let stack = shared();
    let options = unmigrated(&stack);
    let opened = PostgresHistory::open(options.clone(), &incarnation()).await;
    let Err(OpenError::NotMigrated { schema, .. }) = opened else { panic!() };
    assert_eq!(schema, options.schema);
    migrate(&options).await.unwrap();
    let server = Server { stack, options };
    open(&server, incarnation()).await.unwrap();
    server.run("DELETE FROM _sqlx_migrations WHERE version = 4").await;
    let opened = open(&server, incarnation()).await;
    assert!(matches!(opened, Err(OpenError::NotMigrated { .. })));
}

#[tokio::test]
async fn many_migrate_at_once() {
    let stack = shared();
    let options = unmigrated(&stack);
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let options = options.clone();
        all.spawn(async move { migrate(&options).await });
    }
    for migrated in all.join_all().await {
        migrated.unwrap();
    }
    open(&Server { stack, options }, incarnation()).await.unwrap();
}

#[tokio::test]
async fn another_log_is_refused() {
    let server = Server::shared().await;
    let later = Incarnation { epoch: Epoch(2), identity: "its next".into(), ..incarnation() };
    open(&server, incarnation()).await.unwrap();
    for (other, fact) in [
        (Incarnation { identity: "recreated".into(), ..incarnation() }, "identity"),
        (Incarnation { partitions: 9, ..incarnation() }, "number of partitions"),
        (Incarnation { window_records: 9, ..incarnation() }, "window of records"),
        (Incarnation { window_ms: 9, ..incarnation() }, "window of milliseconds"),
    ] {
        match open(&server, other).await {
            Err(OpenError::OtherLog { what, .. }) => assert_eq!(what, fact),
            opened => panic!("{opened:?}"),
        }
    }
    open(&server, incarnation()).await.expect("a refused log leaves nothing behind");
    open(&server, later.clone()).await.unwrap();
    let passed = open(&server, incarnation()).await;
    assert!(matches!(passed, Err(OpenError::LaterEpoch { stored: 2, given: 1 })), "{passed:?}");
    let zone = LogName::parse("europe").unwrap();
    open(&server, Incarnation { log: zone, ..incarnation() }).await.expect("a zone's own log");
    open(&server, later).await.unwrap();
}

#[tokio::test]
async fn a_database_that_is_not_there_is_said_so() {
    let server = Server::shared().await;
    let mut options = server.options.clone();
    options.url = options.url.replace("/postgres", "/nowhere");
    options.patience = std::time::Duration::from_millis(500);
    let opened = PostgresHistory::open(options, &incarnation()).await;
    assert!(matches!(opened, Err(OpenError::Unavailable(_))));
}
