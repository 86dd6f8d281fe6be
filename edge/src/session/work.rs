//! What takes time for a session: authorising, following, publishing, reading. Each is a future that
//! owns what it needs; none touches the connection.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use meridian_core::auth::{Action, Decision, Identity, TokenError};
use meridian_core::policy::DeliveryClass;
use meridian_core::protocol::{
    Ack, Code, EventView, HistoryPage, HistoryRequest, Message, PublishItem, Published, ReplyError,
};
use meridian_core::seams::{Acknowledged, AcknowledgedKey};
use meridian_core::vocabulary::{Channel, ChannelKey, Cursor, Event, Position, Stream};
use tokio::time::{Instant, sleep};

use super::machine::{Generation, OpId};
use crate::delivery::{From, ReadError, Stores, read_after, resolve};
use crate::hub::Pinned;
use crate::quota::SessionQuota;
use crate::tokens::code_of;
use crate::worker::Context;

/// A history read waits this long for a region that is not far enough.
const NOT_YET_WAIT: Duration = Duration::from_secs(2);
const HISTORY_DEFAULT: usize = 100;
const HISTORY_MOST: usize = 1000;

/// What came of a piece of work.
pub(crate) enum Done {
    Followed {
        op: OpId,
        /// How the subscription starts, for the metrics.
        start: &'static str,
        generation: Generation,
        channel: Channel,
        result: Result<Following, ReplyError>,
    },
    Authorised {
        generation: Generation,
        channel: Channel,
        decision: Decision,
    },
    /// The token that was to be checked.
    Verified(Result<Identity, Code>),
    Replied(Message),
    /// A history read's reply.
    Read(Message),
}

/// A channel that is followed, ready to be attached to.
pub(crate) struct Following {
    pub(crate) pin: Pin,
    pub(crate) stream: Stream,
    pub(crate) class: DeliveryClass,
    pub(crate) position: Position,
    /// The cursor up to which the region has applied the log, where that is below the position.
    pub(crate) behind: Option<String>,
}

/// Keeps a channel open while it is subscribed to.
pub(crate) struct Pin {
    pub(crate) pinned: Pinned,
    context: Rc<Context>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.context.hands.hub.borrow_mut().unpin(self.pinned, Instant::now());
    }
}

/// Whether the identity may, by the authoriser; an unknown namespace is like a forbidden one.
pub(crate) async fn authorise(
    context: &Context,
    identity: &Identity,
    action: Action,
    channel: &Channel,
) -> Result<DeliveryClass, Code> {
    let Some(policy) = context.node.stores.policies.of(channel) else {
        return Err(Code::Forbidden);
    };
    match context.node.authoriser.authorise(identity, action, channel).await {
        Decision::Allow => Ok(policy.class),
        Decision::Deny => Err(Code::Forbidden),
        Decision::Unavailable => Err(Code::AuthoriserUnavailable),
    }
}

/// Checks a token whose key has to be fetched first.
pub(crate) async fn verify(context: Rc<Context>, token: String, first: TokenError) -> Done {
    Done::Verified(context.node.tokens.verify_later(&token, first).await.map_err(code_of))
}

/// Takes a ticket for the token that it stands for.
pub(crate) async fn redeem(context: Rc<Context>, ticket: String) -> Done {
    Done::Verified(context.node.tokens.redeem(&ticket).await)
}

/// Authorises, opens the channel and finds where the subscription starts.
pub(crate) async fn follow(
    context: Rc<Context>,
    identity: Rc<Identity>,
    op: OpId,
    generation: Generation,
    channel: Channel,
    from: From,
) -> Done {
    let start = from.name();
    let result = prepare(&context, &identity, &channel, from).await;
    Done::Followed { op, start, generation, channel, result }
}

async fn prepare(
    context: &Rc<Context>,
    identity: &Identity,
    channel: &Channel,
    from: From,
) -> Result<Following, ReplyError> {
    let class =
        authorise(context, identity, Action::Subscribe, channel).await.map_err(ReplyError::of)?;
    let key = ChannelKey { tenant: identity.tenant.clone(), channel: channel.clone() };
    let stores = &context.node.stores;
    let stream = stores.stream(&key).ok_or_else(|| wrong_region(context, channel))?;
    let (pinned, ready) = context.hands.hub.borrow_mut().pin(&key, &stream, class);
    context.hands.ring();
    let pin = Pin { pinned, context: context.clone() };
    if ready.await.is_err() {
        return Err(ReplyError::of(Code::Unavailable));
    }
    if class == DeliveryClass::Ephemeral {
        let position = Position::start_of(stream.epoch);
        return Ok(Following { pin, stream, class, position, behind: None });
    }
    let position = start(context, &key, &stream, from).await?;
    let behind = behind(stores, &stream, position).await;
    Ok(Following { pin, stream, class, position, behind })
}

