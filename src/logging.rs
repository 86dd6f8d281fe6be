//! Where log lines go and how they look. Owns the process's one subscriber.

use std::io::IsTerminal as _;

use anyhow::{Context, Result};
use meridian_core::config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;

/// Starts logging to standard error. Once a process.
pub(crate) fn start(log: &Log) -> Result<()> {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter(&log.filter)?)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!(error)).context("cannot start logging")
}

/// Checks a filter.
pub(crate) fn filter(text: &str) -> Result<EnvFilter> {
    EnvFilter::builder().parse(text).with_context(|| {
        format!("log.filter: `{text}` is no filter such as `info,meridian_edge=debug`")
    })
}
