//! What a history consists of, table by table, in the order in which it is copied: the checkpoints
//! last. Pure.

/// A table's columns, and which of its rows belong to some logs.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static str,
    /// What stands for `columns` where it is read; empty: the same.
    read: &'static str,
    /// With `{logs}` for the logs' ids.
    of: &'static str,
}

const OF_LOG: &str = "log_id = ANY({logs})";
const OF_CHANNEL: &str = "channel_id IN (SELECT id FROM channels WHERE log_id = ANY({logs}))";
const OF_STREAM: &str = "stream_id IN (SELECT id FROM streams WHERE log_id = ANY({logs}))";

pub(super) const BEFORE_EVENTS: [Table; 3] = [
    Table { name: "logs", columns: "id, name", read: "", of: "id = ANY({logs})" },
    Table {
        name: "incarnations",
        columns: "log_id, epoch, identity, partitions, window_records, window_ms",
        read: "",
        of: OF_LOG,
    },
    Table {
        name: "channels",
        columns: "id, log_id, partition, tenant, name, head_epoch, head_passed",
        read: "",
        of: OF_LOG,
    },
];

pub(super) const EVENTS: Table = Table {
    name: "events",
    columns: "time_ms, passed, channel_id, prev_passed, epoch, partition, prev_epoch, log_id, id, body",
    read: "",
    of: OF_LOG,
};

pub(super) const AFTER_EVENTS: [Table; 7] = [
    Table {
        name: "spans",
        columns: "log_id, epoch, partition, day, lowest, highest",
        read: "",
        of: OF_LOG,
    },
    Table {
        name: "windows",
        columns: "stream_id, passed, total, time_ms, packed",
        read: "",
        of: OF_STREAM,
    },
    Table {
        name: "marks",
        columns: "stream_id, source, source_partition, generation, source_offset, event_index",
        read: "",
        of: OF_STREAM,
    },
    Table {
        name: "feed_values",
        columns: "channel_id, passed, time_ms, weight, epoch, key, id, body",
        read: "",
        of: OF_CHANNEL,
    },
    Table { name: "feed_floors", columns: "channel_id, epoch, passed", read: "", of: OF_CHANNEL },
    Table {
        name: "acknowledged",
        columns: "tenant, user_id, subscriber, channel, log, generation, partition, epoch, passed",
        read: "",
        of: "log IN (SELECT name FROM logs WHERE id = ANY({logs}))",
    },
    // Fences number the owners in one region; the new one has had none.
    Table {
        name: "streams",
        columns: "id, log_id, epoch, partition, fence, passed, kept_epoch, kept_passed, \
                  fingerprint, begins, recorded",
        read: "id, log_id, epoch, partition, 0::bigint, passed, kept_epoch, kept_passed, \
               fingerprint, begins, recorded",
        of: OF_LOG,
    },
];

/// The tables that number their own rows.
pub(super) const IDENTITIES: [&str; 3] = ["logs", "streams", "channels"];

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static Table> {
    BEFORE_EVENTS.iter().chain([&EVENTS]).chain(&AFTER_EVENTS)
}

impl Table {
    /// The query for the rows of these logs.
    pub(super) fn select(&self, logs: &[i16]) -> String {
        let read = if self.read.is_empty() { self.columns } else { self.read };
        let ids: Vec<String> = logs.iter().map(i16::to_string).collect();
        let of = self.of.replace("{logs}", &format!("'{{{}}}'::smallint[]", ids.join(",")));
        format!("SELECT {read} FROM {} WHERE {of}", self.name)
    }

    /// Where they go.
    pub(super) fn target(&self) -> String {
        format!("{} ({})", self.name, self.columns)
    }
}
