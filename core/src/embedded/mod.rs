//! The seams inside one process: a log and a history on SQLite, a backplane and a ledger in memory. Owns the data
//! folder: its lock, its files, and that they belong together.

mod acks;
mod backplane;
#[cfg(feature = "testing")]
pub mod faulty;
mod history;
mod ledger;
mod lock;
mod log;
mod queue;
mod sqlite;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

pub use self::acks::{SqliteAckReader, SqliteAcks};
pub use self::backplane::{BackplaneOptions, InProcessBackplane};
pub use self::history::{HistoryOptions, SqliteHistory, Swept};
pub use self::ledger::InProcessLedger;
pub use self::log::{Keep, LogOptions, SqliteLog, Trimmed};

use self::lock::FolderLock;
use crate::policy::Policies;
use crate::seams::{History, HistoryError, Log, LogError};
use crate::vocabulary::{Offset, Partition, Stream};

const LOG_FILE: &str = "log.sqlite";
const ACKS_FILE: &str = "acks.sqlite";
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
    /// All regions' in common, like the log.
    pub acks: Arc<SqliteAcks>,
    pub ledger: Arc<InProcessLedger>,
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
    Ok(open_regions(folder, NonZeroUsize::MIN, options).await?.remove(0))
}

/// The same for several regions of one log: each has a history and a backplane of its own. The
/// first one's history is the one that `open` opens; the others are in folders below.
pub async fn open_regions(
    folder: &Path,
    regions: NonZeroUsize,
    options: Options,
) -> Result<Vec<Embedded>, OpenError> {
    make(folder)?;
    let lock = Some(Arc::new(FolderLock::take(folder)?));
    let clock = options.clock;
    let log = folder.join(LOG_FILE);
    let log = SqliteLog::open_locked(&log, options.log, clock.clone(), lock.clone()).await?;
    let log = Arc::new(log);
    let (file, of) = (folder.join(ACKS_FILE), log.incarnation().log.clone());
    let acks = SqliteAcks::open_locked(&file, of, lock.clone()).await?;
    let mut opened = Vec::with_capacity(regions.get());
    for number in 1..=regions.get() {
        let folder = if number == 1 { folder.to_owned() } else { region_folder(folder, number) };
        make(&folder)?;
        let (file, lock) = (folder.join(HISTORY_FILE), lock.clone());
        let history =
            SqliteHistory::open_locked(&file, options.history, log.incarnation(), lock).await?;
        check_ends(&log, &history).await?;
        opened.push(Embedded {
            log: log.clone(),
            history: Arc::new(history),
            backplane: Arc::new(InProcessBackplane::new(options.backplane.clone())),
            acks: acks.clone(),
            ledger: Arc::default(),
            clock: clock.clone(),
        });
    }
    Ok(opened)
}

/// Retention in the regions' histories and their log, once through all, in small steps. A log's
/// record stays until every history has worked it off (and the last one worked off, since its
/// fingerprint is compared), and for D at least. Call it from one place.
pub async fn retain(
    regions: &[Embedded],
    policies: &Policies,
    keep: Keep,
) -> Result<(Swept, Trimmed), RetainError> {
    let mut swept = Swept::default();
    let mut trimmed = Trimmed { records: 0, more: true };
    let Some(first) = regions.first() else { return Ok((swept, trimmed)) };
    let mut floors: HashMap<Partition, Vec<Offset>> = HashMap::new();
    for region in regions {
        swept = region.sweep(policies, swept).await?;
        let checkpoints = region.history.checkpoints(&streams(&region.log)).await?;
        for (partition, checkpoint) in checkpoints {
            if checkpoint.position.passed > 0 {
                let offset = Offset(checkpoint.position.passed.unsigned_abs());
                floors.entry(partition).or_default().push(offset);
            }
        }
    }
    // A region that has nothing of a partition yet needs all of it.
    let all = |(partition, offsets): (Partition, Vec<Offset>)| {
        let lowest = offsets.iter().min().copied()?;
        (offsets.len() == regions.len()).then_some((partition, lowest))
    };
    let floors: Vec<(Partition, Offset)> = floors.into_iter().filter_map(all).collect();
    while trimmed.more {
        let step = first.log.retain(keep, floors.clone()).await?;
        trimmed = Trimmed { records: trimmed.records + step.records, ..step };
    }
    Ok((swept, trimmed))
}

impl Embedded {
    /// `retain` of one region alone.
    pub async fn retain(
        &self,
        policies: &Policies,
        keep: Keep,
    ) -> Result<(Swept, Trimmed), RetainError> {
        retain(std::slice::from_ref(self), policies, keep).await
    }

    async fn sweep(&self, policies: &Policies, before: Swept) -> Result<Swept, RetainError> {
        let mut swept = Swept { complete: false, ..before };
        while !swept.complete {
            let step = self.history.retain(policies, (self.clock)()).await?;
            swept.channels += step.channels;
            swept.events += step.events;
            swept.complete = step.complete;
        }
        Ok(swept)
    }

    /// Stores what is queued, ends the writers and gives the folder free. Later calls fail.
    pub async fn close(&self) {
        self.acks.close().await;
        self.log.close().await;
        self.history.close().await;
    }
}

fn make(folder: &Path) -> Result<(), OpenError> {
    std::fs::create_dir_all(folder)
        .map_err(|source| OpenError::Folder { path: folder.to_path_buf(), source })
}

/// `region-2` and so on.
fn region_folder(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("region-{number}"))
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
