//! What the operating system allows a process.

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit on open files to the hard one.
pub(crate) fn raise_open_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).context("raising the limit on open files")
}

/// Fails early and clearly where so many connections cannot be held.
pub(crate) fn check_open_files(connections: usize) -> Result<()> {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let needed = connections as u64 + 100;
    ensure!(
        limit >= needed,
        "{needed} open files are needed and {limit} allowed: raise `ulimit -Hn`"
    );
    Ok(())
}
