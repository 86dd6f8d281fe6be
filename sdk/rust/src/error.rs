//! What can fail, one enum an operation, and what the application should do about each. What the
//! client can do by itself (reconnect, resume, retry) it has done before an error is seen.

use std::sync::Arc;

use meridian_core::protocol::{Action, Code, ReplyError};

use crate::tls::TlsError;

/// Why there is no connection.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Lost {
    #[error("the server closed the connection with {number} {reason:?}")]
    Closed { number: u64, reason: String },
    #[error("the server refused the handshake with status {0}")]
    Handshake(u16),
    #[error("the transport failed")]
    Transport(#[source] Arc<dyn std::error::Error + Send + Sync>),
    #[error("the server did not answer in time")]
    TimedOut,
    #[error("the server sent what is not a message of this protocol")]
    Malformed,
    #[error("the server refused: {}", .0.message)]
    Refused(ReplyError),
    #[error("the token source failed")]
    NoToken(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

/// No client came of it.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the address is not a URL")]
    Url(#[from] url::ParseError),
    #[error("the address must begin with http, https, ws or wss and name a host")]
    Address,
    #[error("some regions are secure and some are not")]
    MixedRegions,
    #[error("WebTransport needs an https address, a certificate hash or an authority to trust")]
    NeedsCertificate,
    #[error("no TLS configuration could be made")]
    Tls(#[from] TlsError),
    #[error("the server was not reached in time")]
    TimedOut(#[source] Option<Lost>),
    #[error("the connection was refused for good")]
    Stopped(#[source] Lost),
}

/// A subscription that did not come about.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    #[error("the server refused: {}", .0.message)]
    Refused(ReplyError),
    #[error("this client is subscribed to the channel already")]
    AlreadySubscribed,
    #[error("the client is closed")]
    Closed,
}

/// A command that failed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("the server refused: {}", .0.message)]
    Refused(ReplyError),
    #[error("no answer came in time: the command may or may not have been carried out")]
    OutcomeUnknown,
    #[error("there was no connection in time: the command was not sent")]
    NotSent,
    #[error("the server answered with something else")]
    UnexpectedReply,
    #[error("the client is closed")]
    Closed,
}

impl Lost {
    /// What follows from it.
    pub fn action(&self) -> Action {
        match self {
            Lost::Closed { number, .. } => u16::try_from(*number)
                .ok()
                .and_then(Code::from_number)
                .map_or(Action::Reconnect, Code::action),
            Lost::Handshake(401) => Action::Refresh,
            Lost::Handshake(400 | 403 | 404 | 405) => Action::Stop,
            Lost::Refused(error) => error.action,
            Lost::Handshake(_)
            | Lost::Transport(_)
            | Lost::TimedOut
            | Lost::Malformed
            | Lost::NoToken(_) => Action::Reconnect,
        }
    }

    /// What the server's operators call it.
    pub(crate) fn cause(&self) -> &'static str {
        match (self, self.code()) {
            (_, Some(Code::Draining)) => "drain",
            (Lost::TimedOut, _) | (_, Some(Code::HeartbeatTimeout)) => "heartbeat",
            (_, Some(code)) if code.action() == Action::Refresh => "refresh",
            (Lost::Malformed | Lost::Refused(_), _) | (_, Some(_)) => "server",
            _ => "network",
        }
    }

    /// The server's code, where it gave one that this version knows.
    pub fn code(&self) -> Option<Code> {
        match self {
            Lost::Closed { number, .. } => u16::try_from(*number).ok().and_then(Code::from_number),
            Lost::Refused(error) => error.known_code(),
            _ => None,
        }
    }
}

impl ConnectError {
    /// What the application should do.
    pub fn action(&self) -> Action {
        match self {
            ConnectError::TimedOut(_) => Action::Reconnect,
            ConnectError::Stopped(lost) => match lost.action() {
                Action::Refresh => Action::Refresh,
                _ => Action::Stop,
            },
            _ => Action::Stop,
        }
    }
}

impl SubscribeError {
    /// What the application should do.
    pub fn action(&self) -> Action {
        match self {
            SubscribeError::Refused(error) => error.action,
            SubscribeError::AlreadySubscribed => Action::Stop,
            SubscribeError::Closed => Action::Reconnect,
        }
    }
}

impl RequestError {
    /// What the application should do. `Retry` of a publish: again with the same id.
    pub fn action(&self) -> Action {
        match self {
            RequestError::Refused(error) => error.action,
            RequestError::OutcomeUnknown | RequestError::NotSent => Action::Retry,
            RequestError::UnexpectedReply => Action::Stop,
            RequestError::Closed => Action::Reconnect,
        }
    }

    /// The server's code, where it gave one that this version knows.
    pub fn code(&self) -> Option<Code> {
        match self {
            RequestError::Refused(error) => error.known_code(),
            RequestError::OutcomeUnknown => Some(Code::OutcomeUnknown),
            _ => None,
        }
    }
}
