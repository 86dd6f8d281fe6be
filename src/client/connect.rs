//! Opening the connection, and telling what becomes of it.

use std::time::Duration;

use meridian_client::{Builder, Client, Limits, State, Transport};
use tokio::time::Instant;

use super::failure::{Failure, Stop};
use super::json::{Object, Phase};
use super::options::{Connection, TokenFrom, read_token};
use super::output::Output;

/// A person waits: the longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Connects within the time given for it; tells each attempt that failed.
pub(super) async fn open(
    options: &Connection,
    subscriber: Option<&str>,
    out: &mut Output,
) -> Result<(Client, Limits), Stop> {
    let client = builder(options, subscriber)?.start();
    let client = client.map_err(|error| Failure::connecting(&error))?;
    let deadline = Instant::now() + options.connect_timeout;
    let mut state = client.state();
    let mut cause = None;
    loop {
        let now = state.borrow_and_update().clone();
        match &now {
            State::Connected(session) => return Ok((client, session.connected.limits)),
            State::Closed(Some(lost)) => return Err(Failure::lost(lost).into()),
            State::Waiting { cause: lost, .. } => {
                tell(&now, out)?;
                out.flush()?;
                cause = Some(lost.clone());
            }
            State::Connecting | State::Closed(None) => {}
        }
        let changed = tokio::time::timeout_at(deadline, state.changed()).await;
        if !matches!(changed, Ok(Ok(()))) {
            let (address, within) = (options.address(), options.connect_timeout);
            return Err(Failure::unreachable(&address, within, cause.as_ref()).into());
        }
    }
}

/// Tells a state that people and scripts may want to know of.
pub(super) fn tell(state: &State, out: &mut Output) -> Result<(), Stop> {
    match state {
        State::Connected(session) => out.show(&Object::State(Phase::Connected {
            transport: transport_name(session.transport),
            node: &session.connected.node,
            region: &session.connected.region,
            session: &session.connected.session,
            reconnects: session.reconnects,
        })),
        State::Waiting { delay, cause } => {
            let failure = Failure::lost(cause);
            out.show(&Object::State(Phase::Waiting {
                delay_ms: delay.as_millis() as u64,
                code: failure.code(),
                message: failure.message(),
            }))
        }
        State::Connecting | State::Closed(_) => Ok(()),
    }
}

fn builder(options: &Connection, subscriber: Option<&str>) -> Result<Builder, Stop> {
    let builder = Client::builder(options.address())
        .regions(&options.regions)
        .trust(options.trust()?)
        .transport(options.transport.into())
        .request_timeout(options.timeout)
        .reconnect_delay(Duration::from_millis(250), LONGEST_PAUSE);
    let builder = match subscriber {
        Some(name) => builder.subscriber(name),
        None => builder,
    };
    Ok(match options.token()? {
        TokenFrom::Text(token) => builder.token(token),
        TokenFrom::File(file) => builder.token_source(move || {
            let token = read_token(&file);
            async move { token }
        }),
        TokenFrom::Nowhere => builder,
    })
}

fn transport_name(transport: Transport) -> &'static str {
    match transport {
        Transport::WebTransport => "webtransport",
        Transport::WebSocket => "websocket",
    }
}
