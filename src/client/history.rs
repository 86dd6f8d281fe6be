//! `meridian history` and `meridian latest`: events that were, from the gateway's history.

use std::collections::BTreeMap;

use clap::{ArgGroup, Args};
use meridian_client::{Epoch, HistoryPage, Position};
use meridian_core::vocabulary::Cursor;

use super::Session;
use super::failure::{Failure, Stop};
use super::json::{Object, Reason, Shown, placed};
use super::options::{Connection, channel};

/// A page of the protocol at most.
const PAGE: u32 = 1000;
/// What fits on a screen or two.
const DEFAULT: u32 = 100;

/// Print a channel's history, oldest first
///
/// For people: time, channel, cursor, id, key and data of each event. Says what is gone, and ends with the
/// cursor to go on from.
#[derive(Debug, Args)]
#[command(after_help = HELP, group(ArgGroup::new("from")))]
pub(crate) struct Options {
    /// The channel
    #[arg(value_name = "CHANNEL", value_parser = channel)]
    channel: String,
    /// What came after this cursor
    #[arg(long, value_name = "CURSOR", group = "from")]
    after: Option<String>,
    /// The newest N events [default: 100, unless --after or --all]
    #[arg(long, value_name = "N", group = "from", value_parser = clap::value_parser!(u32).range(1..=1000))]
    last: Option<u32>,
    /// With --after, at most N events [default: 100]
    #[arg(long, value_name = "N", requires = "after", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// All events up to the newest; without --after, from the oldest that is kept
    #[arg(long, conflicts_with_all = ["last", "limit"])]
    all: bool,
    #[command(flatten)]
    pub(super) connection: Connection,
}

/// Print a channel's newest event
///
/// For people: time, channel, cursor, id, key and data. Prints no event where there is none.
#[derive(Debug, Args)]
#[command(after_help = LATEST_HELP)]
pub(crate) struct LatestOptions {
    /// The channel
    #[arg(value_name = "CHANNEL", value_parser = channel)]
    channel: String,
    #[command(flatten)]
    pub(super) connection: Connection,
}

const HELP: &str = "\
Examples, in the folder where `meridian dev` runs:
  export MERIDIAN_TOKEN=$(meridian token --secret-file data/development.key --tenant demo --user me)
  meridian history demo:hello
  meridian history demo:hello --last 10 --json
  meridian history demo:hello --all

Exit codes: 0 done, 1 refused or failed, 2 arguments not valid.";

const LATEST_HELP: &str = "\
Examples, in the folder where `meridian dev` runs:
  export MERIDIAN_TOKEN=$(meridian token --secret-file data/development.key --tenant demo --user me)
  meridian latest demo:hello
  meridian latest demo:hello --json

Exit codes: 0 done, 1 refused or failed, 2 arguments not valid.";

/// Prints what was asked for.
pub(super) async fn run(options: &Options, session: &mut Session) -> Result<(), Stop> {
    let mut reading = Reading::new(&options.channel);
    let ended = match (&options.after, options.all) {
        (Some(after), all) => {
            let most = if all { None } else { Some(options.limit.unwrap_or(DEFAULT)) };
            reading.after(after.clone(), most, session).await
        }
        (None, true) => reading.everything(session).await,
        (None, false) => reading.newest(options.last.unwrap_or(DEFAULT), session).await,
    };
    reading.end(ended, session)
}

/// Prints the newest event.
pub(super) async fn latest(options: &LatestOptions, session: &mut Session) -> Result<(), Stop> {
    let mut reading = Reading::new(&options.channel);
    let ended = reading.newest(1, session).await;
    reading.end(ended, session)
}

/// How far a command is.
struct Reading<'a> {
    channel: &'a str,
    /// Behind what was printed.
    cursor: Option<String>,
    events: u64,
}

impl<'a> Reading<'a> {
    fn new(channel: &'a str) -> Self {
        Self { channel, cursor: None, events: 0 }
    }

