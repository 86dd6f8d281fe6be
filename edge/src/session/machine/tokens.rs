//! A session's tokens: that of `connect`, those of refreshes, and what changes with them. Pure.

use std::rc::Rc;
use std::time::Instant;

use meridian_core::auth::{Decision, Identity};
use meridian_core::protocol::{
    Code, Command, CommandFrame, Connect, Connected, Message, ReplyError,
};
use meridian_core::vocabulary::{Channel, SubscriberName};

use super::{
    Act, Generation, Machine, Open, PROTOCOL, Refresh, State, Subscription, millis, refuse,
};
use crate::delivery::From;

impl Machine {
    pub(super) fn begin_connect(
        &mut self,
        id: Option<u64>,
        mut connect: Connect,
        acts: &mut Vec<Act>,
    ) {
        if connect.protocol == 0 {
            return refuse(id, Code::Unsupported, acts);
        }
        let token = connect.token.take().or_else(|| self.token.take());
        self.state = State::Connecting { id, connect, waiting: Vec::new() };
        acts.push(Act::Verify { token });
    }

    pub(super) fn begin_refresh(&mut self, id: Option<u64>, token: String, acts: &mut Vec<Act>) {
        let State::Open(open) = &mut self.state else { return };
        if open.refresh.is_some() {
            let error = ReplyError::of(Code::RateLimited).retry_after(1000);
            return acts.push(Act::Send(Message::Error(id, error)));
        }
        open.refresh = Some(Refresh { id, undecided: None });
        acts.push(Act::Verify { token: Some(token) });
    }

    /// A token was checked: that of `connect`, or that of a refresh. `expires_at` is its end.
    pub(crate) fn verified(
        &mut self,
        result: Result<(Rc<Identity>, Option<Instant>), Code>,
        now: Instant,
    ) -> Vec<Act> {
        let mut acts = Vec::new();
        match &mut self.state {
            State::Connecting { .. } => match result {
                Ok((identity, expires_at)) => self.connected(identity, expires_at, now, &mut acts),
                Err(code) => {
                    if let State::Connecting { id, .. } = &self.state {
                        acts.push(Act::Send(Message::Error(*id, self.refusal(code))));
                    }
                    self.close(code, &mut acts);
                }
            },
            State::Open(_) => self.refreshed(result, now, &mut acts),
            _ => {}
        }
        acts
    }

    /// The client that connects is not let in, for a reason of its own.
    pub(crate) fn refused(&mut self, error: ReplyError) -> Vec<Act> {
        let mut acts = Vec::new();
        if let State::Connecting { id, .. } = &self.state {
            let code = error.known_code().unwrap_or(Code::Internal);
            acts.push(Act::Send(Message::Error(*id, error)));
            self.close(code, &mut acts);
        }
        acts
    }

    /// The error that refuses `connect`.
    fn refusal(&self, code: Code) -> ReplyError {
        let error = ReplyError::of(code);
        match code {
            Code::TooManySessions => error.elsewhere(self.settings.others.clone()),
            _ => error,
        }
    }

    fn connected(
        &mut self,
        identity: Rc<Identity>,
        expires_at: Option<Instant>,
        now: Instant,
        acts: &mut Vec<Act>,
    ) {
        let State::Connecting { id, connect, waiting } =
            std::mem::replace(&mut self.state, State::Closed)
        else {
            return;
        };
        let subscriber = match connect.subscriber.as_deref().map(SubscriberName::parse).transpose()
        {
            Ok(subscriber) => subscriber,
            Err(_) => {
                refuse(id, Code::BadRequest, acts);
                return self.close(Code::BadRequest, acts);
            }
        };
        let settings = &self.settings;
        let connected = Connected {
            protocol: connect.protocol.min(PROTOCOL),
            session: self.session.clone(),
            node: settings.node.clone(),
            region: settings.region.clone(),
            tenant: identity.tenant.as_str().to_owned(),
            user: identity.user.as_str().to_owned(),
            capabilities: Vec::new(),
            expires_in_ms: expires_at.map(|at| millis(at, now)),
            limits: settings.limits,
        };
        acts.push(Act::Send(Message::Connected(id, Box::new(connected))));
        let Connect { reconnect, fallback, redirected, .. } = connect;
        let sent_here = redirected.is_some();
        if reconnect.is_some() || fallback.is_some() || sent_here {
            acts.push(Act::Told { reconnect, fallback, redirected });
        }
        let server_made = identity.subscribe.clone();
        if let Some(name) = &subscriber {
            acts.push(Act::TakeName(name.clone()));
        }
        self.generation = 1;
        self.state = State::Open(Open { identity, subscriber, expires_at, refresh: None });
        if let Some(mode) = self.mode.take() {
            acts.extend(self.tell_mode(*mode));
        }
        self.divert_late(sent_here, now, acts);
        for channel in server_made {
            let asked_for = self.answers.is_some() && asks_for(&waiting, &channel);
            if !asked_for && !self.subscriptions.contains_key(&channel) {
                let from = self.bookmarked(&channel).unwrap_or(From::Now);
                self.follow(None, channel, from, acts);
            }
        }
        for frame in waiting {
            self.command(frame, now, acts);
        }
    }

