//! A server that the tests share while one of them runs, a schema of its own for each history.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use meridian_core::seams::Incarnation;
use meridian_core::vocabulary::{Epoch, LogName};
use meridian_postgres::{Options, PostgresHistory, Tls, migrate};
use meridian_stack::{Counts, Stack};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

static SHARED: Mutex<Weak<Stack>> = Mutex::new(Weak::new());
static SCHEMAS: AtomicU32 = AtomicU32::new(0);

/// A migrated schema on a server.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) stack: Arc<Stack>,
    pub(crate) options: Options,
}

impl Server {
    /// A new schema on the shared server.
    pub(crate) async fn shared() -> Self {
        Self::on(shared()).await
    }

    /// On a server that may be killed.
    pub(crate) async fn own() -> Self {
        Self::on(Arc::new(start())).await
    }

    async fn on(stack: Arc<Stack>) -> Self {
        let options = unmigrated(&stack);
        migrate(&options).await.unwrap();
        Self { stack, options }
    }

    pub(crate) async fn open(&self) -> PostgresHistory {
        PostgresHistory::open(self.options.clone(), &incarnation()).await.unwrap()
    }

    /// A superuser's connection to the schema.
    pub(crate) async fn connect(&self) -> PgConnection {
        let mut connection = PgConnection::connect(&self.options.url).await.unwrap();
        let sql = format!("SET search_path = {}", self.options.schema);
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        connection
    }

    /// Runs statements as a superuser.
    pub(crate) async fn run(&self, sql: &str) {
        let mut connection = self.connect().await;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// One number.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let mut connection = self.connect().await;
        let query = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()));
        let number = query.fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        number
    }
}

/// Options for a schema that is not there yet.
pub(crate) fn unmigrated(stack: &Stack) -> Options {
    let mut options = Options::new(stack.postgres(1));
    options.tls = Tls::Off;
    options.schema = format!("history_{}", SCHEMAS.fetch_add(1, Ordering::Relaxed));
    options
}

pub(crate) fn shared() -> Arc<Stack> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let stack = Arc::new(start());
        *shared = Arc::downgrade(&stack);
        stack
    })
}

fn start() -> Stack {
    Stack::start(Counts { postgres: 1, ..Counts::default() })
}

/// The log that the histories are views of.
pub(crate) fn incarnation() -> Incarnation {
    Incarnation {
        log: LogName::parse("global").unwrap(),
        epoch: Epoch(1),
        identity: "a log".into(),
        partitions: 8,
        window_records: 1 << 17,
        window_ms: 86_400_000,
    }
}
