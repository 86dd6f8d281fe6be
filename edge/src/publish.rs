//! Publishing, the same for every transport: authorise, check against the policy, make records, hand
//! them to the log, say what became of each. Never retries: the client does, with the same id.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use meridian_core::auth::{Action, Authoriser, Decision, Identity};
use meridian_core::mode::Mode;
use meridian_core::policy::{
    CONTENT_TYPE_BYTES_MOST, DeliveryClass, EVENT_KEY_BYTES_MOST, HEADER_BYTES_MOST, HEADERS_MOST,
    Policy, TRACE_BYTES_MOST,
};
use meridian_core::protocol::{Code, PublishItem, Published, ReplyError, check_payload};
use meridian_core::seams::{AppendError, Ephemeral, Log};
use meridian_core::vocabulary::{Body, Channel, ChannelKey, Encoding, EventId, EventKind, Record};

use crate::clock::now_ms;
use crate::delivery::Stores;
use crate::metrics::Metrics;
use crate::modes::Modes;
use crate::quota::{Quotas, SessionQuota};
use crate::regions::Regions;

/// The node's publisher.
pub(crate) struct Publisher {
    pub(crate) stores: Stores,
    pub(crate) authoriser: Arc<dyn Authoriser>,
    pub(crate) regions: Arc<Regions>,
    pub(crate) modes: Arc<Modes>,
    pub(crate) horizon_ms: u64,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) quotas: Arc<Quotas>,
}

/// An event that passed every check.
enum Ready {
    Stored(Arc<dyn Log>, Record),
    Ephemeral(Ephemeral),
}

impl Publisher {
    /// Publishes in order; answers one result per item. `whose` tells the identity as it is now: a
    /// decision taken under an older token is taken again.
    pub(crate) async fn publish(
        &self,
        whose: impl Fn() -> Option<(u32, Rc<Identity>)>,
        items: Vec<PublishItem>,
    ) -> Vec<Published> {
        self.publish_over(None, whose, items).await
    }

    /// The same over a session, which has quotas of its own.
    pub(crate) async fn publish_over(
        &self,
        session: Option<&RefCell<SessionQuota>>,
        whose: impl Fn() -> Option<(u32, Rc<Identity>)>,
        items: Vec<PublishItem>,
    ) -> Vec<Published> {
        let started = std::time::Instant::now();
        if let Some((_, identity)) = whose()
            && let Err(exceeded) = self.quotas.publish(&identity, session, size_of(&items), started)
        {
            let refused = Published::Refused(exceeded.told(Code::RateLimited));
            let results = vec![refused; items.len()];
            self.metrics.published(&results, started.elapsed());
            return results;
        }
        let ready = loop {
            let Some((generation, identity)) = whose() else {
                return refuse_all(items.len(), Code::Unauthenticated);
            };
            let mut ready = Vec::with_capacity(items.len());
            for item in &items {
                ready.push(self.check(&identity, item).await);
            }
            if whose().is_some_and(|(now, _)| now == generation) {
                break ready;
            }
        };
        let results = self.hand_over(ready).await;
        self.metrics.published(&results, started.elapsed());
        results
    }

    async fn check(&self, identity: &Identity, item: &PublishItem) -> Result<Ready, ReplyError> {
        let channel =
            Channel::parse(&item.channel).map_err(|_| ReplyError::of(Code::BadChannel))?;
        let forbidden = || ReplyError::of(Code::Forbidden);
        let policy = self.stores.policies.of(&channel).ok_or_else(forbidden)?;
        match self.authoriser.authorise(identity, Action::Publish, &channel).await {
            Decision::Allow => {}
            Decision::Deny => return Err(forbidden()),
            Decision::Unavailable => return Err(ReplyError::of(Code::AuthoriserUnavailable)),
        }
        if self.modes.of(&channel) == Mode::ReadOnly {
            return Err(ReplyError::of(Code::ReadOnly));
        }
        check_item(item, policy, self.horizon_ms)?;
        let key = ChannelKey { tenant: identity.tenant.clone(), channel };
        let body = body_of(item, policy, identity).encode();
        if policy.class == DeliveryClass::Ephemeral {
            return Ok(Ready::Ephemeral(Ephemeral { key, time_ms: now_ms(), body }));
        }
        let id = match &item.id {
            Some(id) => EventId::parse(id).map_err(|_| ReplyError::of(Code::BadRequest))?,
            None => random_id(),
        };
        let log = self.stores.log(&key.channel);
        let log = log.ok_or_else(|| self.regions.wrong_region(&policy.zone))?.clone();
        let epoch = log.incarnation().epoch;
        Ok(Ready::Stored(log, Record { key, scope: identity.scope.clone(), id, epoch, body }))
    }