    fn refreshed(
        &mut self,
        result: Result<(Rc<Identity>, Option<Instant>), Code>,
        now: Instant,
        acts: &mut Vec<Act>,
    ) {
        let State::Open(open) = &mut self.state else { return };
        let Some(refresh) = &mut open.refresh else { return };
        let id = refresh.id;
        let refusal = match result {
            Err(code) => Some(code),
            Ok((identity, expires_at)) => {
                if identity.tenant != open.identity.tenant || identity.user != open.identity.user {
                    Some(Code::WrongIdentity)
                } else {
                    open.identity = identity;
                    open.expires_at = expires_at;
                    None
                }
            }
        };
        if let Some(code) = refusal {
            open.refresh = None;
            return refuse(id, code, acts);
        }
        self.generation += 1;
        let active: Vec<Channel> = self
            .subscriptions
            .iter()
            .filter(|(_, subscription)| matches!(subscription, Subscription::Active))
            .map(|(channel, _)| channel.clone())
            .collect();
        acts.extend(active.iter().cloned().map(Act::Pause));
        let generation = self.generation;
        acts.extend(active.iter().cloned().map(|channel| Act::Authorise { generation, channel }));
        refresh.undecided = Some(active);
        self.finish_refresh(now, acts);
    }

    /// A subscription was decided about under the token of `generation`.
    pub(crate) fn authorised(
        &mut self,
        generation: Generation,
        channel: &Channel,
        decision: Decision,
        now: Instant,
    ) -> Vec<Act> {
        let mut acts = Vec::new();
        if generation != self.generation {
            return acts;
        }
        if let State::Open(Open {
            refresh: Some(Refresh { undecided: Some(undecided), .. }), ..
        }) = &mut self.state
        {
            undecided.retain(|waiting| waiting != channel);
        }
        // One that starts anew meanwhile is decided about by its own operation.
        if matches!(self.subscriptions.get(channel), Some(Subscription::Active)) {
            let refusal = match decision {
                Decision::Allow => None,
                Decision::Deny => Some(Code::Forbidden),
                Decision::Unavailable => Some(Code::AuthoriserUnavailable),
            };
            match refusal {
                None => acts.push(Act::Resume(channel.clone())),
                Some(code) => acts.extend(self.end(channel, code)),
            }
        }
        self.finish_refresh(now, &mut acts);
        acts
    }

    fn finish_refresh(&mut self, now: Instant, acts: &mut Vec<Act>) {
        let State::Open(open) = &mut self.state else { return };
        if let Some(Refresh { id, undecided: Some(undecided) }) = &open.refresh
            && undecided.is_empty()
        {
            let expires_in_ms = open.expires_at.map(|at| millis(at, now));
            acts.push(Act::Send(Message::Refreshed { id: *id, expires_in_ms }));
            open.refresh = None;
        }
    }
}

/// Whether one of the commands subscribes to the channel.
fn asks_for(commands: &[CommandFrame], channel: &Channel) -> bool {
    commands.iter().any(|frame| match &frame.command {
        Command::Subscribe(subscribe) => subscribe.channel == channel.as_str(),
        _ => false,
    })
}
