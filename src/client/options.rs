//! What the four commands share as options: where the gateway is, whom to trust, and the form of the output.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use meridian_client::{CertificateHash, Choice, Transport, Trust};
use meridian_core::vocabulary::Channel;

use super::failure::{Failure, Stop};
use crate::span;
use crate::token::Secret;

const URL_VARIABLE: &str = "MERIDIAN_URL";
const TOKEN_VARIABLE: &str = "MERIDIAN_TOKEN";
/// Where `meridian dev` listens.
const DEFAULT_URL: &str = "http://127.0.0.1:8440";

/// How to reach the gateway.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct Connection {
    /// The gateway's address [env: MERIDIAN_URL] [default: http://127.0.0.1:8440]
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<String>,
    /// Another region's address, to go to when the first fails; may be repeated
    #[arg(long = "region", value_name = "URL")]
    pub(super) regions: Vec<String>,
    /// A token [env: MERIDIAN_TOKEN]; others on this machine can see it, so prefer --token-file
    #[arg(long, value_name = "TOKEN", conflicts_with = "token_file")]
    token: Option<Secret>,
    /// A file with a token, read again when the token ends
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// How to connect
    #[arg(long, value_enum, default_value_t)]
    pub(super) transport: Via,
    /// Trust exactly this certificate (SHA-256 in hexadecimal); may be repeated
    ///
    /// Also makes WebTransport possible beside plain HTTP. `meridian dev` prints its own.
    #[arg(long = "certificate-hash", value_name = "HASH")]
    pub(super) certificate_hashes: Vec<CertificateHash>,
    /// A file with the authorities to trust instead of the system's, in PEM
    #[arg(long, value_name = "FILE", conflicts_with = "certificate_hashes")]
    ca: Option<PathBuf>,
    /// How long to try to connect
    #[arg(long, value_name = "SPAN", default_value = "10s", value_parser = span::parse)]
    pub(super) connect_timeout: Duration,
    /// How long to try each command to the gateway, over all attempts
    #[arg(long, value_name = "SPAN", default_value = "30s", value_parser = span::parse)]
    pub(super) timeout: Duration,
    /// Print one JSON object a line (docs/cli.md has their fields)
    #[arg(long, help_heading = "Output")]
    pub(super) json: bool,
}

/// Transports by their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Via {
    /// WebTransport where it can work, else WebSocket
    #[default]
    Auto,
    #[value(name = "webtransport")]
    WebTransport,
    #[value(name = "websocket")]
    WebSocket,
}

/// Where the token comes from.
pub(super) enum TokenFrom {
    Text(String),
    File(PathBuf),
    Nowhere,
}

impl Connection {
    pub(super) fn address(&self) -> String {
        self.url
            .clone()
            .or_else(|| variable(URL_VARIABLE))
            .unwrap_or_else(|| DEFAULT_URL.to_owned())
    }

    /// The token's source; a file must be there.
    pub(super) fn token(&self) -> Result<TokenFrom, Stop> {
        if let Some(Secret(token)) = &self.token {
            return Ok(TokenFrom::Text(token.clone()));
        }
        if let Some(file) = &self.token_file {
            read_token(file).map_err(|error| unreadable(file, &error))?;
            return Ok(TokenFrom::File(file.clone()));
        }
        Ok(variable(TOKEN_VARIABLE).map_or(TokenFrom::Nowhere, TokenFrom::Text))
    }

    /// Whose certificates are accepted.
    pub(super) fn trust(&self) -> Result<Trust, Stop> {
        if let Some(file) = &self.ca {
            let pem = std::fs::read(file).map_err(|error| unreadable(file, &error))?;
            return Trust::from_pem(&pem)
                .map_err(|error| Stop::Usage(format!("--ca {}: {error}", file.display())));
        }
        if self.certificate_hashes.is_empty() {
            return Ok(Trust::System);
        }
        Ok(Trust::Hashes(self.certificate_hashes.clone()))
    }
}

impl From<Via> for Choice {
    fn from(via: Via) -> Self {
        match via {
            Via::Auto => Choice::Auto,
            Via::WebTransport => Choice::Only(Transport::WebTransport),
            Via::WebSocket => Choice::Only(Transport::WebSocket),
        }
    }
}

/// The token in a file.
pub(super) fn read_token(file: &Path) -> std::io::Result<String> {
    Ok(std::fs::read_to_string(file)?.trim().to_owned())
}

/// A channel as an argument.
pub(super) fn channel(text: &str) -> Result<String, String> {
    match Channel::parse(text) {
        Ok(channel) => Ok(channel.as_str().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

fn unreadable(file: &Path, error: &std::io::Error) -> Stop {
    Failure::local(format!("cannot read {}: {error}", file.display())).into()
}
