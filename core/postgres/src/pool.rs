//! A bounded set of connections, lent until a deadline. A connection whose statement did not end (a
//! timeout, a caller that went away, a broken socket) is never lent again: a server that hangs
//! costs nobody a place in the pool. Knows no statement of the history.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Error};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

use crate::options;

/// A connection that was idle for longer is asked whether it lives before it is used.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);
/// Then it is replaced: the name of the server may have moved on.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// Connections of one kind of use.
pub(crate) struct Pool {
    connect: PgConnectOptions,
    patience: Duration,
    idle: Mutex<Vec<Idle>>,
    permits: Semaphore,
}

struct Idle {
    connection: PgConnection,
    since: Instant,
    opened: Instant,
}

/// A connection, lent until a time.
pub(crate) struct Lent<'a> {
    pool: &'a Pool,
    /// `None` only when it is given back.
    connection: Option<PgConnection>,
    opened: Instant,
    pub(crate) until: Instant,
    _permit: SemaphorePermit<'a>,
}

impl Pool {
    /// Opens connections as they are needed, up to `most`.
    pub(crate) fn new(connect: PgConnectOptions, patience: Duration, most: u32) -> Self {
        let permits = Semaphore::new(most.max(1) as usize);
        Self { connect, patience, idle: Mutex::default(), permits }
    }

    /// Waits for a connection. What is done with it, too, has to end within the patience.
    pub(crate) async fn lend(&self) -> Result<Lent<'_>, Error> {
        let until = Instant::now() + self.patience;
        let permit =
            timeout_at(until, self.permits.acquire()).await.map_err(|_| Error::PoolTimedOut)?;
        let permit = permit.map_err(|_| Error::PoolClosed)?;
        let found = timeout_at(until, self.find()).await.map_err(|_| Error::PoolTimedOut)?;
        let (connection, opened) = found?;
        Ok(Lent { pool: self, connection: Some(connection), opened, until, _permit: permit })
    }

    /// Ends the idle connections, and lends no more.
    pub(crate) async fn close(&self) {
        self.permits.close();
        let idle = std::mem::take(&mut *self.idle());
        for idle in idle {
            let _ = idle.connection.close().await;
        }
    }

    async fn find(&self) -> Result<(PgConnection, Instant), Error> {
        while let Some(mut idle) = self.pop() {
            if idle.opened.elapsed() > LIFETIME {
                let _ = idle.connection.close().await;
            } else if idle.since.elapsed() < TRUSTED_IDLE || idle.connection.ping().await.is_ok() {
                return Ok((idle.connection, idle.opened));
            }
        }
        let connection = options::open(&self.connect).await?;
        Ok((connection, Instant::now()))
    }

    fn pop(&self) -> Option<Idle> {
        self.idle().pop()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent<'_> {
    /// Takes what came of a statement, and the connection back, if it can be used again.
    pub(crate) fn back<T>(self, answer: Result<Result<T, Error>, Elapsed>) -> Result<T, Error> {
        let answer = answer.unwrap_or(Err(Error::PoolTimedOut));
        match &answer {
            Ok(_) | Err(Error::Database(_)) => self.keep(),
            // The others of the pool broke with it.
            Err(Error::Io(_)) => self.pool.idle().clear(),
            Err(_) => {}
        }
        answer
    }

    /// Gives a connection back on which nothing is under way.
    pub(crate) fn keep(mut self) {
        let Some(connection) = self.connection.take() else { return };
        if !self.pool.permits.is_closed() {
            let idle = Idle { connection, since: Instant::now(), opened: self.opened };
            self.pool.idle().push(idle);
        }
    }
}

impl Deref for Lent<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect("invariant: taken only when it is given back")
    }
}

impl DerefMut for Lent<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("invariant: taken only when it is given back")
    }
}
