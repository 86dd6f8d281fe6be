//! What a client decides: when to dial, what to send, what an answer means. No I/O, no clock: inputs
//! go in with the time, outputs come out, and `driver` carries them out. Answers go straight into
//! the queues and one-shot channels that wait for them.

mod backoff;
mod chain;
mod liveness;
mod machine;
mod regions;
mod requests;
mod subscription;
mod subscriptions;
mod tokens;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use meridian_core::protocol::{Code, Command, CommandFrame, Connected, Message, ModePush};
use tokio::sync::oneshot;

use crate::error::{Lost, RequestError, SubscribeError};
use crate::mailbox::Mailbox;
use crate::transport::{Address, Choice, Dialed, Transport};
use crate::update::Start;

pub(crate) use backoff::Backoff;
pub(crate) use machine::Machine;
pub(crate) use regions::{Health, PROBE_TIMEOUT, Policy};
pub use regions::{Moves, Reason, Region};

/// What a machine keeps to.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) regions: Policy,
    pub(crate) subscriber: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) has_token_source: bool,
    pub(crate) transports: Choice,
    /// Why WebTransport is out of the question, where it is.
    pub(crate) no_webtransport: Option<&'static str>,
    /// Between connections.
    pub(crate) reconnect: Backoff,
    /// Between attempts of one command.
    pub(crate) retry: Backoff,
    /// For a handshake, and for the answer to `connect`.
    pub(crate) handshake_timeout: Duration,
    /// For a command, over all its attempts.
    pub(crate) request_timeout: Duration,
    pub(crate) seed: u64,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Input {
    Start,
    /// A new connection is open. One before it serves on until `Switch`.
    Dialed(Dialed),
    DialFailed(Lost),
    /// A region answered a probe, or did not in time.
    Probed(Address, Option<Health>),
    /// The token source answered.
    Token(Result<String, Lost>),
    /// Of the connection that serves.
    Message(Message),
    /// The connection that serves is gone.
    Lost(Lost),
    /// What the new connection answered to `connect`.
    Greeted(Message),
    /// The new connection is gone before it said anything.
    GreetingLost(Lost),
    Ask(Ask),
    /// Readers of these subscriptions took updates, or are gone.
    Attention(Vec<u64>),
    /// The time that `next_wake` named has come.
    Tick,
    Close,
}

/// What the application wants.
#[derive(Debug)]
pub(crate) enum Ask {
    Subscribe { channel: String, start: Start, mailbox: Mailbox, reply: SubscribeReply },
    Request { command: Command, reply: Reply },
    Close,
}

/// Where a subscription came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) class: String,
    pub(crate) cursor: Option<String>,
    pub(crate) behind: Option<String>,
}

pub(crate) type Reply = oneshot::Sender<Result<Message, RequestError>>;
pub(crate) type SubscribeReply = oneshot::Sender<Result<Opened, SubscribeError>>;

/// What to do.
#[derive(Debug)]
pub(crate) enum Output {
    Dial(Address, Choice),
    /// Ask these regions how they are.
    Probe(Vec<Address>),
    FetchToken,
    Send(CommandFrame),
    /// Send this on the new connection, which is not the one that serves yet.
    Greet(CommandFrame),
    /// The new connection serves from now on; the one before it may close.
    Switch,
    /// Give the new connection up, with this code for the server.
    Dismiss(Code),
    /// Give the connection up, with this code for the server.
    Hangup(Code),
    State(State),
    Region(Region),
    /// How much of its service the node gives; `None`: all of it.
    Modes(Option<ModePush>),
}

/// What a client is doing, for the application to watch.
#[derive(Debug, Clone)]
pub enum State {
    /// A connection is being opened.
    Connecting,
    /// Commands go through.
    Connected(Arc<Session>),
    /// Waiting before the next attempt.
    Waiting { delay: Duration, cause: Lost },
    /// It is over: `None` by request, else for a reason that does not get better by itself.
    Closed(Option<Lost>),
}

/// What was agreed with the server.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    pub transport: Transport,
    /// Connections of this client before this one.
    pub reconnects: u64,
    /// The server's answer: names, limits, capabilities.
    pub connected: Connected,
}
