//! The configuration as a command gets it: a file and this process's environment.

use std::path::Path;

use meridian_core::config::{Config, ConfigError};

/// Reads a file (none: the defaults) and the environment over it.
pub(crate) fn load(file: Option<&Path>) -> Result<Config, ConfigError> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    Config::load(file, std::env::vars_os().map(|(name, value)| (text(name), text(value))))
}
