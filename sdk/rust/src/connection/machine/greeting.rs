//! A new connection's `connect` and its answer. Whatever comes of it costs an older connection nothing
//! until the new one serves.

use std::time::{Duration, Instant};

use meridian_core::protocol::{Action, Code, Command, Connect, Connected, Fallback, Message};

use super::super::Output;
use super::super::regions::{Event, Redirect, Why};
use super::{Machine, Moving, Phase};
use crate::error::Lost;
use crate::transport::{Dialed, Transport};

/// `connect` was sent and not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Greeting {
    transport: Transport,
    pub(super) deadline: Instant,
    id: u64,
}

impl Machine {
    pub(super) fn dialed(&mut self, dialed: Dialed) {
        let must = matches!(self.phase, Phase::Online { moving: Moving::Dialing, .. });
        if must {
            self.left = Some("drain");
        }
        let connect = Connect {
            protocol: 1,
            token: self.tokens.current(),
            capabilities: vec!["gap".to_owned()],
            subscriber: self.config.subscriber.clone(),
            client: Some(concat!("meridian-rust/", env!("CARGO_PKG_VERSION")).to_owned()),
            reconnect: self.left.map(str::to_owned),
            fallback: self.fallback(dialed),
            redirected: self.regions.dials_redirected().map(|why| why.name().to_owned()),
        };
        let greeting = Greeting {
            transport: dialed.transport,
            deadline: self.wire.now + self.config.handshake_timeout,
            id: self.wire.greet(Command::Connect(connect)),
        };
        match &mut self.phase {
            Phase::Online { moving, .. } => *moving = Moving::Greeting { greeting, must },
            phase => *phase = Phase::Greeting(greeting),
        }
    }

    /// Why this connection is not WebTransport, where it might have been.
    fn fallback(&self, dialed: Dialed) -> Option<Fallback> {
        if dialed.transport != Transport::WebSocket {
            return None;
        }
        let remembered = self.remembered.then_some("remembered");
        let reason = dialed.lost_race.or(remembered).or(self.config.no_webtransport)?;
        Some(Fallback { from: "webtransport".to_owned(), reason: reason.to_owned() })
    }

    fn greeting(&self) -> Option<Greeting> {
        match self.phase {
            Phase::Greeting(greeting)
            | Phase::Online { moving: Moving::Greeting { greeting, .. }, .. } => Some(greeting),
            _ => None,
        }
    }

    /// The answer to `connect`.
    pub(super) fn greeted(&mut self, message: Message) {
        let Some(greeting) = self.greeting() else { return };
        match message {
            Message::Connected(Some(id), connected) if id == greeting.id => {
                self.switch(greeting.transport, *connected);
            }
            Message::Error(_, error) => {
                let full = error.known_code() == Some(Code::TooManySessions);
                let places = if full { error.elsewhere.to_vec() } else { Vec::new() };
                self.dismiss(Lost::Refused(error));
                // A full node tells where else to go; others only refuse.
                if !places.is_empty() {
                    self.redirect(&Redirect { places, why: Why::Overload, after: Duration::ZERO });
                }
            }
            _ => self.dismiss(Lost::Malformed),
        }
    }

    /// The new connection serves; what the one before it has not answered is asked again.
    fn switch(&mut self, transport: Transport, connected: Connected) {
        let now = self.wire.now;
        if matches!(self.phase, Phase::Online { .. }) {
            self.navigate(&Event::Left);
        }
        self.forget_connection();
        self.wire.outputs.push_back(Output::Switch);
        self.phase = Phase::Online { transport, since: now, moving: Moving::No };
        self.connected(transport, connected);
    }

    /// Gives the new connection up.
    fn dismiss(&mut self, why: Lost) {
        let code = why.code().unwrap_or(Code::HeartbeatTimeout);
        self.wire.outputs.push_back(Output::Dismiss(code));
        self.greeting_lost(why);
    }

    /// The new connection came to nothing. Another one goes on; a new token is asked for all the same.
    pub(super) fn greeting_lost(&mut self, why: Lost) {
        if self.greeting().is_none() {
            return;
        }
        self.navigate(&Event::DialFailed(&why));
        match self.phase {
            Phase::Online { moving: Moving::Greeting { must, .. }, .. } => {
                if why.action() == Action::Refresh {
                    self.renew_now();
                }
                self.move_failed(must);
            }
            _ => self.give_way(why),
        }
    }

    pub(super) fn greeting_tick(&mut self) {
        if self.greeting().is_some_and(|greeting| greeting.deadline <= self.wire.now) {
            self.dismiss(Lost::TimedOut);
        }
    }
}
