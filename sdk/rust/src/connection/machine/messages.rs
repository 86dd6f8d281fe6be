//! What a message of the server means: to the connection itself, or to whom it is handed on.

use std::sync::Arc;
use std::time::Duration;

use meridian_core::protocol::{Action, Code, Command, Connected, Message, ReplyError};

use super::super::liveness::Liveness;
use super::super::regions::{Event, Redirect, Why};
use super::super::wire::Waiting;
use super::super::{Output, Session, State};
use super::{Machine, Moving, Phase};
use crate::error::Lost;
use crate::transport::Transport;

impl Machine {
    pub(super) fn message(&mut self, message: Message) {
        self.liveness.heard(self.wire.now);
        let waiting = self.wire.take(message.id());
        match message {
            Message::Subscribed(id, answer) => self.subscriptions.subscribed(id, &answer),
            Message::Unsubscribed { channel, code, action, .. } => {
                if action == Action::Refresh {
                    self.renew_now();
                }
                self.subscriptions.unsubscribed(&channel, &code, action, &mut self.wire);
            }
            Message::Events { channel, stream, epoch, events } => {
                let stream = stream.as_deref();
                self.subscriptions.events(&channel, stream, epoch, events, &mut self.wire);
            }
            Message::Gap(push) => self.subscriptions.gap(&push, &mut self.wire),
            Message::Values { channel, stream, epoch, events } => {
                self.subscriptions.values(&channel, &stream, epoch, events, &mut self.wire);
            }
            Message::Conflated { channel, stream, position } => {
                self.subscriptions.conflated(&channel, &stream, position);
            }
            Message::Skipped { channel, count } => self.subscriptions.skipped(&channel, count),
            Message::Drain { after_ms, .. } => self.drain(Duration::from_millis(after_ms)),
            Message::Redirect(told) => {
                self.redirect(&Redirect {
                    places: vec![told.place],
                    why: Why::from_name(&told.reason),
                    after: Duration::from_millis(told.after_ms),
                });
            }
            Message::Mode(modes) => self.wire.outputs.push_back(Output::Modes(Some(modes))),
            Message::Ping => self.wire.tell(Command::Pong),
            Message::Error(Some(id), error) => self.refused(id, waiting, error),
            Message::Refreshed { expires_in_ms, .. } => {
                self.tokens.accepted(expires_in_ms, self.wire.now);
                self.answered(waiting, message);
            }
            Message::Error(None, _) | Message::Connected(..) | Message::Unknown => {}
            reply => self.answered(waiting, reply),
        }
    }

    fn answered(&mut self, waiting: Option<Waiting>, message: Message) {
        if let Some(Waiting::Request(key)) = waiting {
            self.requests.answered(key, message);
        }
    }

    pub(super) fn connected(&mut self, transport: Transport, connected: Connected) {
        let now = self.wire.now;
        // Whoever sees the new state sees the new region.
        self.navigate(&Event::Dialed(&connected.region));
        self.worked = Some((transport, now));
        self.left = None;
        self.tokens.accepted(connected.expires_in_ms, now);
        self.liveness = Liveness::new(Duration::from_millis(connected.limits.heartbeat_ms), now);
        let session = Session { transport, reconnects: self.connections, connected };
        self.connections += 1;
        self.wire.online = true;
        // A session that is told nothing is on a node where all is normal.
        self.wire.outputs.push_back(Output::Modes(None));
        self.wire.outputs.push_back(Output::State(State::Connected(Arc::new(session))));
        self.subscriptions.online(&mut self.wire);
        self.requests.online(&mut self.wire);
    }

    fn refused(&mut self, id: u64, waiting: Option<Waiting>, mut error: ReplyError) {
        let action = error.action;
        match waiting {
            Some(Waiting::Refresh) => return self.refresh_refused(&error),
            Some(Waiting::Request(key)) => {
                self.requests.refused(key, error.clone(), &mut self.wire);
            }
            Some(Waiting::Subscribe(slot)) => {
                if self.follows_zone(&error) {
                    error.action = Action::Retry;
                }
                self.subscriptions.subscribe_refused(slot, id, error.clone(), &mut self.wire);
            }
            Some(Waiting::Unsubscribe(slot)) => {
                self.subscriptions.unsubscribe_refused(slot, &error, &mut self.wire);
            }
            Some(Waiting::Ping) | None => {}
        }
        match action {
            Action::Reconnect => self.hang_up(Lost::Refused(error)),
            Action::Refresh => self.renew_now(),
            _ => {}
        }
    }

    /// Whether this client goes to where the channel is that is not here; then asking again makes sense.
    fn follows_zone(&mut self, error: &ReplyError) -> bool {
        if error.known_code() != Some(Code::WrongRegion) || error.elsewhere.is_empty() {
            return false;
        }
        let places = error.elsewhere.to_vec();
        self.redirect(&Redirect { places, why: Why::Zone, after: Duration::ZERO })
    }

    /// The session goes on with the token it has; where another may be had, it is asked for.
    fn refresh_refused(&mut self, error: &ReplyError) {
        tracing::warn!(code = %error.code, "the server did not take the new token");
        if error.action != Action::Stop && self.tokens.refused() {
            self.renew_later();
        }
    }

    fn drain(&mut self, after: Duration) {
        let Phase::Online { moving, .. } = &mut self.phase else { return };
        match moving {
            Moving::No => *moving = Moving::At(self.wire.now + after),
            // The node goes: what was a wish is a must.
            Moving::Trying => *moving = Moving::Dialing,
            Moving::Greeting { must, .. } => *must = true,
            Moving::At(_) | Moving::Dialing => {}
        }
    }
}
