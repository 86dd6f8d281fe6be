//! The connection's life: token, dial, connect, serve, move, lose, wait. Hands what is about requests
//! and subscriptions to them.

mod greeting;
mod messages;
mod places;

use std::time::{Duration, Instant};

use meridian_core::protocol::{Action, Code, Command};

use self::greeting::Greeting;
use super::liveness::{Liveness, Verdict};
use super::regions::{Event, Regions};
use super::requests::Requests;
use super::subscriptions::Subscriptions;
use super::tokens::Tokens;
use super::wire::{Waiting, Wire};
use super::{Ask, Config, Input, Output, State};
use crate::error::{Lost, RequestError, SubscribeError};
use crate::transport::Transport;

/// A connection that held for so long was a good one: delays begin anew.
const STABLE: Duration = Duration::from_secs(5);
/// So long a transport that worked is tried alone.
const MEMORY: Duration = Duration::from_secs(600);

/// A client's decisions.
#[derive(Debug)]
pub(crate) struct Machine {
    config: Config,
    wire: Wire,
    phase: Phase,
    regions: Regions,
    requests: Requests,
    subscriptions: Subscriptions,
    tokens: Tokens,
    liveness: Liveness,
    attempts: u32,
    connections: u64,
    /// What worked last, and when.
    worked: Option<(Transport, Instant)>,
    /// Whether the last dial went by that memory.
    remembered: bool,
    /// Why the connection before ended.
    left: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    New,
    /// Before the next attempt.
    Waiting {
        until: Instant,
    },
    FetchingToken,
    Dialing,
    Greeting(Greeting),
    Online {
        transport: Transport,
        since: Instant,
        moving: Moving,
    },
    Ended,
}

/// Leaving a node that drains, or for a better region: the old connection serves until the new one is
/// there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moving {
    No,
    At(Instant),
    Dialing,
    /// Nothing forces this move: if the dial fails, the connection stays.
    Trying,
    /// The new connection is open, and asked whether it will serve.
    Greeting {
        greeting: Greeting,
        must: bool,
    },
}

impl Machine {
    pub(crate) fn new(config: Config, now: Instant) -> Self {
        Self {
            wire: Wire::new(config.seed, now),
            phase: Phase::New,
            regions: Regions::new(&config.regions, config.seed),
            requests: Requests::new(config.request_timeout, config.retry),
            subscriptions: Subscriptions::new(config.retry),
            tokens: Tokens::new(config.token.clone(), config.has_token_source),
            liveness: Liveness::new(Duration::ZERO, now),
            attempts: 0,
            connections: 0,
            worked: None,
            remembered: false,
            left: None,
            config,
        }
    }

    /// Takes what happened; afterwards `next_output` tells what to do.
    pub(crate) fn handle(&mut self, input: Input, now: Instant) {
        self.wire.now = now;
        match input {
            _ if self.phase == Phase::Ended => refuse(input),
            Input::Start => self.connect(),
            Input::Dialed(dialed) => self.dialed(dialed),
            Input::DialFailed(lost) => self.dial_failed(lost),
            Input::Probed(address, health) => self.probed(&address, health.as_ref()),
            Input::Token(result) => self.token(result),
            Input::Message(message) => self.message(message),
            Input::Lost(lost) => self.lost(lost),
            Input::Greeted(message) => self.greeted(message),
            Input::GreetingLost(lost) => self.greeting_lost(lost),
            Input::Ask(ask) => self.ask(ask),
            Input::Attention(serials) => {
                for serial in serials {
                    self.subscriptions.attention(serial, &mut self.wire);
                }
            }
            Input::Tick => self.tick(),
            Input::Close => self.end(None),
        }
        if std::mem::take(&mut self.wire.sent) {
            self.liveness.sent(now);
        }
    }

    /// What to do next.
    pub(crate) fn next_output(&mut self) -> Option<Output> {
        self.wire.outputs.pop_front()
    }

