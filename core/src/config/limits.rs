//! Bounds: what one client may do to a node, what the hub keeps, how long a node takes to stop.

use super::reader::Section;

/// No event's payload is larger, whatever a node is told: records of that size still travel through
/// every log and store.
pub const MAX_EVENT_BYTES: usize = 256 * 1024;

/// The span in which the log can tell a repeat from a new event (D of the design).
pub const MAX_PUBLISH_HORIZON_MS: u64 = 86_400_000;

const MAX_FRAME_BYTES: usize = 16 << 20;
const MAX_QUEUE_BYTES: usize = 64 << 20;

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// 64 KiB: larger events belong in a store, with their address in the event.
    pub event_bytes: usize,
    /// 1 MiB: several of the largest events, and the most that a decoder holds for one client.
    pub frame_bytes: usize,
    /// 128: amortises a frame without making one command long.
    pub batch_events: usize,
    /// 1,024: far above what a page shows at once.
    pub channels_per_session: usize,
    /// 200: no person and few devices send more; a service publishes in batches.
    pub commands_per_s: u32,
    /// 2,048: a page that reconnects subscribes to everything at once.
    pub commands_burst: u32,
    /// 100,000: about 1 GiB of idle sessions, well below the usual limits on open files.
    pub sessions: usize,
    /// 10 s: a slow mobile network's handshake passes, a slow loris does not stay.
    pub handshake_timeout_ms: u64,
    /// 25 s: below the 30 s after which many proxies and NATs forget an idle connection.
    pub heartbeat_ms: u64,
    /// 2 MiB: two frames of replies to a client that does not read.
    pub control_queue_bytes: usize,
    /// 24 h: all that the log can tell apart.
    pub publish_horizon_ms: u64,
}

/// `[hub]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hub {
    /// 1,024 a channel and worker: most reconnects find all they miss in memory.
    pub ring_events: usize,
    /// 1 MiB a channel and worker: bounds a channel of large events.
    pub ring_bytes: usize,
    /// 30 s: a channel stays followed while its last reader reconnects or polls again.
    pub linger_ms: u64,
}

/// `[drain]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// 20 s: within the 30 s that orchestrators give a process after SIGTERM.
    pub deadline_ms: u64,
    /// 10 s: over which clients are told to leave, so that they don't arrive elsewhere in one wave.
    pub spread_ms: u64,
}

impl Limits {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let limits = Self {
            event_bytes: section.size("event_bytes", 64 * 1024, 1..=MAX_EVENT_BYTES),
            frame_bytes: section.size("frame_bytes", 1 << 20, 1024..=MAX_FRAME_BYTES),
            batch_events: section.size("batch_events", 128, 1..=4096),
            channels_per_session: section.size("channels_per_session", 1024, 1..=100_000),
            commands_per_s: section.number("commands_per_s", 200, 1..=1_000_000) as u32,
            commands_burst: section.number("commands_burst", 2048, 1..=1_000_000) as u32,
            sessions: section.size("sessions", 100_000, 1..=10_000_000),
            handshake_timeout_ms: section.number("handshake_timeout_ms", 10_000, 100..=600_000),
            heartbeat_ms: section.number("heartbeat_ms", 25_000, 1_000..=600_000),
            control_queue_bytes: section.size(
                "control_queue_bytes",
                2 << 20,
                1024..=MAX_QUEUE_BYTES,
            ),
            publish_horizon_ms: section.number(
                "publish_horizon_ms",
                MAX_PUBLISH_HORIZON_MS,
                1_000..=MAX_PUBLISH_HORIZON_MS,
            ),
        };
        if limits.frame_bytes < 2 * limits.event_bytes {
            let least = 2 * limits.event_bytes;
            section.fault("frame_bytes", format!(
                "must be at least {least}: twice `event_bytes`, for an event in base64 and what goes with it"
            ));
        }
        if limits.control_queue_bytes < limits.frame_bytes {
            section.fault(
                "control_queue_bytes",
                format!(
                    "must be at least {}: `frame_bytes`, or the largest reply never fits",
                    limits.frame_bytes
                ),
            );
        }
        limits
    }
}

impl Hub {
    pub(super) fn read(section: &mut Section<'_, '_>, limits: &Limits) -> Self {
        let hub = Self {
            ring_events: section.size("ring_events", 1024, 1..=1_000_000),
            ring_bytes: section.size("ring_bytes", 1 << 20, 1024..=1 << 30),
            linger_ms: section.number("linger_ms", 30_000, 0..=3_600_000),
        };
        if hub.ring_bytes < limits.event_bytes {
            section.fault(
                "ring_bytes",
                format!(
                    "must be at least {}: `limits.event_bytes`, or the largest event never fits",
                    limits.event_bytes
                ),
            );
        }
        hub
    }
}

impl Drain {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let drain = Self {
            deadline_ms: section.number("deadline_ms", 20_000, 0..=3_600_000),
            spread_ms: section.number("spread_ms", 10_000, 0..=3_600_000),
        };
        if drain.spread_ms > drain.deadline_ms {
            section.fault(
                "spread_ms",
                format!(
                    "must be at most {}: `deadline_ms`, at which every session is closed",
                    drain.deadline_ms
                ),
            );
        }
        drain
    }
}
