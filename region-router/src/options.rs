//! What can be set about a router. Each default stands with its reason.

use std::time::Duration;

/// A router's settings; all bounds are per partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Records asked of the log at once: enough to make a backplane's round trip cheap, few enough
    /// that the first of them is not late.
    pub read_records: usize,
    /// Aimed-at size of what is read at once; large records are read fewer at a time.
    pub read_bytes: usize,
    /// Events sent out live that the history has not stored yet; above it the partition pauses. Covers
    /// half a minute of 250 kB/s.
    pub unwritten_bytes: usize,
    /// At most so much goes into one transaction, so that none takes long.
    pub commit_bytes: usize,
    /// How long a first event waits for others to share its transaction. Nobody waits for it: it is
    /// out already, and in hot history; a router that comes after reads it from the log again.
    pub commit_linger: Duration,
    /// Channels whose newest position is remembered; the others are asked of the history.
    pub heads: usize,
    /// How long the history may take to tell heads before the router goes on without.
    pub lookup_timeout: Duration,
    /// How often an idle partition's marker is compared. Hubs promise to find a loss within 5 s.
    pub marker_interval: Duration,
    /// After so long without a backplane, events go into the history without having been sent out
    /// live; hubs find them there in their sweep.
    pub live_outage: Duration,
    /// A failed store is tried again after this, doubled each time, jittered, up to `retry_most`.
    pub retry_first: Duration,
    pub retry_most: Duration,
    /// A partition that another router took is claimed again after this, if it is still assigned here.
    /// Longer than a router's group takes to notice that one of two owners is gone.
    pub fenced_retry: Duration,
    /// What a stopping router still takes to store what it sent out. The rest is applied again.
    pub flush_timeout: Duration,
    /// The age up to which publishers were told that a retry is safe; an alert fires when the window
    /// covers less.
    pub horizon: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            read_records: 512,
            read_bytes: 1 << 20,
            unwritten_bytes: 8 << 20,
            commit_bytes: 4 << 20,
            commit_linger: Duration::from_millis(100),
            heads: 16_384,
            lookup_timeout: Duration::from_millis(500),
            marker_interval: Duration::from_secs(2),
            live_outage: Duration::from_secs(2),
            retry_first: Duration::from_millis(20),
            retry_most: Duration::from_secs(5),
            fenced_retry: Duration::from_secs(15),
            flush_timeout: Duration::from_secs(5),
            horizon: Duration::from_secs(3600),
        }
    }
}
