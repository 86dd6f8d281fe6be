//! Rows from one connection straight into another, in the server's own binary form. Holds no more
//! than a chunk of them, whatever the table's size.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::postgres::PgConnection;
use tokio::time::timeout;

use super::progress::Progress;
use super::{SeedError, reading};

/// Rows are gathered to so many bytes: one message and one system call for many.
const CHUNK: usize = 256 << 10;
/// Without a byte going over for so long one of the two is given up.
const STALL: Duration = Duration::from_secs(60);

/// Copies what a query finds into a table's columns. Answers how many rows.
pub(super) async fn rows(
    source: &mut PgConnection,
    target: &mut PgConnection,
    select: &str,
    into: &str,
    progress: &mut Progress,
) -> Result<u64, SeedError> {
    let out = format!("COPY ({select}) TO STDOUT (FORMAT binary)");
    let mut rows = source.copy_out_raw(&out).await.map_err(reading)?;
    let into = format!("COPY {into} FROM STDIN (FORMAT binary)");
    let mut writer = target.copy_in_raw(&into).await.map_err(SeedError::Writing)?;
    let mut chunk = Vec::with_capacity(2 * CHUNK);
    loop {
        let row = in_time("the other region's", rows.try_next()).await?.map_err(reading)?;
        if let Some(row) = &row {
            chunk.extend_from_slice(row);
        }
        if chunk.len() >= CHUNK || row.is_none() {
            let sent = in_time("the new region's", writer.send(&*chunk)).await?;
            sent.map_err(SeedError::Writing)?;
            progress.moved(chunk.len());
            chunk.clear();
        }
        if row.is_none() {
            break;
        }
    }
    // Its indexes may take a while; the server gives up by itself if anything is wrong.
    writer.finish().await.map_err(SeedError::Writing)
}

async fn in_time<T>(whose: &'static str, work: impl Future<Output = T>) -> Result<T, SeedError> {
    let stalled = |_| SeedError::Stalled { whose, seconds: STALL.as_secs() };
    timeout(STALL, work).await.map_err(stalled)
}