    async fn newest(&mut self, count: u32, session: &mut Session) -> Result<(), Stop> {
        let page = self.newest_page(count, session).await?;
        let left = count.saturating_sub(page.events.len() as u32);
        let behind = self.print(page, session)?;
        if left == 0 { Ok(()) } else { self.after(behind, Some(left), session).await }
    }

    /// From the beginning of the first epoch on.
    async fn everything(&mut self, session: &mut Session) -> Result<(), Stop> {
        let page = self.newest_page(1, session).await?;
        let beginning = cursor(&page.stream, Position::start_of(Epoch(1)));
        self.after(beginning, None, session).await
    }

    async fn after(
        &mut self,
        after: String,
        most: Option<u32>,
        session: &mut Session,
    ) -> Result<(), Stop> {
        let mut left = most;
        let mut after = after;
        loop {
            let limit = left.map_or(PAGE, |left| left.min(PAGE));
            let page = async {
                let page = session.client.history(self.channel, &after, limit).await;
                page.map_err(|error| Failure::request(&error).on(self.channel).into())
            };
            let page = session.interrupt.stops(page).await?;
            self.cursor = Some(after);
            let taken = page.events.len() as u32;
            // `more` is the word of the one store that answered; the next may be further.
            let is_end = taken == 0 && page.gone.is_none() && !page.more;
            after = self.print(page, session)?;
            left = left.map(|left| left.saturating_sub(taken));
            if is_end || left == Some(0) {
                return Ok(());
            }
        }
    }

    async fn newest_page(&self, count: u32, session: &Session) -> Result<HistoryPage, Stop> {
        let page = async {
            let page = session.client.newest(self.channel, count).await;
            page.map_err(|error| Failure::request(&error).on(self.channel).into())
        };
        session.interrupt.stops(page).await
    }

    /// Prints a page; the cursor behind it.
    fn print(&mut self, page: HistoryPage, session: &mut Session) -> Result<String, Stop> {
        if let Some((reason, through)) = &page.gone {
            session.out.show(&Object::Gap {
                channel: self.channel,
                reason,
                from: self.cursor.as_deref(),
                cursor: &cursor(&page.stream, *through),
            })?;
        }
        for view in page.events {
            let event = placed(&page.stream, page.position.epoch, view);
            session.out.show(&Object::Event(Box::new(Shown::live(self.channel, &event))))?;
            self.events += 1;
        }
        let behind = cursor(&page.stream, page.position);
        self.cursor = Some(behind.clone());
        session.out.flush()?;
        Ok(behind)
    }

    /// Tells from where to go on.
    fn end(self, ended: Result<(), Stop>, session: &mut Session) -> Result<(), Stop> {
        let reason = match &ended {
            Ok(()) => Reason::Done,
            Err(Stop::Interrupted) => Reason::Interrupted,
            Err(Stop::Failed(_)) if self.cursor.is_some() => Reason::Failed,
            Err(_) => return ended,
        };
        let cursors = self.cursor.map(|cursor| (self.channel.to_owned(), cursor));
        let cursors: BTreeMap<String, String> = cursors.into_iter().collect();
        session.out.show(&Object::End { reason, events: self.events, cursors: &cursors })?;
        ended
    }
}

/// A position's cursor in the log and partition of a stream, in whatever epoch.
fn cursor(stream: &str, position: Position) -> String {
    match Cursor::parse(&format!("{stream}.{}", position.passed)) {
        Ok(cursor) => Cursor { position, ..cursor }.to_string(),
        // A form that only a later version knows; its streams name their epoch as well.
        Err(_) => format!("{stream}.{}", position.passed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_of_another_epoch_has_its_own_cursor() {
        let at = |epoch, passed| Position { epoch: Epoch(epoch), passed };
        assert_eq!(cursor("1.global.2.3", at(2, 7)), "1.global.2.3.7");
        assert_eq!(cursor("1.global.2.3", at(1, -1)), "1.global.1.3.-1");
    }
}
