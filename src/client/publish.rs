//! `meridian pub`: publishes one event, or the lines of standard input in their order.

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use meridian_client::Publish;

use super::failure::{Failure, Stop};
use super::json::Object;
use super::options::{Connection, channel};
use super::payload::Payload;
use super::{Session, batches};

/// Publish an event, or one a line
///
/// Without a content type, what is JSON is published as JSON, other text as text, and all else as bytes.
/// Prints the position that the log gave. Sent again until there is an answer, always with the same id, so
/// that it is stored once.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Options {
    /// A channel such as demo:hello
    #[arg(value_name = "CHANNEL", value_parser = channel)]
    pub(super) channel: String,
    /// The data; `-`, or none: all of standard input
    #[arg(value_name = "DATA", allow_hyphen_values = true)]
    data: Option<String>,
    /// The data is in this file
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    file: Option<PathBuf>,
    /// Publish each line of standard input, in order
    #[arg(long, conflicts_with_all = ["data", "file"])]
    lines: bool,
    /// The event's id, 1 to 64 bytes; with --lines, what comes before `-` and the line's number
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    pub(super) id: Option<String>,
    /// The event's key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// What the event does
    #[arg(long, value_enum, default_value_t)]
    kind: Kind,
    /// A header; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = parse_header)]
    headers: Vec<(String, String)>,
    /// What the data is, such as text/plain
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    #[command(flatten)]
    pub(super) connection: Connection,
}

const HELP: &str = "\
Examples, in the folder where `meridian dev` runs:
  export MERIDIAN_TOKEN=$(meridian token --secret-file data/development.key --tenant demo --user me)
  meridian pub demo:hello '{\"text\":\"hi\"}'
  meridian pub demo:hello 'just text' --id greeting-1 --header lang=en
  echo '{\"n\":1}' | meridian pub demo:hello --json
  seq 1000 | meridian pub demo:hello --lines --id count
  meridian pub demo:hello --file data/development.key --content-type application/octet-stream

Exit codes: 0 all published, 1 not all, 2 arguments not valid.";

/// Of an id, beside `-` and a line's number.
const LONGEST_PREFIX: usize = 43;

/// What an event does, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Kind {
    #[default]
    Publish,
    /// Removes --key from a feed
    Remove,
}

/// What to publish.
pub(super) enum Source {
    One(Payload),
    Lines,
}

impl Options {
    /// Reads what is to be published; lines are read later.
    pub(super) fn source(&self) -> Result<Source, String> {
        if self.kind == Kind::Remove {
            return self.removal();
        }
        if self.lines {
            return match &self.id {
                Some(id) if id.len() > LONGEST_PREFIX => {
                    Err(format!("with --lines, an --id has at most {LONGEST_PREFIX} bytes"))
                }
                _ => Ok(Source::Lines),
            };
        }
        let content_type = self.content_type.as_deref();
        let payload = match (&self.file, self.data.as_deref()) {
            (Some(file), _) => {
                let data = std::fs::read(file);
                let data =
                    data.map_err(|error| format!("cannot read {}: {error}", file.display()))?;
                Payload::new(data, Some(content_type.unwrap_or("application/octet-stream")))
            }
            (None, None | Some("-")) => {
                if std::io::stdin().is_terminal() {
                    eprintln!("reading the data from the terminal, up to Ctrl-D");
                }
                let mut data = Vec::new();
                let read = std::io::stdin().lock().read_to_end(&mut data);
                read.map_err(|error| format!("cannot read the standard input: {error}"))?;
                Payload::piped(data, content_type)
            }
            (None, Some(data)) => Payload::new(data.as_bytes().to_vec(), content_type),
        };
        Ok(Source::One(payload.map_err(str::to_owned)?))
    }

    fn removal(&self) -> Result<Source, String> {
        if self.key.is_none() {
            return Err("--kind remove needs --key".to_owned());
        }
        if self.lines || self.file.is_some() || self.data.is_some() {
            return Err("--kind remove takes no data".to_owned());
        }
        Ok(Source::One(Payload { data: Bytes::new(), content_type: None }))
    }

    /// The event of a payload.
    pub(super) fn event(&self, payload: Payload, id: Option<String>) -> Publish {
        let channel = self.channel.as_str();
        let mut event = match (self.kind, &self.key) {
            (Kind::Remove, Some(key)) => Publish::remove(channel, key),
            _ => Publish::new(channel, payload.data, payload.content_type.as_deref()),
        };
        if let Some(key) = &self.key {
            event = event.key(key);
        }
        if let Some(id) = id {
            event = event.id(id);
        }
        self.headers.iter().fold(event, |event, (name, value)| event.header(name, value))
    }

    pub(super) fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// What each event carries beside its data, in bytes.
    pub(super) fn overhead(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        512 + self.channel.len() + self.key.as_ref().map_or(0, String::len) + headers
    }
}

/// Publishes and tells the positions.
pub(super) async fn run(
    options: &Options,
    source: Source,
    session: &mut Session,
) -> Result<(), Stop> {
    match source {
        Source::One(payload) => one(options, payload, session).await,
        Source::Lines => batches::run(options, session).await,
    }
}

async fn one(options: &Options, payload: Payload, session: &mut Session) -> Result<(), Stop> {
    let event = options.event(payload, options.id.clone());
    let id = event.event_id().to_owned();
    let published = tokio::select! {
        biased;
        published = session.client.publish(event) => published,
        // It was on its way.
        () = session.interrupt.asked() => Err(meridian_client::RequestError::OutcomeUnknown),
    };
    match published {
        Ok(receipt) => session.out.show(&Object::Published {
            channel: &options.channel,
            id: &id,
            cursor: receipt.cursor.as_deref(),
            line: None,
        }),
        Err(error) => {
            Err(Failure::publishing(&error).on(&options.channel).of_event(None, &id).into())
        }
    }
}

fn parse_id(text: &str) -> Result<String, String> {
    match text.len() {
        1..=64 => Ok(text.to_owned()),
        _ => Err("an id has 1 to 64 bytes".to_owned()),
    }
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("must be NAME=VALUE".to_owned()),
    }
}
