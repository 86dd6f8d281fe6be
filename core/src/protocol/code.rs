//! Every code that stands on the wire, with what a client should do about it.

use std::fmt;

/// What a client should do about an error or a close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It will not get better by itself.
    Stop,
    /// Get a new token, then the same again.
    Refresh,
    /// Subscribe again from the position held.
    Resume,
    /// Open a new connection after a jittered delay.
    Reconnect,
    /// The same command again, after `retry_after_ms` where given.
    Retry,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident, $name:literal, $number:literal, $status:literal, $action:ident, $message:literal;)*) => {
        /// A stable code: in error replies, in `unsubscribed`, and as the close code of both transports.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $variant,)* }

        impl Code {
            /// Every code, in the order of their numbers.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The stable name on the wire.
            pub fn name(self) -> &'static str {
                match self { $(Code::$variant => $name,)* }
            }

            /// The close code (WebSocket and WebTransport alike).
            pub fn number(self) -> u16 {
                match self { $(Code::$variant => $number,)* }
            }

            /// The status of an HTTP answer with this code.
            pub fn http_status(self) -> u16 {
                match self { $(Code::$variant => $status,)* }
            }

            /// What a client should do.
            pub fn action(self) -> Action {
                match self { $(Code::$variant => Action::$action,)* }
            }

            /// A sentence for the person who reads the error.
            pub fn message(self) -> &'static str {
                match self { $(Code::$variant => $message,)* }
            }
        }
    };
}

codes! {
    /// A client asked for it.
    Requested, "requested", 4000, 200, Stop, "ended on request";
    Malformed, "malformed", 4001, 400, Stop, "the frame is not a message of this protocol";
    FrameTooLarge, "frame_too_large", 4002, 413, Stop, "the frame is larger than the limit";
    BadRequest, "bad_request", 4003, 400, Stop, "a field is missing or out of range";
    Unsupported, "unsupported", 4004, 400, Stop, "this server does not know that command or option";
    NotConnected, "not_connected", 4005, 400, Stop, "connect must come first";
    AlreadyConnected, "already_connected", 4006, 400, Stop, "connect may come only once";
    ConnectTimeout, "connect_timeout", 4007, 408, Reconnect, "no connect came in time";
    HeartbeatTimeout, "heartbeat_timeout", 4008, 408, Reconnect, "nothing was heard from the client";
    Unauthenticated, "unauthenticated", 4010, 401, Refresh, "the token is missing or not valid";
    TokenExpired, "token_expired", 4011, 401, Refresh, "the token has expired";
    WrongIdentity, "wrong_identity", 4012, 403, Stop, "the new token names another tenant or user";
    Forbidden, "forbidden", 4013, 403, Stop, "not allowed on this channel";
    OriginForbidden, "origin_forbidden", 4014, 403, Stop, "requests from this origin are not allowed";
    AuthoriserUnavailable, "authoriser_unavailable", 4015, 503, Retry, "who may do this cannot be decided right now";
    TokenRevoked, "token_revoked", 4016, 401, Refresh, "the token was revoked";
    QuotaExceeded, "quota_exceeded", 4017, 429, Reconnect, "more connections than the quota allows";
    BadChannel, "bad_channel", 4020, 400, Stop, "not a channel name";
    AlreadySubscribed, "already_subscribed", 4021, 409, Stop, "the session is subscribed to this channel already";
    NotSubscribed, "not_subscribed", 4022, 404, Stop, "the session is not subscribed to this channel";
    TooManyChannels, "too_many_channels", 4023, 429, Stop, "the session has as many subscriptions as it may";
    BadCursor, "bad_cursor", 4024, 400, Stop, "not a cursor";
    ForeignCursor, "foreign_cursor", 4025, 400, Stop, "the cursor belongs to another log or partition than this channel";
    CursorBeyondEnd, "cursor_beyond_end", 4026, 409, Stop, "the cursor lies beyond the end of the log";
    AckAhead, "ack_ahead", 4027, 409, Stop, "the session was not sent that far";
    NoSubscriber, "no_subscriber", 4028, 400, Stop, "connect named no subscriber";
    EventTooLarge, "event_too_large", 4030, 413, Stop, "the event is larger than the channel allows";
    BadPayload, "bad_payload", 4031, 400, Stop, "the payload is not what its content type says, or nests too deeply";
    BatchTooLarge, "batch_too_large", 4032, 413, Stop, "the batch has more events than allowed";
    HorizonPassed, "horizon_passed", 4033, 409, Stop, "the retry comes too late to be told from a new event";
    NotStored, "not_stored", 4034, 503, Retry, "the event was not stored";
    OutcomeUnknown, "outcome_unknown", 4035, 504, Retry, "the event may or may not be stored; a retry with the same id is safe";
    Overloaded, "overloaded", 4036, 503, Retry, "the event was not stored: too much is waiting";
    LogUnavailable, "log_unavailable", 4037, 503, Retry, "the event was not stored: the log does not answer";
    LogHalted, "log_halted", 4038, 503, Stop, "the event was not stored: the log is halted until its operator goes on";
    ReadOnly, "read_only", 4039, 503, Stop, "the event was not stored: nothing is published here for now";
    NotYet, "not_yet", 4040, 503, Retry, "this region is not that far yet";
    Unavailable, "unavailable", 4041, 503, Retry, "the store that may hold this does not answer";
    RateLimited, "rate_limited", 4042, 429, Retry, "too many commands";
    TooManySessions, "too_many_sessions", 4043, 503, Reconnect, "this node serves as many sessions as it can";
    LaneStopped, "lane_stopped", 4044, 409, Resume, "the client stopped the stream that carried this channel";
    SlowReader, "slow_reader", 4045, 408, Reconnect, "the client does not read what it asked for";
    TakenOver, "taken_over", 4046, 409, Stop, "a newer session uses this subscriber name";
    WrongRegion, "wrong_region", 4047, 421, Stop, "this region does not keep that channel's events";
    Draining, "draining", 4050, 503, Reconnect, "this node is stopping";
    NotFound, "not_found", 4051, 404, Stop, "there is nothing at this address";
    MethodNotAllowed, "method_not_allowed", 4052, 405, Stop, "this address does not take that method";
    Internal, "internal", 4060, 500, Reconnect, "something went wrong in the server";
}

