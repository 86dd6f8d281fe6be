//! `meridian sub`, `pub`, `history` and `latest`: the client library for people and for scripts. Owns what
//! the four share: how they connect, end and exit. Serves nobody.
//!
//! Exit codes: 0 the end that was asked for, 1 refused or failed, 2 arguments not valid.

mod acks;
mod advice;
mod batches;
mod connect;
mod failure;
mod history;
mod interrupt;
mod json;
mod line;
mod lines;
mod options;
mod output;
mod payload;
mod publish;
mod sub;

use std::process::ExitCode;
use std::time::Duration;

use meridian_client::Client;

use failure::{Failure, Stop};
use interrupt::Interrupt;
use options::Connection;
use output::Output;

pub(crate) use history::{LatestOptions, Options as HistoryOptions};
pub(crate) use publish::Options as PublishOptions;
pub(crate) use sub::Options as SubOptions;

/// Saying goodbye is a courtesy.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a command works with.
struct Session {
    client: Client,
    /// What the server bounds, as told on the first connection.
    limits: meridian_client::Limits,
    out: Output,
    interrupt: Interrupt,
    timeout: Duration,
}

pub(crate) fn sub(options: &SubOptions) -> ExitCode {
    match options.starts() {
        Ok(starts) => run(&options.connection, options.subscriber(), async |session| {
            sub::run(options, starts, session).await
        }),
        Err(text) => usage(options.connection.json, text),
    }
}

pub(crate) fn publish(options: &PublishOptions) -> ExitCode {
    match options.source() {
        Ok(source) => run(&options.connection, None, async |session| {
            publish::run(options, source, session).await
        }),
        Err(text) => usage(options.connection.json, text),
    }
}

pub(crate) fn history(options: &HistoryOptions) -> ExitCode {
    run(&options.connection, None, async |session| history::run(options, session).await)
}

pub(crate) fn latest(options: &LatestOptions) -> ExitCode {
    run(&options.connection, None, async |session| history::latest(options, session).await)
}

fn usage(json: bool, text: String) -> ExitCode {
    exit(Err(Stop::Usage(text)), &mut Output::standard(json))
}

/// Connects, works and leaves in order.
fn run(
    connection: &Connection,
    subscriber: Option<&str>,
    work: impl AsyncFnOnce(&mut Session) -> Result<(), Stop>,
) -> ExitCode {
    let mut out = Output::standard(connection.json);
    let runtime = match crate::process::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return exit(Err(Failure::local(format!("{error:#}")).into()), &mut out),
    };
    runtime.block_on(async {
        let interrupt = match Interrupt::listen() {
            Ok(interrupt) => interrupt,
            Err(error) => return exit(Err(Failure::local(format!("{error:#}")).into()), &mut out),
        };
        let opened = match interrupt.stops(connect::open(connection, subscriber, &mut out)).await {
            Ok(opened) => opened,
            Err(stop) => return exit(Err(stop), &mut out),
        };
        let (client, limits) = opened;
        let timeout = connection.timeout;
        let mut session = Session { client, limits, out, interrupt, timeout };
        let ended = work(&mut session).await;
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, session.client.close()).await;
        exit(ended, &mut session.out)
    })
}

fn exit(ended: Result<(), Stop>, out: &mut Output) -> ExitCode {
    let ended = ended.and_then(|()| out.flush());
    match ended {
        // Who closes the pipe has what they wanted.
        Ok(()) | Err(Stop::Closed | Stop::Interrupted) => ExitCode::SUCCESS,
        Err(Stop::Told) => ExitCode::FAILURE,
        Err(Stop::Failed(failure)) => {
            let _ = out.show(&failure.object()).and_then(|()| out.flush());
            ExitCode::FAILURE
        }
        Err(Stop::Usage(text)) => {
            let _ = out.show(&Failure::usage(text).object()).and_then(|()| out.flush());
            ExitCode::from(2)
        }
    }
}
