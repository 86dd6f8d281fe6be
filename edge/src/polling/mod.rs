//! Polling of channels: the newest event, or those after a cursor, at the pace that the policy sets, from
//! answers that all pollers of a node share. Nothing here is a session.

mod cache;
mod pace;

use std::hash::{BuildHasher as _, RandomState};
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use meridian_core::auth::{Action, Identity};
use meridian_core::policy::DeliveryClass;
use meridian_core::protocol::{
    Code, Codec, HistoryPage, HistoryRequest, Message, ReplyError, encode_message,
};
use meridian_core::vocabulary::{Channel, ChannelKey, Cursor, Position};

use crate::session::{authorise, read_history};
use crate::worker::Context;
use cache::Cache;
use pace::Pace;

pub(crate) use cache::Answer;

const EVENTS_MOST: u32 = 100;

/// What is asked of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Question {
    Latest,
    After { cursor: Cursor, limit: u32 },
}

/// What a node's polls share.
#[derive(Default)]
pub(crate) struct Polling {
    cache: Mutex<Cache>,
    pace: Mutex<Pace>,
    hasher: RandomState,
}

/// An answer, and after which time the next may be asked for.
pub(crate) struct Polled {
    pub(crate) answer: Answer,
    pub(crate) interval: Duration,
}

/// Why there is none, and the same.
pub(crate) struct Refused {
    pub(crate) error: ReplyError,
    pub(crate) interval: Option<Duration>,
}

impl From<ReplyError> for Refused {
    fn from(error: ReplyError) -> Self {
        Self { error, interval: None }
    }
}

impl Question {
    /// Reads the last part of the address and the query; `None`: there is no such address.
    pub(crate) fn parse(
        what: &str,
        query: impl Fn(&str) -> Option<String>,
    ) -> Option<Result<Self, Code>> {
        match what {
            "latest" => Some(Ok(Self::Latest)),
            "events" => Some(Self::after(query)),
            _ => None,
        }
    }

    fn after(query: impl Fn(&str) -> Option<String>) -> Result<Self, Code> {
        let cursor = query("after").ok_or(Code::BadRequest)?;
        let cursor = Cursor::parse(&cursor).map_err(|_| Code::BadCursor)?;
        let limit = query("limit").map_or(Ok(EVENTS_MOST), |text| text.parse());
        let limit = limit.ok().filter(|limit| (1..=EVENTS_MOST).contains(limit));
        Ok(Self::After { cursor, limit: limit.ok_or(Code::BadRequest)? })
    }

    fn request(&self, channel: &Channel) -> HistoryRequest {
        let channel = channel.as_str().to_owned();
        match self {
            Self::Latest => HistoryRequest { channel, last: Some(1), ..HistoryRequest::default() },
            Self::After { cursor, limit } => HistoryRequest {
                channel,
                after: Some(cursor.to_string()),
                limit: Some(*limit),
                ..HistoryRequest::default()
            },
        }
    }
}

impl Polling {
    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers a poll.
pub(crate) async fn poll(
    context: &Rc<Context>,
    identity: &Identity,
    channel: &str,
    question: Question,
) -> Result<Polled, Refused> {
    let polled = answer(context, identity, channel, question).await;
    if let Err(refused) = &polled {
        let early = refused.error.code == Code::RateLimited.name();
        context.node.metrics.polled(if early { "early" } else { "refused" });
    }
    polled
}

async fn answer(
    context: &Rc<Context>,
    identity: &Identity,
    channel: &str,
    question: Question,
) -> Result<Polled, Refused> {
    let channel = Channel::parse(channel).map_err(|_| ReplyError::of(Code::BadChannel))?;
    let class = authorise(context, identity, Action::Subscribe, &channel).await;
    let class = class.map_err(ReplyError::of)?;
    let policies = &context.node.stores.policies;
    let polling_ms = policies.of(&channel).map_or(0, |policy| policy.polling_ms);
    if polling_ms == 0 || class == DeliveryClass::Ephemeral {
        return Err(ReplyError::of(Code::Unsupported).into());
    }
    let interval = Duration::from_millis(polling_ms);
    let polling = &context.node.polling;
    let key = ChannelKey { tenant: identity.tenant.clone(), channel };
    let who = polling.hasher.hash_one((&key, &identity.user, &identity.device));
    let taken = polling.pace().take(who, interval, Instant::now());
    if let Err(wait) = taken {
        let error = ReplyError::of(Code::RateLimited)
            .retry_after(wait.as_millis() as u64 + 1)
            .limit(polling_ms);
        return Err(Refused { error, interval: Some(interval) });
    }
    let slot = polling.cache().slot((key.clone(), question.clone()), interval, Instant::now());
    let answer = slot.get_or_try_init(|| read(context, &key, &question)).await;
    let answer = answer.map_err(|error| Refused { error, interval: Some(interval) })?;
    Ok(Polled { answer: answer.clone(), interval })
}

async fn read(
    context: &Rc<Context>,
    key: &ChannelKey,
    question: &Question,
) -> Result<Answer, ReplyError> {
    context.node.metrics.poll_read();
    let page = read_history(context, key, &question.request(&key.channel)).await?;
    let message = Message::History(None, steady(page, question));
    let answer = Answer::new(encode_message(Codec::Json, &message).into());
    context.node.polling.cache().weigh(answer.body.len());
    Ok(answer)
}

/// The page without what the store vouches for beyond it: that moves with other channels' events, and
/// what has not changed must look as it did.
fn steady(mut page: HistoryPage, question: &Question) -> HistoryPage {
    page.more &= *question != Question::Latest;
    let last = page.events.last().and_then(|event| event.at);
    let known = match (last, &page.gone, question) {
        (Some((offset, _)), ..) => Some(Position::at(page.position.epoch, offset)),
        (None, Some((_, through)), _) => Some(*through),
        (None, None, Question::After { cursor, .. }) => Some(cursor.position),
        (None, None, Question::Latest) => None,
    };
    if let Some(known) = known.filter(|known| known.epoch == page.position.epoch) {
        page.position = known;
    }
    page
}
