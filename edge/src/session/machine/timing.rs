//! A session's clocks: connecting in time, heartbeats, the token's end, the deadline of one that is to
//! leave. Pure; it is told the time.

use std::time::{Duration, Instant};

use meridian_core::protocol::{Code, Message};

use super::{Act, Machine, State};

impl Machine {
    /// Time passed; `last_sent` is when bytes last went out. To be called at `next_tick` at the latest.
    pub(crate) fn tick(&mut self, now: Instant, last_sent: Instant) -> Vec<Act> {
        let mut acts = Vec::new();
        let heartbeat = self.heartbeat();
        match &self.state {
            State::AwaitingConnect { until } if now >= *until => {
                self.close(Code::ConnectTimeout, &mut acts);
            }
            State::Open(open) => {
                if self.leave_by.is_some_and(|at| now >= at) {
                    self.close(Code::Draining, &mut acts);
                } else if open.expires_at.is_some_and(|at| now >= at) {
                    self.close(Code::TokenExpired, &mut acts);
                } else if now >= self.last_heard + heartbeat * 2 {
                    self.close(Code::HeartbeatTimeout, &mut acts);
                } else if now >= self.ping_at(last_sent) {
                    self.last_ping = now;
                    acts.push(Act::Send(Message::Ping));
                }
            }
            _ => {}
        }
        acts
    }

    fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.settings.limits.heartbeat_ms)
    }

    fn ping_at(&self, last_sent: Instant) -> Instant {
        self.last_heard.min(last_sent).max(self.last_ping) + self.heartbeat()
    }

    /// When `tick` must be called.
    pub(crate) fn next_tick(&self, last_sent: Instant) -> Option<Instant> {
        match &self.state {
            State::AwaitingConnect { until } => Some(*until),
            State::Open(open) => {
                let silence = self.last_heard + self.heartbeat() * 2;
                let next = silence.min(self.ping_at(last_sent));
                [open.expires_at, self.leave_by].into_iter().flatten().chain([next]).min()
            }
            State::Connecting { .. } | State::Closed => None,
        }
    }
}
