//! What a history is opened on: a migrated schema, of one log, on a server that can be trusted.

use meridian_core::seams::{HistoryError, Incarnation};
use meridian_core::vocabulary::{Epoch, LogName, Partition};
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

/// Resumed without asking: the server says later what it has to say, to each call.
#[tokio::test]
async fn a_resumed_history_asks_first() {
    let stack = shared();
    let options = unmigrated(&stack);
    let history = PostgresHistory::resume(options.clone(), &incarnation()).unwrap();
    assert_eq!((history.halts().await, history.refused().is_some()), (Err(HistoryError), true));
    migrate(&options).await.unwrap();
    assert_eq!(PostgresHistory::newest(&options, &incarnation().log).await.unwrap(), None);
    assert_eq!((history.halts().await, history.refused()), (Ok(vec![]), None));
    let newest = PostgresHistory::newest(&options, &incarnation().log).await.unwrap();
    assert_eq!(newest, Some(incarnation()));
    history.close().await;
    let other = Incarnation { identity: "recreated".into(), ..incarnation() };
    let history = PostgresHistory::resume(options, &other).unwrap();
    assert_eq!(history.halts().await, Err(HistoryError));
    assert!(history.refused().unwrap().contains("another incarnation"));
    history.close().await;
}

#[tokio::test]
async fn halts_are_of_an_epoch_and_stay_until_a_router_goes_on() {
    let server = Server::shared().await;
    let history = server.open().await;
    for (partition, why) in [(3, "first"), (1, "second"), (3, "third")] {
        history.halt(Partition(partition), why).await.unwrap();
    }
    let halts = history.halts().await.unwrap();
    let told: Vec<_> = halts.iter().map(|halt| (halt.partition.0, halt.why.as_str())).collect();
    assert_eq!(told, [(1, "second"), (3, "third")]);
    assert!(halts[1].found > halts[0].found, "{halts:?}");
    history.go_on(Partition(3)).await.unwrap();
    assert_eq!(history.halts().await.unwrap(), halts[..1]);
    let later = Incarnation { epoch: Epoch(2), identity: "its next".into(), ..incarnation() };
    let later = PostgresHistory::open(server.options.clone(), &later).await.unwrap();
    assert_eq!(later.halts().await, Ok(vec![]));
    later.close().await;
    history.close().await;
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
