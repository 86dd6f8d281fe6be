//! What a region's stores hold of the log, seen from outside of every process that works on them; and
//! emptying them.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use meridian_core::seams::{Backplane as _, History as _, Incarnation};
use meridian_core::vocabulary::{Channel, ChannelKey, Cursor, Stream, Tenant};
use meridian_postgres::PostgresHistory;
use meridian_redis::RedisBackplane;
use sqlx::{Connection as _, PgConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Servers, TENANT, streams};

const PATIENCE: Duration = Duration::from_secs(30);

/// Handles on one region's views of a log.
pub(crate) struct Views {
    servers: Servers,
    backplane: RedisBackplane,
    history: PostgresHistory,
    streams: Vec<Stream>,
}

impl Views {
    /// Empties the region and makes its schema anew.
    pub(crate) async fn emptied(servers: &Servers, log: &Incarnation) -> Result<Self> {
        let mut admin = PgConnection::connect(&servers.postgres).await?;
        sqlx::raw_sql("DROP SCHEMA IF EXISTS meridian CASCADE").execute(&mut admin).await?;
        admin.close().await?;
        meridian_postgres::migrate(&servers.postgres_options()).await?;
        flush(&servers.redis).await.context("emptying Redis")?;
        Self::open(servers, log).await
    }

    /// Of a region whose schema exists.
    pub(crate) async fn open(servers: &Servers, log: &Incarnation) -> Result<Self> {
        let history = PostgresHistory::open(servers.postgres_options(), log).await?;
        let backplane = servers.backplane()?;
        ensure!(backplane.wait_connected(PATIENCE).await, "Redis does not answer");
        Ok(Self { servers: servers.clone(), backplane, history, streams: streams(log) })
    }

    /// Records applied at Redis, by partition: where its marker stands. Counts records as long as all
    /// are kept.
    pub(crate) async fn applied(&self) -> Result<Vec<u64>> {
        let markers = self.streams.iter().map(|stream| self.backplane.marker(stream));
        let markers = try_join_all(markers).await?;
        Ok(markers.into_iter().map(|at| at.map_or(0, |at| at.next_offset().0)).collect())
    }

    /// Records stored in Postgres, by partition: where its checkpoint stands.
    pub(crate) async fn stored(&self) -> Result<Vec<u64>> {
        let checkpoints = self.history.checkpoints(&self.streams).await?;
        let next = |stream: &Stream| {
            let checkpoint = checkpoints.get(&stream.partition);
            checkpoint.map_or(0, |checkpoint| checkpoint.position.next_offset().0)
        };
        Ok(self.streams.iter().map(next).collect())
    }

    /// Events in Postgres.
    pub(crate) async fn events(&self) -> Result<u64> {
        let mut connection = PgConnection::connect(&self.servers.postgres).await?;
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM meridian.events")
            .fetch_one(&mut connection)
            .await?;
        connection.close().await?;
        Ok(count as u64)
    }

    /// Whether Redis alone has what follows a cursor.
    pub(crate) async fn is_hot(&self, channel: &str, cursor: &Cursor) -> Result<bool> {
        let key = ChannelKey { tenant: Tenant::parse(TENANT)?, channel: Channel::parse(channel)? };
        let Cursor { log, partition, position } = cursor.clone();
        let stream = Stream { log, epoch: position.epoch, partition };
        let read = self.backplane.read(&key, &stream, position, 1).await?;
        Ok(read.oldest_prev.is_some_and(|prev| prev.is_within(position)))
    }

    pub(crate) async fn close(self) {
        self.history.close().await;
    }
}

/// `FLUSHALL`, as one would type it.
async fn flush(url: &str) -> Result<()> {
    let address = url.strip_prefix("redis://").context("not a Redis of the stack")?;
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"FLUSHALL SYNC\r\n").await?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await?;
    ensure!(&answer == b"+OK\r\n", "Redis answered {:?}", String::from_utf8_lossy(&answer));
    Ok(())
}
