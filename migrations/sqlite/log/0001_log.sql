-- The log: what it is (one row), its partitions, and the records in batches, one row per commit and
-- partition (or several, where a batch is large).
CREATE TABLE incarnation (
    only           INTEGER PRIMARY KEY CHECK (only = 1),
    log            TEXT    NOT NULL,
    epoch          INTEGER NOT NULL,
    identity       TEXT    NOT NULL,
    partitions     INTEGER NOT NULL,
    window_records INTEGER NOT NULL,
    window_ms      INTEGER NOT NULL
);

-- `begin_offset`: the lowest offset still held. `next_offset` and `time_ms` (the last append time)
-- outlive the records, so that no offset is used twice and time never goes back.
CREATE TABLE partitions (
    partition    INTEGER PRIMARY KEY,
    begin_offset INTEGER NOT NULL,
    next_offset  INTEGER NOT NULL,
    time_ms      INTEGER NOT NULL
);

-- `place` is partition * 2^53 + the first offset. `records` is a format byte (1), then for each
-- record its length (u32, big endian) and its stored bytes.
CREATE TABLE batches (
    place       INTEGER PRIMARY KEY,
    last_offset INTEGER NOT NULL,
    time_ms     INTEGER NOT NULL,
    records     BLOB    NOT NULL
);