impl Code {
    /// The code with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }

    /// The code with this close code.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.number() == number)
    }
}

impl Action {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Action::Stop => "stop",
            Action::Refresh => "refresh",
            Action::Resume => "resume",
            Action::Reconnect => "reconnect",
            Action::Retry => "retry",
        }
    }

    /// The action with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Stop, Self::Refresh, Self::Resume, Self::Reconnect, Self::Retry]
            .into_iter()
            .find(|action| action.name() == name)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_and_numbers_are_unique_and_in_range() {
        let names: HashSet<_> = Code::ALL.iter().map(|c| c.name()).collect();
        let numbers: HashSet<_> = Code::ALL.iter().map(|c| c.number()).collect();
        assert_eq!((names.len(), numbers.len()), (Code::ALL.len(), Code::ALL.len()));
        assert!(numbers.iter().all(|n| (4000..5000).contains(n)));
        assert!(Code::ALL.windows(2).all(|pair| pair[0].number() < pair[1].number()));
    }

    /// The page that clients' authors read lists every code as it is here.
    #[test]
    fn the_protocol_page_lists_every_code() {
        let page = include_str!("../../../docs/protocol.md");
        for code in Code::ALL {
            let row = format!(
                "| `{}` | {} | {} | {} | {} |",
                code.name(),
                code.number(),
                code.http_status(),
                code.action().name(),
                code.message()
            );
            assert!(page.contains(&row), "docs/protocol.md lacks the row:\n{row}");
        }
    }
}
