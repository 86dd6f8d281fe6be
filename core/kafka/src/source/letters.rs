//! Dead letters: records that can't become events, as they were, with the reason in their headers.

use futures_util::future::try_join_all;
use meridian_core::seams::DeadLetter;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::SourceOptions;
use crate::context::Context;

/// Sends to one topic.
pub(super) struct Letters {
    producer: FutureProducer<Context>,
    topic: String,
    source: String,
}

impl Letters {
    pub(super) fn open(options: &SourceOptions) -> Result<Self, KafkaError> {
        let mut config = options.kafka.note_taker();
        // A letter is as large as the record was, and its headers more.
        config.set("message.max.bytes", "10485760");
        let producer = config.create_with_context(Context)?;
        let (topic, source) = (options.dead_letter_topic.clone(), options.topic.clone());
        Ok(Self { producer, topic, source })
    }

    pub(super) async fn send(&self, letters: Vec<DeadLetter>) -> Result<(), KafkaError> {
        try_join_all(letters.iter().map(|letter| self.send_one(letter))).await.map(|_| ())
    }

    async fn send_one(&self, letter: &DeadLetter) -> Result<(), KafkaError> {
        let record = &letter.record;
        let own = [
            ("meridian-reason", letter.reason.clone()),
            ("meridian-source", self.source.clone()),
            ("meridian-partition", record.partition.to_string()),
            ("meridian-offset", record.offset.to_string()),
            ("meridian-generation", letter.generation.to_string()),
        ];
        let mut headers = OwnedHeaders::new();
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: Some(&value[..]) });
        }
        for (key, value) in &own {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let mut sent: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&self.topic).headers(headers);
        sent.key = record.key.as_deref();
        sent.payload = record.payload.as_deref();
        let sending = self.producer.send(sent, std::time::Duration::from_secs(5));
        sending.await.map(|_| ()).map_err(|(error, _)| error)
    }
}
