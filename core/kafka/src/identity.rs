//! A topic's id and partition count, which the safe interface lacks. The only module with unsafe code;
//! it owns every native object for the length of one call.
#![expect(unsafe_code, reason = "topic ids exist only in librdkafka's C interface")]

use std::ffi::{CStr, CString, c_char};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::bindings as native;
use rdkafka::client::Client;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// A topic as the cluster describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) id: String,
    pub(crate) partitions: u32,
}

/// Asks the cluster for a topic; blocks up to `timeout`. `None`: there is no such topic.
pub(crate) fn describe<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> Result<Option<Described>, KafkaError> {
    let name = CString::new(topic)?;
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let request = Request::new(client, timeout_ms)?;
    let mut names = [name.as_ptr()];
    // SAFETY: `names` holds one valid C string; librdkafka copies it. The collection is destroyed
    // right after the request, which copies it as well. All pointers of `request` are live.
    let event = unsafe {
        let topics = native::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1);
        native::rd_kafka_DescribeTopics(
            client.native_ptr(),
            topics,
            request.options,
            request.queue,
        );
        native::rd_kafka_TopicCollection_destroy(topics);
        native::rd_kafka_queue_poll(request.queue, timeout_ms.saturating_add(500))
    };
    if event.is_null() {
        return Err(KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut));
    }
    let event = Event(event);
    event.only_topic()
}

/// The objects that a request needs.
struct Request {
    queue: *mut native::rd_kafka_queue_t,
    options: *mut native::rd_kafka_AdminOptions_t,
}

struct Event(*mut native::rd_kafka_event_t);

impl Request {
    fn new<C: ClientContext>(client: &Client<C>, timeout_ms: i32) -> Result<Self, KafkaError> {
        let operation = native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let mut text = [0 as c_char; 256];
        // SAFETY: the client outlives the call; both objects are destroyed by `drop`.
        let request = unsafe {
            Self {
                queue: native::rd_kafka_queue_new(client.native_ptr()),
                options: native::rd_kafka_AdminOptions_new(client.native_ptr(), operation),
            }
        };
        if request.queue.is_null() || request.options.is_null() {
            return Err(KafkaError::AdminOpCreation("describe topics".to_owned()));
        }
        // SAFETY: `options` is live, `text` is as long as it says.
        let set = unsafe {
            native::rd_kafka_AdminOptions_set_request_timeout(
                request.options,
                timeout_ms,
                text.as_mut_ptr(),
                text.len(),
            )
        };
        check(set)?;
        Ok(request)
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // SAFETY: made by `new`, destroyed once; an answer that comes later holds the queue itself.
        unsafe {
            if !self.options.is_null() {
                native::rd_kafka_AdminOptions_destroy(self.options);
            }
            if !self.queue.is_null() {
                native::rd_kafka_queue_destroy(self.queue);
            }
        }
    }
}

impl Event {
    fn only_topic(&self) -> Result<Option<Described>, KafkaError> {
        // SAFETY: the event is live, and so is everything that is read out of it.
        unsafe {
            check(native::rd_kafka_event_error(self.0))?;
            let result = native::rd_kafka_event_DescribeTopics_result(self.0);
            if result.is_null() {
                return Err(KafkaError::Canceled);
            }
            let mut count = 0;
            let topics = native::rd_kafka_DescribeTopics_result_topics(result, &mut count);
            if topics.is_null() || count == 0 {
                return Err(KafkaError::Canceled);
            }
            let topic = *topics;
            let error = native::rd_kafka_TopicDescription_error(topic);
            if !error.is_null() {
                return match check(native::rd_kafka_error_code(error)) {
                    Err(KafkaError::AdminOp(code)) if is_missing(code) => Ok(None),
                    Err(error) => Err(error),
                    Ok(()) => Self::described(topic).map(Some),
                };
            }
            Self::described(topic).map(Some)
        }
    }

    /// # Safety
    /// `topic` belongs to a live event.
    unsafe fn described(
        topic: *const native::rd_kafka_TopicDescription_t,
    ) -> Result<Described, KafkaError> {
        // SAFETY: the id and its text belong to the description.
        unsafe {
            let text =
                native::rd_kafka_Uuid_base64str(native::rd_kafka_TopicDescription_topic_id(topic));
            if text.is_null() {
                return Err(KafkaError::Canceled);
            }
            let mut partitions = 0;
            native::rd_kafka_TopicDescription_partitions(topic, &mut partitions);
            let id = CStr::from_ptr(text).to_string_lossy().into_owned();
            Ok(Described { id, partitions: u32::try_from(partitions).unwrap_or(u32::MAX) })
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: polled once, destroyed once.
        unsafe { native::rd_kafka_event_destroy(self.0) };
    }
}

fn check(error: native::rd_kafka_resp_err_t) -> Result<(), KafkaError> {
    match RDKafkaErrorCode::from(error) {
        RDKafkaErrorCode::NoError => Ok(()),
        code => Err(KafkaError::AdminOp(code)),
    }
}

fn is_missing(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition
    )
}
