//! One process a data folder: an exclusive lock on a file in it, held as long as any store of the
//! folder may write. The lock ends with the process, however it ends.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::OpenError;

const FILE: &str = "meridian.lock";

/// The held lock.
pub(super) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the lock at once or fails.
    pub(super) fn take(folder: &Path) -> Result<Self, OpenError> {
        let path = folder.join(FILE);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|source| OpenError::Folder { path: path.clone(), source })?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse { folder: folder.to_path_buf() }),
            Err(TryLockError::Error(source)) => Err(OpenError::Folder { path, source }),
        }
    }
}