    /// Whether it is over.
    pub(crate) fn is_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// When `Tick` is due.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Waiting { until } => Some(until),
            Phase::Greeting(greeting)
            | Phase::Online { moving: Moving::Greeting { greeting, .. }, .. } => {
                Some(greeting.deadline)
            }
            Phase::Online { moving: Moving::At(at), .. } => Some(at),
            _ => None,
        };
        let online = matches!(self.phase, Phase::Online { .. });
        let alive = self.liveness.next_wake().filter(|_| online);
        let token = self.tokens.next_wake().filter(|_| online);
        let work = self.requests.next_wake().into_iter().chain(self.subscriptions.next_wake());
        let regions = self.regions.next_wake();
        phase.into_iter().chain(alive).chain(token).chain(work).chain(regions).min()
    }

    fn connect(&mut self) {
        if self.tokens.is_stale() {
            self.phase = Phase::FetchingToken;
            if self.tokens.begin_fetch() {
                self.wire.outputs.push_back(Output::FetchToken);
            }
        } else {
            self.phase = Phase::Dialing;
            self.dial();
        }
        self.wire.outputs.push_back(Output::State(State::Connecting));
    }

    fn dial_failed(&mut self, lost: Lost) {
        self.worked = None;
        self.navigate(&Event::DialFailed(&lost));
        match self.phase {
            Phase::Online { moving, .. } => self.move_failed(moving != Moving::Trying),
            _ => self.give_way(lost),
        }
    }

    /// The connection serves on; where it can't for long, the next attempt comes.
    fn move_failed(&mut self, must: bool) {
        let delay = self.config.reconnect.delay(self.attempts, &mut self.wire.jitter);
        if let Phase::Online { moving, .. } = &mut self.phase {
            *moving = if must { Moving::At(self.wire.now + delay) } else { Moving::No };
            self.attempts = self.attempts.saturating_add(u32::from(must));
        }
    }

    fn token(&mut self, result: Result<String, Lost>) {
        let (token, failure) = match result {
            Ok(token) => (Some(token), None),
            Err(lost) => (None, Some(lost)),
        };
        self.tokens.fetched(token.clone());
        match (self.phase, token, failure) {
            (Phase::FetchingToken, Some(_), _) => self.connect(),
            (Phase::FetchingToken, None, Some(lost)) => self.give_way(lost),
            (Phase::Online { .. }, Some(token), _) => {
                self.wire.send(Command::Refresh { token }, Waiting::Refresh);
            }
            (Phase::Online { .. }, None, _) => self.renew_later(),
            _ => {}
        }
    }

    fn renew_later(&mut self) {
        let delay = self.config.reconnect.delay(self.attempts, &mut self.wire.jitter);
        self.tokens.renew_later(self.wire.now + delay);
    }

    fn renew_now(&mut self) {
        if self.tokens.begin_fetch() {
            self.wire.outputs.push_back(Output::FetchToken);
        }
    }

    fn ask(&mut self, ask: Ask) {
        match ask {
            Ask::Subscribe { channel, start, mailbox, reply } => {
                self.subscriptions.open(channel, start, mailbox, reply, &mut self.wire);
            }
            Ask::Request { command, reply } => {
                if let Command::Refresh { token } = &command {
                    self.tokens.replace(token.clone());
                }
                self.requests.submit(command, reply, &mut self.wire);
            }
            Ask::Close => self.end(None),
        }
    }

    fn tick(&mut self) {
        let now = self.wire.now;
        match &mut self.phase {
            Phase::Waiting { until } if *until <= now => self.connect(),
            Phase::Online { moving, .. } => {
                if matches!(moving, Moving::At(at) if *at <= now) {
                    *moving = Moving::Dialing;
                    self.dial();
                }
                self.keep_alive();
            }
            _ => {}
        }
        self.greeting_tick();
        self.navigate(&Event::Timer);
        self.requests.tick(&mut self.wire);
        self.subscriptions.tick(&mut self.wire);
    }

    fn keep_alive(&mut self) {
        if self.tokens.is_due(self.wire.now) {
            self.renew_now();
        }
        match self.liveness.check(self.wire.now) {
            Verdict::Fine => {}
            Verdict::Ask => {
                self.wire.send(Command::Ping, Waiting::Ping);
            }
            Verdict::Dead => self.hang_up(Lost::TimedOut),
        }
    }

    /// Gives up a connection that is still open.
    fn hang_up(&mut self, why: Lost) {
        let code = why.code().unwrap_or(Code::HeartbeatTimeout);
        self.wire.outputs.push_back(Output::Hangup(code));
        self.lost(why);
    }

    fn lost(&mut self, why: Lost) {
        let before = self.phase;
        if matches!(before, Phase::Online { .. }) {
            self.left = Some(why.cause());
            self.navigate(&Event::Lost(&why));
        }
        self.forget_connection();
        match before {
            Phase::Online { moving: Moving::Dialing | Moving::Trying, .. } => {
                self.phase = Phase::Dialing;
            }
            Phase::Online { moving: Moving::Greeting { greeting, .. }, .. } => {
                self.phase = Phase::Greeting(greeting);
            }
            Phase::Online { since, .. } => {
                if self.wire.now >= since + STABLE {
                    self.attempts = 0;
                }
                self.give_way(why);
            }
            _ => {}
        }
    }

    /// Waits for the next attempt, or ends where there is no use in one.
    fn give_way(&mut self, why: Lost) {
        match why.action() {
            Action::Stop => return self.end(Some(why)),
            Action::Refresh if !self.tokens.refused() => return self.end(Some(why)),
            _ => {}
        }
        let asked = match &why {
            Lost::Refused(error) => error.retry_after_ms.unwrap_or(0),
            _ => 0,
        };
        let delay = self.config.reconnect.delay(self.attempts, &mut self.wire.jitter);
        let delay = delay.max(Duration::from_millis(asked));
        self.attempts = self.attempts.saturating_add(1);
        self.phase = Phase::Waiting { until: self.wire.now + delay };
        tracing::debug!(?delay, cause = %why, "waiting before the next connection");
        self.wire.outputs.push_back(Output::State(State::Waiting { delay, cause: why }));
    }

    fn forget_connection(&mut self) {
        self.wire.lost();
        self.requests.lost();
        self.subscriptions.lost();
        self.tokens.lost();
    }

    fn end(&mut self, why: Option<Lost>) {
        self.forget_connection();
        self.requests.close();
        self.subscriptions.close();
        self.phase = Phase::Ended;
        self.wire.outputs.push_back(Output::Hangup(Code::Requested));
        self.wire.outputs.push_back(Output::State(State::Closed(why)));
    }
}

/// Nothing is taken on after the end.
fn refuse(input: Input) {
    match input {
        Input::Ask(Ask::Request { reply, .. }) => {
            let _ = reply.send(Err(RequestError::Closed));
        }
        Input::Ask(Ask::Subscribe { mailbox, reply, .. }) => {
            mailbox.end(None);
            let _ = reply.send(Err(SubscribeError::Closed));
        }
        _ => {}
    }
}