/// This region does not keep the channel's events: with those that do.
fn wrong_region(context: &Context, channel: &Channel) -> ReplyError {
    match context.node.stores.policies.of(channel) {
        Some(policy) => context.node.regions.wrong_region(&policy.zone),
        None => ReplyError::of(Code::WrongRegion),
    }
}

/// Where a reader starts. Searches for the newest events take turns.
async fn start(
    context: &Context,
    key: &ChannelKey,
    stream: &Stream,
    from: From,
) -> Result<Position, ReplyError> {
    let _turn = match from {
        From::Last(_) | From::Acked { .. } => context.searches.acquire().await.ok(),
        From::Now | From::Cursor(_) => None,
    };
    Ok(resolve(&context.node.stores, key, stream, from).await?.position)
}

/// How far the region is, if that is below the position.
pub(crate) async fn behind(stores: &Stores, stream: &Stream, position: Position) -> Option<String> {
    let marker = stores.backplane.marker(stream).await.ok().flatten();
    // The marker stands at the last event kept; only a position that is ahead of the log as this
    // region has worked it off is worth a word, so ask who knows that.
    if marker >= Some(position) {
        return None;
    }
    let checkpoints = stores.history.checkpoints(std::slice::from_ref(stream)).await.ok()?;
    let stored = checkpoints.get(&stream.partition).map(|stored| stored.position);
    // A region that is new has neither.
    let applied = stored.max(marker).unwrap_or(Position::start_of(stream.epoch));
    (position > applied).then(|| cursor_text(stream, applied))
}

fn cursor_text(stream: &Stream, position: Position) -> String {
    Cursor { log: stream.log.clone(), partition: stream.partition, position }.to_string()
}

/// Decides about a subscription anew.
pub(crate) async fn reauthorise(
    context: Rc<Context>,
    identity: Rc<Identity>,
    generation: Generation,
    channel: Channel,
) -> Done {
    let decision = match authorise(&context, &identity, Action::Subscribe, &channel).await {
        Ok(_) => Decision::Allow,
        Err(Code::AuthoriserUnavailable) => Decision::Unavailable,
        Err(_) => Decision::Deny,
    };
    Done::Authorised { generation, channel, decision }
}

/// Publishes for a session.
pub(crate) async fn publish(
    context: Rc<Context>,
    quota: Option<Rc<RefCell<SessionQuota>>>,
    whose: impl Fn() -> Option<(Generation, Rc<Identity>)>,
    id: Option<u64>,
    items: Vec<PublishItem>,
    batch: bool,
) -> Done {
    let publisher = &context.node.publisher;
    let mut results = publisher.publish_over(quota.as_deref(), whose, items).await;
    Done::Replied(if batch {
        Message::PublishedBatch { id, results }
    } else {
        match results.pop() {
            Some(Published::Stored { cursor }) => Message::Published { id, cursor },
            Some(Published::Refused(error)) => Message::Error(id, error),
            None => Message::Error(id, ReplyError::of(Code::Internal)),
        }
    })
}

/// Records an acknowledged position; `sent` is how far the session was sent.
pub(crate) async fn acknowledge(
    context: Rc<Context>,
    id: Option<u64>,
    ack: Ack,
    key: AcknowledgedKey,
    sent: Option<(Stream, Position)>,
) -> Done {
    let result = record_ack(&context, &ack, key, sent).await;
    Done::Replied(match result {
        Ok(()) => Message::Acked { id, channel: ack.channel },
        Err(code) => Message::Error(id, ReplyError::of(code)),
    })
}

