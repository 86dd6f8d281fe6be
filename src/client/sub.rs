//! `meridian sub`: follows channels and prints what comes.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use clap::Args;
use futures_util::stream::{SelectAll, Stream, unfold};
use futures_util::{FutureExt as _, StreamExt as _};
use meridian_client::{From as Start, State, Subscription, Update};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::acks::Acks;
use super::failure::{Failure, Stop};
use super::json::{Object, Reason, Shown};
use super::options::{Connection, channel};
use super::{Session, connect};
use crate::span;

/// So many updates are printed before anything else is looked at.
const BURST: usize = 256;
/// `last:N` of the protocol.
const MOST_LAST: u32 = 1000;

/// Follow channels and print their events
///
/// For people: time, channel, cursor, id, key and data of each event; everything else goes to standard
/// error. Goes on after a drop where it was, without a repeat. Ends with the cursors to go on from.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Options {
    /// Channels such as demo:hello
    #[arg(required = true, value_name = "CHANNEL", value_parser = channel)]
    channels: Vec<String>,
    /// Where to begin: now, a cursor, last:N or acked
    ///
    /// For one of several channels: CHANNEL=START, which may be repeated.
    #[arg(long, value_name = "START", default_value = "now", value_parser = parse_from)]
    from: Vec<From>,
    /// The name under which acknowledged positions are kept
    #[arg(long, value_name = "NAME")]
    subscriber: Option<String>,
    /// Acknowledge what was printed
    #[arg(long, requires = "subscriber")]
    ack: bool,
    /// End after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time, such as 30s
    #[arg(long = "for", value_name = "SPAN", value_parser = span::parse)]
    within: Option<Duration>,
    #[command(flatten)]
    pub(super) connection: Connection,
}

const HELP: &str = "\
Examples, in the folder where `meridian dev` runs:
  export MERIDIAN_TOKEN=$(meridian token --secret-file data/development.key --tenant demo --user me)
  meridian sub demo:hello --for 2s
  meridian sub demo:hello demo:news --from last:10 --json --for 2s
  meridian sub demo:hello --subscriber kiosk --from acked --ack --for 2s

Exit codes: 0 ended as asked (--count, --for, a signal), 1 refused or failed, 2 arguments not valid.";

/// Where to begin, on one channel or on all.
#[derive(Debug, Clone, PartialEq, Eq)]
struct From {
    channel: Option<String>,
    start: Start,
}

/// What a subscription yields, with its channel.
type Updates = SelectAll<Pin<Box<dyn Stream<Item = (String, Update)> + Send>>>;

impl Options {
    pub(super) fn subscriber(&self) -> Option<&str> {
        self.subscriber.as_deref()
    }

    /// Each channel with its beginning.
    pub(super) fn starts(&self) -> Result<Vec<(String, Start)>, String> {
        let mut starts: BTreeMap<&str, Start> = BTreeMap::new();
        let of_all = self.from.iter().filter(|from| from.channel.is_none());
        let of_all: Vec<&Start> = of_all.map(|from| &from.start).collect();
        let general = match of_all[..] {
            [] => Start::Now,
            [Start::Cursor(_)] if self.channels.len() > 1 => {
                return Err(
                    "a cursor is one channel's: give it as --from CHANNEL=CURSOR".to_owned()
                );
            }
            [one] => one.clone(),
            _ => {
                return Err(
                    "--from is there twice: name the channels, --from CHANNEL=START".to_owned()
                );
            }
        };
        for from in &self.from {
            let Some(channel) = &from.channel else { continue };
            if !self.channels.contains(channel) {
                return Err(format!(
                    "--from {channel}=…: the channel is not among those to follow"
                ));
            }
            if starts.insert(channel, from.start.clone()).is_some() {
                return Err(format!("--from {channel}=… is there twice"));
            }
        }
        let mut all = Vec::new();
        for channel in &self.channels {
            if all.iter().any(|(known, _)| known == channel) {
                return Err(format!("{channel} is there twice"));
            }
            let start = starts.remove(channel.as_str()).unwrap_or_else(|| general.clone());
            if start == Start::Acked && self.subscriber.is_none() {
                return Err("--from acked needs --subscriber".to_owned());
            }
            all.push((channel.clone(), start));
        }
        Ok(all)
    }
}

