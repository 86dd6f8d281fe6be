//! The seams inside one process: a log and a history on SQLite, a backplane in memory. Owns the data
//! folder: its lock, its files, and that they belong together.

mod backplane;
#[cfg(feature = "testing")]
pub mod faulty;
mod history;
mod lock;
mod log;
mod queue;
mod sqlite;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

pub use self::backplane::{BackplaneOptions, InProcessBackplane};
pub use self::history::{HistoryOptions, SqliteHistory, Swept};
pub use self::log::{Keep, LogOptions, SqliteLog, Trimmed};

use self::lock::FolderLock;
use crate::policy::Policies;
use crate::seams::{History, HistoryError, Log, LogError};
use crate::vocabulary::{Offset, Partition, Stream};

const LOG_FILE: &str = "log.sqlite";
const HISTORY_FILE: &str = "history.sqlite";

/// Milliseconds since 1970. The log's append times come from it.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What to open in a data folder.
#[derive(Clone)]
pub struct Options {
    pub log: LogOptions,
    pub history: HistoryOptions,
    pub backplane: BackplaneOptions,
    pub clock: Clock,
}

/// The stores of one data folder, which belong together.
#[derive(Clone)]
pub struct Embedded {
    pub log: Arc<SqliteLog>,
    pub history: Arc<SqliteHistory>,
    pub backplane: Arc<InProcessBackplane>,
    clock: Clock,
}

/// Why a data folder could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{} can't be used", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("another process uses the data folder {}", folder.display())]
    InUse { folder: PathBuf },
    #[error("a log has between 1 and {most} partitions")]
    Partitions { most: u32 },
    #[error("the log's {what} is {stored} and can't become {asked}")]
    Fixed { what: &'static str, stored: String, asked: String },
    #[error("the history was made from another log than the one beside it")]
    OtherLog,
    #[error(
        "the history has worked off {checkpoint} in partition {partition}, but the log ends at {end}: it lost records"
    )]
    LogLostRecords { partition: u32, checkpoint: i64, end: u64 },
    #[error("a store's file holds what this version can't read")]
    Damaged,
    #[error("a store can't be opened")]
    Database(#[from] sqlx::Error),
    #[error("a store's schema can't be brought up to date")]
    Schema(#[from] sqlx::migrate::MigrateError),
    #[error("the history can't be read")]
    History(#[from] HistoryError),
}

/// Why a retention step failed.
#[derive(Debug, thiserror::Error)]
pub enum RetainError {
    #[error("the history's retention failed")]
    History(#[from] HistoryError),
    #[error("the log's retention failed")]
    Log(#[from] LogError),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            log: LogOptions::default(),
            history: HistoryOptions::default(),
            backplane: BackplaneOptions::default(),
            clock: system_clock(),
        }
    }
}

/// The operating system's clock.
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Opens the stores of a data folder, made if it is missing. The folder is locked for this process
/// until the stores are closed or dropped. Needs a tokio runtime, on which the writers run.
pub async fn open(folder: &Path, options: Options) -> Result<Embedded, OpenError> {
    std::fs::create_dir_all(folder)
        .map_err(|source| OpenError::Folder { path: folder.to_path_buf(), source })?;
    let lock = Some(Arc::new(FolderLock::take(folder)?));
    let clock = options.clock;
    let log = folder.join(LOG_FILE);
    let log = SqliteLog::open_locked(&log, options.log, clock.clone(), lock.clone()).await?;
    let history = folder.join(HISTORY_FILE);
    let history =
        SqliteHistory::open_locked(&history, options.history, log.incarnation(), lock).await?;
    check_ends(&log, &history).await?;
    Ok(Embedded {
        log: Arc::new(log),
        history: Arc::new(history),
        backplane: Arc::new(InProcessBackplane::new(options.backplane)),
        clock,
    })
}

impl Embedded {
    /// Retention in history and log, once through both, in small steps. A log's record stays until
    /// the history has worked it off (and the last one worked off, since its fingerprint is
    /// compared), and for D at least. Call it from one place.
    pub async fn retain(
        &self,
        policies: &Policies,
        keep: Keep,
    ) -> Result<(Swept, Trimmed), RetainError> {
        let mut swept = Swept::default();
        while !swept.complete {
            let step = self.history.retain(policies, (self.clock)()).await?;
            swept.channels += step.channels;
            swept.events += step.events;
            swept.complete = step.complete;
        }
        let checkpoints = self.history.checkpoints(&streams(&self.log)).await?;
        let floors: Vec<(Partition, Offset)> = checkpoints
            .into_iter()
            .filter(|(_, checkpoint)| checkpoint.position.passed > 0)
            .map(|(partition, checkpoint)| {
                (partition, Offset(checkpoint.position.passed.unsigned_abs()))
            })
            .collect();
        let mut trimmed = Trimmed { records: 0, more: true };
        while trimmed.more {
            let step = self.log.retain(keep, floors.clone()).await?;
            trimmed = Trimmed { records: trimmed.records + step.records, ..step };
        }
        Ok((swept, trimmed))
    }

    /// Stores what is queued, ends the writers and gives the folder free. Later calls fail.
    pub async fn close(&self) {
        self.log.close().await;
        self.history.close().await;
    }
}

/// A history that knows records that the log does not have means that the log lost them.
async fn check_ends(log: &SqliteLog, history: &SqliteHistory) -> Result<(), OpenError> {
    for (partition, checkpoint) in history.checkpoints(&streams(log)).await? {
        let end = log.known_end(partition);
        if checkpoint.position.next_offset() > end {
            return Err(OpenError::LogLostRecords {
                partition: partition.0,
                checkpoint: checkpoint.position.passed,
                end: end.0,
            });
        }
    }
    Ok(())
}

/// Every stream of the log's epoch.
fn streams(log: &SqliteLog) -> Vec<Stream> {
    let incarnation = log.incarnation();
    (0..incarnation.partitions)
        .map(|partition| Stream {
            log: incarnation.log.clone(),
            epoch: incarnation.epoch,
            partition: Partition(partition),
        })
        .collect()
}
