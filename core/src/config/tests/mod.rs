//! Every key, every fault, the environment, and what must never be shown.

mod bridge;
mod environment;
mod faults;
mod keys;
mod secrets;
mod stores;

use std::path::Path;

use super::{Config, ConfigError};

const SECRET: &str = "a secret of thirty-two bytes, ok";

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new(""), [])
}

fn parse_with(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let owned = environment.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    Config::parse(text, Path::new(""), owned)
}

/// The keys that are at fault, in order, each with its message.
fn faults(text: &str) -> Vec<(String, String)> {
    listed(parse(text))
}

fn listed(result: Result<Config, ConfigError>) -> Vec<(String, String)> {
    let faults = result.err().map_or_else(Vec::new, |error| error.faults);
    faults.into_iter().map(|fault| (fault.key, fault.message)).collect()
}

/// The one fault of a text.
fn fault(text: &str) -> (String, String) {
    let mut faults = faults(text);
    assert_eq!(faults.len(), 1, "{text}: {faults:?}");
    faults.remove(0)
}