/// Follows until the end that was asked for.
pub(super) async fn run(
    options: &Options,
    starts: Vec<(String, Start)>,
    session: &mut Session,
) -> Result<(), Stop> {
    let mut reading = Reading {
        state: session.client.state(),
        updates: Updates::new(),
        cursors: BTreeMap::new(),
        events: 0,
        most: options.count,
        until: options.within.map(|within| Instant::now() + within),
        acks: options.ack.then(|| Acks::new(session.client.clone())),
    };
    let ended = match reading.begin(starts, session).await {
        Ok(()) => reading.follow(session).await,
        Err(stop) => Err(stop),
    };
    reading.end(ended, session).await
}

/// How far a command is.
struct Reading {
    state: watch::Receiver<State>,
    updates: Updates,
    /// Behind what was printed.
    cursors: BTreeMap<String, String>,
    events: u64,
    most: Option<u64>,
    until: Option<Instant>,
    acks: Option<Acks>,
}

impl Reading {
    /// Subscribes to all.
    async fn begin(
        &mut self,
        starts: Vec<(String, Start)>,
        session: &mut Session,
    ) -> Result<(), Stop> {
        connect::tell(&self.state.borrow_and_update().clone(), &mut session.out)?;
        for (channel, start) in starts {
            let subscribing = async {
                let asked = session.client.subscribe(&channel, start);
                match tokio::time::timeout(session.timeout, asked).await {
                    Ok(Ok(subscription)) => Ok(subscription),
                    Ok(Err(error)) => Err(Failure::subscribing(&error).on(&channel).into()),
                    Err(_) => Err(Failure::no_answer().on(&channel).into()),
                }
            };
            let subscription = session.interrupt.stops(subscribing).await?;
            session.out.show(&Object::Subscribed {
                channel: &channel,
                class: subscription.class(),
                cursor: subscription.cursor(),
                behind: subscription.behind(),
            })?;
            if let Some(cursor) = subscription.cursor() {
                self.cursors.insert(channel, cursor.to_owned());
            }
            self.updates.push(Box::pin(updates(subscription)));
        }
        Ok(())
    }

    async fn follow(&mut self, session: &mut Session) -> Result<Reason, Stop> {
        loop {
            for _ in 0..BURST {
                let Some(next) = self.updates.next().now_or_never() else { break };
                if let Some(reason) = self.take(next, session)? {
                    return Ok(reason);
                }
            }
            session.out.flush()?;
            tokio::select! {
                biased;
                () = session.interrupt.asked() => return Ok(Reason::Interrupted),
                () = sleep(self.until) => return Ok(Reason::Time),
                Ok(()) = self.state.changed() => {
                    let state = self.state.borrow_and_update().clone();
                    connect::tell(&state, &mut session.out)?;
                }
                worked = step(&mut self.acks) => worked?,
                next = self.updates.next() => {
                    if let Some(reason) = self.take(next, session)? {
                        return Ok(reason);
                    }
                }
            }
        }
    }

    /// Prints an update; the end, if this was the last that was asked for.
    fn take(
        &mut self,
        next: Option<(String, Update)>,
        session: &mut Session,
    ) -> Result<Option<Reason>, Stop> {
        let Some((channel, update)) = next else { return Err(self.closed().into()) };
        let cursor = match &update {
            Update::Event(event) => {
                session.out.show(&Object::Event(Box::new(Shown::live(&channel, event))))?;
                self.events += 1;
                event.cursor()
            }
            Update::Gap(gap) => {
                session.out.show(&Object::Gap {
                    channel: &channel,
                    reason: &gap.reason,
                    from: Some(&gap.from),
                    cursor: &gap.cursor,
                })?;
                Some(gap.cursor.clone())
            }
            Update::Skipped(count) => {
                session.out.show(&Object::Skipped { channel: &channel, count: *count })?;
                None
            }
            Update::Ended(refusal) => return Err(Failure::refused(refusal).on(&channel).into()),
        };
        if let Some(cursor) = cursor {
            if let Some(acks) = &mut self.acks {
                acks.printed(&channel, &cursor);
            }
            self.cursors.insert(channel, cursor);
        }
        Ok((self.most == Some(self.events)).then_some(Reason::Done))
    }

