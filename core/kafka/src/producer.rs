//! One librdkafka producer and what it reports. Owns the step from the client's errors to what is true
//! of a record; the queue in front is `writer`'s.

use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use meridian_core::seams::AppendError;
use meridian_core::vocabulary::Offset;
use rdkafka::ClientContext;
use rdkafka::Message as _;
use rdkafka::client::Client;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};

use crate::call::{Answer, Ticket};
use crate::context;
use crate::options::Options;
use crate::outbox::Load;

/// Who is told what became of the records.
pub(crate) trait Landed: Send + Sync + 'static {
    fn landed(&self, generation: u64, load: &Load, answer: &Answer);
}

/// A record on its way.
pub(crate) struct Letter {
    pub(crate) key: Vec<u8>,
    pub(crate) stored: Bytes,
    pub(crate) ticket: Ticket,
}

/// A record that the client has.
pub(crate) struct Handed {
    load: Load,
    ticket: Ticket,
}

/// A producer. Dropping it gives up what it holds, and blocks for up to a second.
pub(crate) struct Producer<L: Landed> {
    client: ThreadedProducer<Deliveries<L>>,
}

/// Receives what the client reports, on the client's own thread.
pub(crate) struct Deliveries<L> {
    owner: Weak<L>,
    generation: u64,
    /// The producer has its id and may send.
    has_id: AtomicBool,
}

impl<L: Landed> Producer<L> {
    pub(crate) fn connect(
        options: &Options,
        owner: Weak<L>,
        generation: u64,
    ) -> Result<Self, KafkaError> {
        let context = Deliveries { owner, generation, has_id: AtomicBool::new(false) };
        let client = options.producer().create_with_context(context)?;
        Ok(Self { client })
    }

    /// Whether the first record would have to wait for the producer's id.
    pub(crate) fn is_warm(&self) -> bool {
        self.client.client().context().has_id.load(Ordering::Relaxed)
    }

    /// No record will be stored by this producer any more.
    pub(crate) fn is_broken(&self) -> bool {
        self.client.client().fatal_error().is_some()
    }

    pub(crate) fn client(&self) -> &Client<Deliveries<L>> {
        self.client.client()
    }

    /// Hands a record over; never blocks. What the client does not take comes back.
    pub(crate) fn send(
        &self,
        topic: &str,
        load: Load,
        letter: Letter,
    ) -> Result<(), (Load, Ticket, AppendError)> {
        let Letter { key, stored, mut ticket } = letter;
        ticket.hand_over();
        let partition = load.partition as i32;
        let handed = Box::new(Handed { load, ticket });
        let record = BaseRecord::with_opaque_to(topic, handed)
            .partition(partition)
            .key(&key)
            .payload(&stored[..]);
        match self.client.send(record) {
            Ok(()) => Ok(()),
            Err((error, record)) => {
                tracing::warn!(%error, topic, "a record can't be handed to kafka");
                let Handed { load, ticket } = *record.delivery_opaque;
                Err((load, ticket, AppendError::Unavailable))
            }
        }
    }
}

impl<L: Landed> ClientContext for Deliveries<L> {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        context::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        context::report(&error, reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        if !self.has_id.load(Ordering::Relaxed) {
            let assigned = br#""idemp_state": "Assigned""#;
            let has_id = statistics.windows(assigned.len()).any(|window| window == assigned);
            self.has_id.store(has_id, Ordering::Relaxed);
        }
    }
}

impl<L: Landed> ProducerContext for Deliveries<L> {
    type DeliveryOpaque = Box<Handed>;

    fn delivery(&self, result: &DeliveryResult<'_>, handed: Box<Handed>) {
        let answer = match result {
            Ok(message) => {
                u64::try_from(message.offset()).map(Offset).map_err(|_| AppendError::OutcomeUnknown)
            }
            Err((error, _)) => Err(outcome(error)),
        };
        let Handed { load, ticket } = *handed;
        if let Some(owner) = self.owner.upgrade() {
            owner.landed(self.generation, &load, &answer);
        }
        ticket.answer(answer);
    }
}

/// What is true of a record that came back.
fn outcome(error: &KafkaError) -> AppendError {
    match error.rdkafka_error_code() {
        // Refused by the broker for what it is, at each try.
        Some(code @ (RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidRecord)) => {
            tracing::warn!(?code, "kafka refused a record");
            AppendError::Unavailable
        }
        _ => AppendError::OutcomeUnknown,
    }
}
