//! Why the region halted its log: noted by the router that found it, told to the edges. Decides nothing.

use meridian_core::seams::HistoryError;
use meridian_core::vocabulary::Partition;
use sqlx::Row;
use sqlx::postgres::PgConnection;
use tokio::time::timeout_at;

use crate::PostgresHistory;
use crate::history::unavailable;

/// A reason to halt that a router of the region found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotedHalt {
    pub partition: Partition,
    pub why: String,
    /// Another number each time that it is found.
    pub found: i64,
}

impl PostgresHistory {
    /// Notes that the log's epoch is halted, until `go_on`; the latest reason of a partition counts.
    pub async fn halt(&self, partition: Partition, why: &str) -> Result<(), HistoryError> {
        let sql = "INSERT INTO halts (log_id, epoch, partition, why) VALUES ($1, $2, $3, $4) \
                   ON CONFLICT (log_id, epoch, partition) \
                   DO UPDATE SET why = excluded.why, found = DEFAULT";
        let query = async |connection: &mut PgConnection, log_id: i16| {
            let query = sqlx::query(sql).bind(log_id).bind(self.epoch()).bind(number(partition));
            query.bind(why).execute(connection).await.map(drop)
        };
        self.once(query).await
    }

    /// A router goes on with the partition: what was noted no longer holds.
    pub async fn go_on(&self, partition: Partition) -> Result<(), HistoryError> {
        let sql = "DELETE FROM halts WHERE log_id = $1 AND epoch = $2 AND partition = $3";
        let query = async |connection: &mut PgConnection, log_id: i16| {
            let query = sqlx::query(sql).bind(log_id).bind(self.epoch()).bind(number(partition));
            query.execute(connection).await.map(drop)
        };
        self.once(query).await
    }

    /// Why the log's epoch is halted: nothing, if it is not.
    pub async fn halts(&self) -> Result<Vec<NotedHalt>, HistoryError> {
        let sql = "SELECT partition, why, found FROM halts WHERE log_id = $1 AND epoch = $2 \
                   ORDER BY partition";
        let query = async |connection: &mut PgConnection, log_id: i16| {
            let query = sqlx::query(sql).bind(log_id).bind(self.epoch());
            let rows = query.fetch_all(connection).await?;
            let noted = |row: &sqlx::postgres::PgRow| {
                let partition = Partition(row.try_get::<i32, _>(0)?.unsigned_abs());
                Ok(NotedHalt { partition, why: row.try_get(1)?, found: row.try_get(2)? })
            };
            rows.iter().map(noted).collect()
        };
        self.once(query).await
    }

    async fn once<T>(
        &self,
        query: impl AsyncFnOnce(&mut PgConnection, i16) -> Result<T, sqlx::Error>,
    ) -> Result<T, HistoryError> {
        let (mut lent, log_id) = self.lend_writer().await.map_err(unavailable)?;
        let until = lent.until;
        let answer = timeout_at(until, query(&mut lent, log_id)).await;
        lent.back(answer).map_err(unavailable)
    }

    fn epoch(&self) -> i32 {
        i32::try_from(self.log.epoch.0).unwrap_or(i32::MAX)
    }
}

fn number(partition: Partition) -> i32 {
    i32::try_from(partition.0).unwrap_or(i32::MAX)
}