    /// Why no subscription is left.
    fn closed(&self) -> Failure {
        match &*self.state.borrow() {
            State::Closed(Some(lost)) => Failure::lost(lost),
            _ => Failure::no_answer(),
        }
    }

    /// Acknowledges the rest, and tells from where to go on.
    async fn end(
        &mut self,
        ended: Result<Reason, Stop>,
        session: &mut Session,
    ) -> Result<(), Stop> {
        session.out.flush()?;
        let (reason, mut failed) = match ended {
            Ok(reason) => (reason, Ok(())),
            Err(Stop::Interrupted) => (Reason::Interrupted, Ok(())),
            Err(stop @ Stop::Failed(_)) => (Reason::Failed, Err(stop)),
            Err(stop) => return Err(stop),
        };
        if let (Some(acks), Ok(())) = (&mut self.acks, &failed) {
            failed = acks.finish().await;
        }
        let reason = if failed.is_err() { Reason::Failed } else { reason };
        if reason != Reason::Failed || !self.cursors.is_empty() {
            let (events, cursors) = (self.events, &self.cursors);
            session.out.show(&Object::End { reason, events, cursors })?;
        }
        failed
    }
}

fn updates(subscription: Subscription) -> impl Stream<Item = (String, Update)> + Send {
    unfold(subscription, |mut subscription| async {
        let update = subscription.next().await?;
        Some(((subscription.channel().to_owned(), update), subscription))
    })
}

async fn sleep(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

async fn step(acks: &mut Option<Acks>) -> Result<(), Stop> {
    match acks {
        Some(acks) => acks.step().await,
        None => std::future::pending().await,
    }
}

fn parse_from(text: &str) -> Result<From, String> {
    // A channel's name may hold `=`, the text of a beginning never does.
    let (of, start) = match text.rsplit_once('=') {
        Some((of, start)) => (Some(channel(of)?), start),
        None => (None, text),
    };
    Ok(From { channel: of, start: parse_start(start)? })
}

fn parse_start(text: &str) -> Result<Start, String> {
    let refuse = || "must be now, acked, last:N or a cursor such as 1.global.1.3.8340".to_owned();
    match text {
        "now" => Ok(Start::Now),
        "acked" => Ok(Start::Acked),
        _ => match text.strip_prefix("last:") {
            Some(count) => match count.parse() {
                Ok(count) if (1..=MOST_LAST).contains(&count) => Ok(Start::Last(count)),
                _ => Err(format!("last:N takes 1 to {MOST_LAST}")),
            },
            // What else it says is for the gateway to judge.
            None if text.starts_with(|c: char| c.is_ascii_digit()) => {
                Ok(Start::Cursor(text.to_owned()))
            }
            None => Err(refuse()),
        },
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    fn starts(arguments: &str) -> Result<Vec<(String, Start)>, String> {
        let arguments = std::iter::once("sub").chain(arguments.split(' '));
        Cli::try_parse_from(arguments).map_err(|error| error.to_string())?.options.starts()
    }

    #[test]
    fn each_channel_has_its_beginning() {
        let of = |channel: &str, start| (channel.to_owned(), start);
        assert_eq!(starts("a:b"), Ok(vec![of("a:b", Start::Now)]));
        assert_eq!(
            starts("a:b c:d=e --from last:5 --from c:d=e=1.global.1.3.7"),
            Ok(vec![
                of("a:b", Start::Last(5)),
                of("c:d=e", Start::Cursor("1.global.1.3.7".into()))
            ])
        );
        for bad in [
            "a:b a:b",
            "nonsense",
            "a:b --from yesterday",
            "a:b --from last:0",
            "a:b --from last:1001",
            "a:b --from acked",
            "a:b --ack",
            "a:b c:d --from 1.global.1.3.7",
            "a:b --from now --from acked",
            "a:b --from c:d=now",
            "a:b --from a:b=now --from a:b=now",
            "a:b --count 0",
        ] {
            assert!(starts(bad).is_err(), "{bad}");
        }
    }
}
