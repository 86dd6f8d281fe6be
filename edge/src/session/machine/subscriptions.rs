//! A session's subscriptions: how they start, go on and end. Pure; positions are the hub's affair.

use meridian_core::protocol::{Ack, Code, Message, ReplyError, Subscribe};
use meridian_core::seams::AcknowledgedKey;
use meridian_core::vocabulary::{Channel, Cursor};

use super::{Act, Generation, Machine, OpId, State, Subscription, ended, refuse};
use crate::delivery::From;

impl Machine {
    pub(super) fn subscribe(
        &mut self,
        id: Option<u64>,
        subscribe: &Subscribe,
        acts: &mut Vec<Act>,
    ) {
        let Ok(channel) = Channel::parse(&subscribe.channel) else {
            return refuse(id, Code::BadChannel, acts);
        };
        if self.subscriptions.contains_key(&channel) {
            return refuse(id, Code::AlreadySubscribed, acts);
        }
        if self.subscriptions.len() as u64 >= self.settings.limits.channels {
            let limit = self.settings.limits.channels;
            let error = ReplyError::of(Code::TooManyChannels).limit(limit);
            return acts.push(Act::Send(Message::Error(id, error)));
        }
        match self.start_of(&channel, subscribe) {
            Ok(from) => self.follow(id, channel, from, acts),
            Err(code) => refuse(id, code, acts),
        }
    }

    fn start_of(&self, channel: &Channel, subscribe: &Subscribe) -> Result<From, Code> {
        if let Some(from) = self.bookmarked(channel) {
            return Ok(from);
        }
        let last = subscribe.last.map_or(0, |last| last as usize);
        match (&subscribe.cursor, subscribe.acked) {
            (Some(_), true) => Err(Code::BadRequest),
            (Some(_), false) if subscribe.last.is_some() => Err(Code::BadRequest),
            (Some(text), false) => {
                Ok(From::Cursor(Cursor::parse(text).map_err(|_| Code::BadCursor)?))
            }
            (None, true) => {
                let key = self.acknowledged_key(channel).ok_or(Code::NoSubscriber)?;
                Ok(From::Acked { key, last })
            }
            (None, false) if last > 0 => Ok(From::Last(last)),
            (None, false) => Ok(From::Now),
        }
    }

    /// Where the request that this session answers resumes the channel.
    pub(super) fn bookmarked(&self, channel: &Channel) -> Option<From> {
        let cursor = self.answers.as_ref()?.cursor(channel)?;
        Some(From::Cursor(cursor.clone()))
    }

    pub(super) fn acknowledged_key(&self, channel: &Channel) -> Option<AcknowledgedKey> {
        let State::Open(open) = &self.state else { return None };
        Some(AcknowledgedKey {
            tenant: open.identity.tenant.clone(),
            user: open.identity.user.clone(),
            subscriber: open.subscriber.clone()?,
            channel: channel.clone(),
        })
    }

    pub(super) fn follow(
        &mut self,
        id: Option<u64>,
        channel: Channel,
        from: From,
        acts: &mut Vec<Act>,
    ) {
        let op = self.begin();
        let starting = Subscription::Starting { op, id, from: from.clone() };
        self.subscriptions.insert(channel.clone(), starting);
        acts.push(Act::Follow { op, generation: self.generation, channel, from });
    }

    /// A channel was followed, or could not be; `generation` is that of the token that allowed it.
    pub(crate) fn followed(
        &mut self,
        op: OpId,
        generation: Generation,
        channel: Channel,
        result: Result<(), ReplyError>,
    ) -> Vec<Act> {
        self.in_flight -= 1;
        let mut acts = Vec::new();
        let (id, from) = match self.subscriptions.get(&channel) {
            Some(Subscription::Starting { op: wanted, id, from }) if *wanted == op => {
                (*id, from.clone())
            }
            // Unsubscribed meanwhile.
            _ => return vec![Act::Abandon { op }],
        };
        if self.is_closed() {
            return vec![Act::Abandon { op }];
        }
        if generation != self.generation {
            acts.push(Act::Abandon { op });
            self.follow(id, channel, from, &mut acts);
            return acts;
        }
        match result {
            Ok(()) => {
                self.subscriptions.insert(channel.clone(), Subscription::Active);
                acts.push(Act::Attach { op, channel, reply_to: id });
            }
            Err(error) => {
                self.subscriptions.remove(&channel);
                acts.push(match id {
                    Some(_) => Act::Send(Message::Error(id, error)),
                    None => {
                        let name = channel.as_str().to_owned();
                        let (code, action) = (error.code, error.action);
                        let ended = Message::Unsubscribed { id: None, channel: name, code, action };
                        Act::SendOn(channel, ended)
                    }
                });
            }
        }
        acts
    }

    pub(super) fn unsubscribe(&mut self, id: Option<u64>, channel: &str, acts: &mut Vec<Act>) {
        let Ok(channel) = Channel::parse(channel) else {
            return refuse(id, Code::BadChannel, acts);
        };
        match self.subscriptions.remove(&channel) {
            None => refuse(id, Code::NotSubscribed, acts),
            Some(subscription) => {
                match subscription {
                    Subscription::Active => acts.push(Act::Detach(channel.clone())),
                    // The subscribe that this overtook is answered too.
                    Subscription::Starting { id: Some(overtaken), .. } => {
                        refuse(Some(overtaken), Code::Requested, acts);
                    }
                    Subscription::Starting { id: None, .. } => {}
                }
                acts.push(ended(id, channel, Code::Requested));
            }
        }
    }

    pub(super) fn ack(&mut self, id: Option<u64>, ack: Ack, acts: &mut Vec<Act>) {
        let Ok(channel) = Channel::parse(&ack.channel) else {
            return refuse(id, Code::BadChannel, acts);
        };
        let Some(key) = self.acknowledged_key(&channel) else {
            return refuse(id, Code::NoSubscriber, acts);
        };
        match self.subscriptions.get(&channel) {
            Some(Subscription::Active) => {
                let op = self.begin();
                acts.push(Act::Ack { op, id, ack, key });
            }
            _ => refuse(id, Code::NotSubscribed, acts),
        }
    }

    /// Ends a subscription from the server's side.
    pub(crate) fn end(&mut self, channel: &Channel, code: Code) -> Vec<Act> {
        match self.subscriptions.remove(channel) {
            None => Vec::new(),
            Some(_) => vec![Act::Detach(channel.clone()), ended(None, channel.clone(), code)],
        }
    }
}
