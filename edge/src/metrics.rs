//! The edge's metrics: their names, labels and units. Handles are made once; hot paths count in
//! their own worker and hand in sums.

use std::time::Duration;

use meridian_core::acks::AckCounts;
use meridian_core::protocol::{Code, Fallback, Published, ReplyError};
use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

use crate::hub::Counters;
use crate::ops::PartState;

const TRANSPORTS: [&str; 4] = ["webtransport", "websocket", "sse", "longpoll"];
const RECONNECT_CAUSES: [&str; 6] = ["network", "heartbeat", "drain", "server", "wake", "refresh"];
const REDIRECT_REASONS: [&str; 3] = ["zone", "overload", "drain"];
const FALLBACK_REASONS: [&str; 5] = ["unsupported", "failed", "timeout", "remembered", "forced"];

/// The edge's metric handles.
pub(crate) struct Metrics {
    commands: Counter,
    published: Counter,
    publish_seconds: Histogram,
    delivered_events: Counter,
    delivered_bytes: Counter,
    delivery_seconds: Histogram,
    gaps: Counter,
    skipped: Counter,
    repairs: Counter,
    pages: Counter,
    page_events: Counter,
}

/// A read of a channel's hot history.
pub(crate) fn backplane_read(took: Duration) {
    histogram!("meridian_backplane_read_seconds").record(took.as_secs_f64());
}

/// How the parts behind the node are doing.
pub(crate) fn parts(parts: &[PartState]) {
    for PartState { part, ready, .. } in parts {
        let ready = if *ready { 1.0 } else { 0.0 };
        gauge!("meridian_part_ready", "part" => part.clone()).set(ready);
    }
}

/// What became of a log's acknowledged positions on their way out.
pub(crate) fn acks(log: &str, counts: AckCounts) {
    let labels = [("log", log.to_owned())];
    counter!("meridian_acks_sent_total", &labels).increment(counts.sent);
    counter!("meridian_ack_send_failures_total", &labels).increment(counts.failures);
    counter!("meridian_acks_dropped_total", &labels).increment(counts.dropped);
    gauge!("meridian_acks_waiting", &labels).set(counts.waiting as f64);
}

impl Metrics {
    pub(crate) fn new() -> Self {
        describe();
        Self {
            commands: counter!("meridian_commands_total"),
            published: counter!("meridian_events_in_total"),
            publish_seconds: histogram!("meridian_publish_seconds"),
            delivered_events: counter!("meridian_events_out_total"),
            delivered_bytes: counter!("meridian_bytes_out_total"),
            delivery_seconds: histogram!("meridian_delivery_seconds"),
            gaps: counter!("meridian_gaps_total"),
            skipped: counter!("meridian_skipped_total"),
            repairs: counter!("meridian_hub_repairs_total"),
            pages: counter!("meridian_history_pages_total"),
            page_events: counter!("meridian_history_page_events_total"),
        }
    }

    pub(crate) fn commands(&self, count: usize) {
        self.commands.increment(count as u64);
    }

    /// An error told to a client; one that names other regions sends it there.
    pub(crate) fn refused(&self, error: &ReplyError) {
        let code = error.known_code();
        // Only names from the table become labels.
        let name = code.map_or("other", Code::name);
        counter!("meridian_refusals_total", "code" => name).increment(1);
        match code {
            _ if error.elsewhere.is_empty() => {}
            Some(Code::WrongRegion) => self.redirected("zone"),
            Some(Code::TooManySessions) => self.redirected("overload"),
            _ => {}
        }
    }

    /// A connection that was not taken.
    pub(crate) fn turned_away(&self) {
        self.refused(&ReplyError::of(Code::TooManySessions));
    }

    /// A poll of a channel was answered.
    pub(crate) fn polled(&self, outcome: &'static str) {
        counter!("meridian_polls_total", "outcome" => outcome).increment(1);
    }

    /// A poll's answer was not there and is read.
    pub(crate) fn poll_read(&self) {
        counter!("meridian_poll_reads_total").increment(1);
    }

    /// A client was sent elsewhere.
    pub(crate) fn redirected(&self, reason: &str) {
        let reason = known(&REDIRECT_REASONS, reason);
        counter!("meridian_redirects_total", "reason" => reason).increment(1);
    }

    /// A client came, and says why a server sent it.
    pub(crate) fn came_redirected(&self, reason: Option<&str>) {
        let Some(reason) = reason else { return };
        let reason = known(&REDIRECT_REASONS, reason);
        counter!("meridian_redirected_total", "reason" => reason).increment(1);
    }

    pub(crate) fn published(&self, results: &[Published], took: Duration) {
        let stored = results.iter().filter(|r| matches!(r, Published::Stored { .. })).count();
        self.published.increment(stored as u64);
        self.publish_seconds.record(took.as_secs_f64());
    }

    /// From an event's append to the worker's fan-out.
    pub(crate) fn delivery(&self, took: Duration) {
        self.delivery_seconds.record(took.as_secs_f64());
    }

    pub(crate) fn connections(&self, transport: &'static str) -> Gauge {
        gauge!("meridian_connections", "transport" => transport)
    }

    pub(crate) fn session_started(&self, transport: &'static str) {
        counter!("meridian_sessions_total", "transport" => transport).increment(1);
        self.connections(transport).increment(1.0);
    }

    pub(crate) fn session_ended(&self, transport: &'static str, cause: &'static str) {
        self.connections(transport).decrement(1.0);
        counter!("meridian_sessions_ended_total", "transport" => transport, "cause" => cause)
            .increment(1);
    }