    async fn hand_over(&self, ready: Vec<Result<Ready, ReplyError>>) -> Vec<Published> {
        let mut results = Vec::with_capacity(ready.len());
        let mut appends: Vec<Append> = Vec::new();
        for (place, ready) in ready.into_iter().enumerate() {
            results.push(match ready {
                Err(error) => Published::Refused(error),
                Ok(Ready::Ephemeral(event)) => {
                    match self.stores.backplane.send(Arc::new(event)).await {
                        Ok(()) => Published::Stored { cursor: None },
                        Err(_) => Published::Refused(ReplyError::of(Code::NotStored)),
                    }
                }
                Ok(Ready::Stored(log, record)) => {
                    let same = appends.iter_mut().find(|append| Arc::ptr_eq(&append.log, &log));
                    match same {
                        Some(append) => append.add(record, place),
                        None => appends.push(Append::new(log, record, place)),
                    }
                    // Replaced by the log's answer.
                    Published::Refused(ReplyError::of(Code::OutcomeUnknown))
                }
            });
        }
        for Append { log, records, places } in appends {
            let answers = log.append(records).await;
            for (place, answer) in places.into_iter().zip(answers) {
                results[place] = match answer {
                    Ok(appended) => Published::Stored { cursor: Some(appended.cursor.to_string()) },
                    Err(error) => Published::Refused(append_error(&error)),
                };
            }
        }
        results
    }
}

/// The records of a batch that go to one log, and where their answers go.
struct Append {
    log: Arc<dyn Log>,
    records: Vec<Record>,
    places: Vec<usize>,
}

impl Append {
    fn new(log: Arc<dyn Log>, record: Record, place: usize) -> Self {
        Self { log, records: vec![record], places: vec![place] }
    }

    fn add(&mut self, record: Record, place: usize) {
        self.records.push(record);
        self.places.push(place);
    }
}

/// Events, and bytes of their payloads.
fn size_of(items: &[PublishItem]) -> (u32, u32) {
    let bytes: usize = items.iter().map(|item| item.content.data.len()).sum();
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    (number(items.len()), number(bytes))
}

fn refuse_all(count: usize, code: Code) -> Vec<Published> {
    vec![Published::Refused(ReplyError::of(code)); count]
}

fn append_error(error: &AppendError) -> ReplyError {
    match error {
        AppendError::Overloaded { retry_after_ms } => {
            ReplyError::of(Code::Overloaded).retry_after(*retry_after_ms)
        }
        AppendError::Unavailable => ReplyError::of(Code::LogUnavailable).retry_after(1000),
        AppendError::Halted => ReplyError::of(Code::LogHalted),
        AppendError::OutcomeUnknown => ReplyError::of(Code::OutcomeUnknown),
        AppendError::WrongEpoch => ReplyError::of(Code::NotStored).retry_after(1000),
    }
}

/// Everything about an item that its policy and the protocol fix.
fn check_item(item: &PublishItem, policy: &Policy, horizon_ms: u64) -> Result<(), ReplyError> {
    let bad = || ReplyError::of(Code::BadRequest);
    if item.encoding != Encoding::Plain {
        return Err(ReplyError::of(Code::Unsupported));
    }
    if item.content.data.len() > policy.event_bytes {
        return Err(ReplyError::of(Code::EventTooLarge).limit(policy.event_bytes as u64));
    }
    let headers: usize = item.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if item.headers.len() > HEADERS_MOST || headers > HEADER_BYTES_MOST {
        return Err(bad());
    }
    let fits = |text: &Option<String>, most| text.as_ref().is_none_or(|text| text.len() <= most);
    if !fits(&item.key, EVENT_KEY_BYTES_MOST)
        || !fits(&item.trace, TRACE_BYTES_MOST)
        || !fits(&item.content.content_type, CONTENT_TYPE_BYTES_MOST)
    {
        return Err(bad());
    }
    let keyed = item.kind == EventKind::Remove || policy.class == DeliveryClass::Feed;
    if keyed && item.key.is_none() {
        return Err(bad());
    }
    if item.age_ms > horizon_ms {
        return Err(ReplyError::of(Code::HorizonPassed).limit(horizon_ms));
    }
    let media_type = item.content.content_type.as_deref().unwrap_or("application/json");
    check_payload(media_type, &item.content.data).map_err(|_| ReplyError::of(Code::BadPayload))
}

fn body_of(item: &PublishItem, policy: &Policy, identity: &Identity) -> Body {
    Body {
        kind: item.kind,
        key: item.key.clone(),
        headers: item.headers.clone(),
        content_type: item.content.content_type.clone(),
        encoding: item.encoding,
        data: item.content.data.clone(),
        publisher: Some(identity.user.as_str().to_owned()),
        trace: item.trace.clone(),
        bounds: (policy.class == DeliveryClass::Feed).then_some(policy.feed),
        evicts: Vec::new(),
    }
}

/// For a publisher that gave none: its retries cannot be told from new events.
fn random_id() -> EventId {
    let bytes: [u8; 12] = rand::random();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    EventId::parse(&hex).expect("invariant: hex digits are within the grammar")
}

/// The class's name on the wire.
pub(crate) fn class_name(class: DeliveryClass) -> &'static str {
    match class {
        DeliveryClass::Strict => "strict",
        DeliveryClass::Ephemeral => "ephemeral",
        DeliveryClass::Feed => "feed",
    }
}
