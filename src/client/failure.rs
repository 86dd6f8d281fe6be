//! How a command can end before it was asked to, with the code on the wire and what to do.

use std::time::Duration;

use meridian_client::{Code, ConnectError, Lost, Refusal, RequestError, SubscribeError};

use super::advice;
use super::json::Object;
use crate::span;

/// Why a command ends early.
pub(super) enum Stop {
    /// Nobody reads what it prints any more.
    Closed,
    /// A signal asked for it.
    Interrupted,
    /// It failed, and has said how.
    Told,
    Failed(Box<Failure>),
    /// An argument that only looks right.
    Usage(String),
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    code: String,
    message: String,
    advice: String,
    channel: Option<String>,
    line: Option<u64>,
    id: Option<String>,
    applied: Option<String>,
}

impl Failure {
    fn of(code: &str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            advice: advice.into(),
            channel: None,
            line: None,
            id: None,
            applied: None,
        }
    }

    /// Of this machine, not of the gateway.
    pub(super) fn local(message: impl Into<String>) -> Self {
        Self::of("local", message, "")
    }

    /// An argument that is not valid.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::of("usage", message, "--help shows examples")
    }

    /// What the gateway refused.
    pub(super) fn refused(refusal: &Refusal) -> Self {
        let mut failure = Self::of(&refusal.code, &refusal.message, advice::for_refusal(refusal));
        failure.applied = refusal.applied.as_deref().map(str::to_owned);
        if let Some(limit) = refusal.limit {
            failure.message.push_str(&format!(" (the limit is {limit})"));
        }
        failure
    }

    /// No connection within the time for it.
    pub(super) fn unreachable(address: &str, within: Duration, cause: Option<&Lost>) -> Self {
        let within = span::text(within);
        // A gateway that answers is not out of reach.
        let answered = cause.filter(|lost| lost.code().is_some());
        let mut failure = cause
            .map_or_else(|| Self::of("unreachable", "no answer", advice::UNREACHABLE), Self::lost);
        let cause = std::mem::take(&mut failure.message);
        let what = if answered.is_some() { "was not let in by" } else { "cannot reach" };
        failure.message = format!("{what} {address} within {within}: {cause}");
        failure
    }

    /// Why there is no connection.
    pub(super) fn lost(lost: &Lost) -> Self {
        match (lost, lost.code()) {
            (Lost::Refused(refusal), _) => Self::refused(refusal),
            (_, Some(code)) => Self::refused(&Refusal::of(code)),
            _ => {
                let message = chain(lost);
                let advice = advice::for_lost(lost, &message);
                Self::of("unreachable", message, advice)
            }
        }
    }

    /// A client that could not even start.
    pub(super) fn connecting(error: &ConnectError) -> Stop {
        match error {
            ConnectError::Stopped(lost) => Self::lost(lost).into(),
            ConnectError::TimedOut(_) | ConnectError::Tls(_) => {
                Self::of("unreachable", chain(error), advice::UNREACHABLE).into()
            }
            ConnectError::Url(_)
            | ConnectError::Address
            | ConnectError::MixedRegions
            | ConnectError::NeedsCertificate => Stop::Usage(chain(error)),
        }
    }

    pub(super) fn subscribing(error: &SubscribeError) -> Self {
        match error {
            SubscribeError::Refused(refusal) => Self::refused(refusal),
            SubscribeError::AlreadySubscribed => {
                Self::refused(&Refusal::of(Code::AlreadySubscribed))
            }
            SubscribeError::Closed => Self::closed(),
        }
    }

    pub(super) fn request(error: &RequestError) -> Self {
        match error {
            RequestError::Refused(refusal) => Self::refused(refusal),
            RequestError::NotSent => Self::of("unreachable", chain(error), advice::UNREACHABLE),
            RequestError::OutcomeUnknown => Self::no_answer(),
            RequestError::UnexpectedReply => Self::of("malformed", chain(error), ""),
            RequestError::Closed => Self::closed(),
        }
    }

    /// A publish: whether the event may be stored is what its code says.
    pub(super) fn publishing(error: &RequestError) -> Self {
        let code = match error {
            RequestError::NotSent => Code::NotStored,
            RequestError::OutcomeUnknown | RequestError::UnexpectedReply => Code::OutcomeUnknown,
            RequestError::Refused(_) | RequestError::Closed => return Self::request(error),
        };
        Self::of(code.name(), chain(error), advice::for_refusal(&Refusal::of(code)))
    }

    pub(super) fn no_answer() -> Self {
        Self::of("unreachable", "no answer came in time", advice::LATER)
    }

    fn closed() -> Self {
        Self::of("unreachable", "the connection was closed", advice::LATER)
    }

    pub(super) fn on(mut self, channel: &str) -> Self {
        self.channel = Some(channel.to_owned());
        self
    }

    pub(super) fn of_event(mut self, line: Option<u64>, id: &str) -> Self {
        self.line = line;
        self.id = Some(id.to_owned());
        self
    }

    pub(super) fn code(&self) -> &str {
        &self.code
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn object(&self) -> Object<'_> {
        Object::Error {
            code: &self.code,
            message: &self.message,
            advice: Some(self.advice.as_str()).filter(|text| !text.is_empty()),
            channel: self.channel.as_deref(),
            line: self.line,
            id: self.id.as_deref(),
            applied: self.applied.as_deref(),
        }
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

/// An error and what caused it, in one line; what repeats its cause is said once.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn an_unreachable_gateway_is_named_with_its_cause() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let lost = Lost::Transport(Arc::new(refused));
        let failure = Failure::unreachable("http://here", Duration::from_secs(2), Some(&lost));
        assert_eq!(failure.code(), "unreachable");
        let expected =
            "cannot reach http://here within 2s: the transport failed: connection refused";
        assert_eq!(failure.message(), expected);
        let full = Lost::Refused(Refusal::of(Code::TooManySessions));
        let failure = Failure::unreachable("http://here", Duration::from_secs(2), Some(&full));
        assert_eq!(failure.code(), "too_many_sessions");
        assert!(failure.message().starts_with("was not let in by http://here within 2s: "));
    }

    #[test]
    fn a_publish_that_never_left_was_not_stored() {
        for (error, code) in [
            (RequestError::NotSent, "not_stored"),
            (RequestError::OutcomeUnknown, "outcome_unknown"),
            (RequestError::Refused(Refusal::of(Code::Forbidden)), "forbidden"),
        ] {
            assert_eq!(Failure::publishing(&error).code(), code);
        }
    }
}