async fn record_ack(
    context: &Context,
    ack: &Ack,
    key: AcknowledgedKey,
    sent: Option<(Stream, Position)>,
) -> Result<(), Code> {
    let cursor = Cursor::parse(&ack.cursor).map_err(|_| Code::BadCursor)?;
    let (stream, sent) = sent.ok_or(Code::NotSubscribed)?;
    if cursor.log != stream.log || cursor.partition != stream.partition {
        return Err(Code::ForeignCursor);
    }
    if cursor.position > sent {
        return Err(Code::AckAhead);
    }
    let history = &context.node.stores.history;
    let recorded = history.acknowledged(&key).await.map_err(|_| Code::Unavailable)?;
    let generation = recorded.map_or(0, |recorded| recorded.generation) + u64::from(ack.reset);
    let acknowledged = Acknowledged { generation, cursor };
    let merging = history.acknowledge(vec![(key.clone(), acknowledged.clone())]);
    let higher = merging.await.map_err(|_| Code::Unavailable)?.pop();
    let (key, merged) = higher.unwrap_or((key, acknowledged));
    context.node.acks.offer(key, merged);
    Ok(())
}

/// Reads a page of history for a session.
pub(crate) async fn history(
    context: Rc<Context>,
    identity: Rc<Identity>,
    id: Option<u64>,
    request: HistoryRequest,
) -> Done {
    Done::Read(match history_page(&context, &identity, request).await {
        Ok(page) => Message::History(id, page),
        Err(error) => Message::Error(id, error),
    })
}

async fn history_page(
    context: &Context,
    identity: &Identity,
    request: HistoryRequest,
) -> Result<HistoryPage, ReplyError> {
    let channel = Channel::parse(&request.channel).map_err(|_| ReplyError::of(Code::BadChannel))?;
    let class =
        authorise(context, identity, Action::Subscribe, &channel).await.map_err(ReplyError::of)?;
    if class == DeliveryClass::Ephemeral {
        return Err(ReplyError::of(Code::Unsupported));
    }
    let key = ChannelKey { tenant: identity.tenant.clone(), channel };
    read_history(context, &key, &request).await
}

/// Reads a page of a stored channel, which the caller may read.
pub(crate) async fn read_history(
    context: &Context,
    key: &ChannelKey,
    request: &HistoryRequest,
) -> Result<HistoryPage, ReplyError> {
    let stores = &context.node.stores;
    let stream = stores.stream(key).ok_or_else(|| wrong_region(context, &key.channel))?;
    let limit =
        request.limit.map_or(HISTORY_DEFAULT, |limit| limit as usize).clamp(1, HISTORY_MOST);
    let (after, limit) = match (&request.after, request.last) {
        (Some(text), None) => {
            let cursor = Cursor::parse(text).map_err(|_| ReplyError::of(Code::BadCursor))?;
            let start = resolve(stores, key, &stream, From::Cursor(cursor)).await?;
            (start.position, limit)
        }
        (None, Some(last)) => {
            let last = (last as usize).min(HISTORY_MOST);
            (start(context, key, &stream, From::Last(last)).await?, last.max(1))
        }
        _ => return Err(ReplyError::of(Code::BadRequest)),
    };
    read_page(stores, key, &stream, after, limit).await
}

pub(crate) async fn read_page(
    stores: &Stores,
    key: &ChannelKey,
    stream: &Stream,
    after: Position,
    limit: usize,
) -> Result<HistoryPage, ReplyError> {
    let deadline = Instant::now() + NOT_YET_WAIT;
    loop {
        match read_after(stores, key, stream, after, limit).await {
            Ok(read) => {
                let landing = Stream { epoch: read.position.epoch, ..stream.clone() };
                return Ok(HistoryPage {
                    channel: key.channel.as_str().to_owned(),
                    stream: landing.to_string(),
                    position: read.position,
                    events: read.events.iter().map(|event| view(event)).collect(),
                    gone: read.gone.map(|gone| {
                        (crate::hub::reason_name(gone.reason).to_owned(), gone.through)
                    }),
                    more: read.more,
                });
            }
            Err(ReadError::Unavailable) => return Err(ReplyError::of(Code::Unavailable)),
            Err(ReadError::NotYet { applied }) if Instant::now() >= deadline => {
                let applied = cursor_text(stream, applied);
                return Err(ReplyError::of(Code::NotYet).applied(applied).retry_after(1000));
            }
            Err(ReadError::NotYet { .. }) => sleep(Duration::from_millis(20)).await,
        }
    }
}

fn view(event: &Event) -> EventView {
    EventView {
        at: Some((event.offset, event.prev)),
        time_ms: event.time_ms,
        id: Some(event.id.as_str().to_owned()),
        body: event.body.clone(),
    }
}