    /// What a client told of the connection before this one.
    pub(crate) fn told(
        &self,
        transport: &'static str,
        reconnect: Option<&str>,
        fallback: Option<&Fallback>,
    ) {
        if let Some(cause) = reconnect {
            let cause = known(&RECONNECT_CAUSES, cause);
            counter!("meridian_reconnects_total", "cause" => cause).increment(1);
        }
        if let Some(fallback) = fallback {
            let (from, reason) =
                (known(&TRANSPORTS, &fallback.from), known(&FALLBACK_REASONS, &fallback.reason));
            counter!("meridian_fallbacks_total", "from" => from, "to" => transport, "reason" => reason)
                .increment(1);
        }
    }

    /// A subscription's start, by how it began and what it came to (`ok` or a code).
    pub(crate) fn subscribed(&self, start: &'static str, outcome: &str) {
        let outcome = Code::from_name(outcome).map_or("ok", Code::name);
        counter!("meridian_subscribes_total", "from" => start, "outcome" => outcome).increment(1);
    }

    pub(crate) fn hub(&self, worker: usize, counters: Counters, channels: usize, followers: usize) {
        self.delivered_events.increment(counters.delivered_events);
        self.delivered_bytes.increment(counters.delivered_bytes);
        self.gaps.increment(counters.gaps);
        self.skipped.increment(counters.skipped);
        self.repairs.increment(counters.repairs);
        self.pages.increment(counters.pages);
        self.page_events.increment(counters.page_events);
        let worker = worker.to_string();
        gauge!("meridian_channels", "worker" => worker.clone()).set(channels as f64);
        gauge!("meridian_subscriptions", "worker" => worker).set(followers as f64);
    }

    /// The share of the last interval in which the worker was busy fanning out, 0 to 1.
    pub(crate) fn saturation(&self, worker: usize, share: f64) {
        gauge!("meridian_worker_saturation", "worker" => worker.to_string()).set(share);
    }
}

/// Clients' words become labels only if they are ones that we know.
fn known(words: &[&'static str], word: &str) -> &'static str {
    words.iter().find(|known| **known == word).copied().unwrap_or("other")
}

fn describe() {
    describe_gauge!("meridian_connections", "Sessions now, by transport");
    describe_counter!("meridian_sessions_total", "Sessions begun, by transport");
    describe_counter!(
        "meridian_sessions_ended_total",
        "Sessions ended, by transport and cause (a code, or peer: closed by it, or lost)"
    );
    describe_counter!(
        "meridian_subscribes_total",
        "Subscriptions begun, by start (now, cursor, last, acked) and outcome"
    );
    describe_counter!(
        "meridian_reconnects_total",
        "Connects of clients that had one before, by why that ended (as they say)"
    );
    describe_counter!(
        "meridian_fallbacks_total",
        "Connects over a transport that was not the first choice, by from, to and reason (as clients say)"
    );
    describe_counter!(
        "meridian_redirects_total",
        "Clients sent to another region, by reason (zone, overload, drain)"
    );
    describe_counter!(
        "meridian_redirected_total",
        "Clients that came because another region sent them, by reason (as they say)"
    );
    describe_counter!(
        "meridian_acks_sent_total",
        "Acknowledged positions sent to all regions, by log"
    );
    describe_counter!(
        "meridian_ack_send_failures_total",
        "Tries to send some that failed; what is newest goes later, by log"
    );
    describe_counter!(
        "meridian_acks_dropped_total",
        "Acknowledged positions that found no room to wait: other regions learn of the next, by log"
    );
    describe_gauge!("meridian_acks_waiting", "Acknowledged positions that wait to go, by log");
    describe_gauge!("meridian_part_ready", "1 while a part that `/readyz` names is ready");
    describe_gauge!("meridian_channels", "Channels followed, by worker");
    describe_gauge!("meridian_subscriptions", "Subscriptions now, by worker");
    describe_counter!("meridian_commands_total", "Commands read");
    describe_counter!("meridian_events_in_total", "Events acknowledged to publishers");
    describe_counter!("meridian_events_out_total", "Events written to clients");
    describe_counter!(
        "meridian_bytes_out_total",
        Unit::Bytes,
        "Bytes of events written to clients"
    );
    describe_histogram!(
        "meridian_publish_seconds",
        Unit::Seconds,
        "From a publish read to its answer"
    );
    describe_histogram!(
        "meridian_delivery_seconds",
        Unit::Seconds,
        "From an event's append to its fan-out"
    );
    describe_histogram!(
        "meridian_backplane_read_seconds",
        Unit::Seconds,
        "The backplane's answer to a read of hot history"
    );
    describe_counter!("meridian_gaps_total", "Gaps told to clients");
    describe_counter!("meridian_skipped_total", "Ephemeral events that slow readers missed");
    describe_counter!("meridian_hub_repairs_total", "Times a hub read what the backplane had lost");
    describe_counter!(
        "meridian_history_pages_total",
        "History pages read for readers behind the ring"
    );
    describe_counter!("meridian_history_page_events_total", "Events in these pages");
    describe_counter!(
        "meridian_quic_steered_total",
        "Datagrams that another worker's socket got, since their client's address changed"
    );
    describe_counter!(
        "meridian_polls_total",
        "Polls of channels, by outcome (ok, unchanged, early, or refused)"
    );
    describe_counter!("meridian_poll_reads_total", "Reads that answered polls");
    describe_counter!("meridian_refusals_total", "Errors told to clients, by code");
    describe_gauge!("meridian_worker_saturation", "Share of time in which a worker fans out");
}
