//! How often the stores were asked, and what that cost them, as they say themselves.

use std::time::Duration;

use anyhow::Result;
use meridian_stack::Stack;
use sqlx::{Connection as _, PgConnection};
use tokio::time::sleep;

use crate::procfs::{cpu_us, family_cpu_us};
use crate::region::{Node, Servers, metric, server_pid};

/// A session of Postgres tells what it counted when it was idle for ten seconds; a worker of the edge
/// does sooner.
const TOLD: Duration = Duration::from_secs(12);

/// Numbers that only rise.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reads {
    /// Ranges that the edge read for clients behind the ring, from whatever store.
    pub(super) pages: u64,
    /// Reads of Redis' hot history, those that it could not serve included.
    pub(super) redis: u64,
    /// Calls of the one function in Postgres that reads events.
    pub(super) postgres: u64,
}

/// CPU time so far, in microseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cpu {
    pub(super) edge_us: u64,
    pub(super) redis_us: u64,
    pub(super) postgres_us: u64,
}

/// Has Postgres count calls of functions from now on.
pub(super) async fn count_calls(servers: &Servers) -> Result<()> {
    let mut connection = PgConnection::connect(&servers.postgres).await?;
    for statement in ["ALTER SYSTEM SET track_functions = 'pl'", "SELECT pg_reload_conf()"] {
        sqlx::raw_sql(statement).execute(&mut connection).await?;
    }
    Ok(connection.close().await?)
}

impl Reads {
    /// As of now; waits until all have told.
    pub(super) async fn of(edge: &Node, servers: &Servers) -> Result<Self> {
        sleep(TOLD).await;
        let pages = metric(edge.admin, "meridian_history_pages_total").await? as u64;
        let redis = metric(edge.admin, "meridian_backplane_read_seconds_count").await? as u64;
        let mut connection = PgConnection::connect(&servers.postgres).await?;
        let calls: i64 = sqlx::query_scalar(
            "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_user_functions \
             WHERE schemaname = 'meridian' AND funcname = 'read_events'",
        )
        .fetch_one(&mut connection)
        .await?;
        connection.close().await?;
        Ok(Self { pages, redis, postgres: calls as u64 })
    }

    pub(super) fn since(self, before: Self) -> Self {
        Self {
            pages: self.pages - before.pages,
            redis: self.redis - before.redis,
            postgres: self.postgres - before.postgres,
        }
    }
}

impl Cpu {
    /// Of the second region.
    pub(super) fn of(edge: &Node, stack: &Stack) -> Result<Self> {
        Ok(Self {
            edge_us: cpu_us(edge.pid)?,
            redis_us: cpu_us(server_pid(stack, "redis2")?)?,
            postgres_us: family_cpu_us(server_pid(stack, "pg2")?)?,
        })
    }

    pub(super) fn since(self, before: Self) -> Self {
        Self {
            edge_us: self.edge_us - before.edge_us,
            redis_us: self.redis_us - before.redis_us,
            postgres_us: self.postgres_us.saturating_sub(before.postgres_us),
        }
    }
}
