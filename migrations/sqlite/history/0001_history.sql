-- The history: what the routers stored of the log, and how far subscribers say they are.

-- Which incarnation of a log each epoch is: a history never serves two.
CREATE TABLE incarnations (
    log      TEXT    NOT NULL,
    epoch    INTEGER NOT NULL,
    identity TEXT    NOT NULL,
    PRIMARY KEY (log, epoch)
) WITHOUT ROWID;

-- A partition of an epoch. `fence` is the owner's number; the rest is NULL until the first batch:
-- the last record worked off, the last event kept, and the fingerprint of the record at `passed`.
CREATE TABLE streams (
    id              INTEGER PRIMARY KEY,
    log             TEXT    NOT NULL,
    epoch           INTEGER NOT NULL,
    partition       INTEGER NOT NULL,
    fence           INTEGER NOT NULL,
    passed          INTEGER,
    kept_epoch      INTEGER,
    kept_passed     INTEGER,
    fingerprint     BLOB,
    UNIQUE (log, epoch, partition)
);

-- A channel and its newest event's place, which outlives the events. `events` and `bytes` count
-- what is stored.
CREATE TABLE channels (
    id          INTEGER PRIMARY KEY,
    tenant      TEXT    NOT NULL,
    channel     TEXT    NOT NULL,
    log         TEXT    NOT NULL,
    partition   INTEGER NOT NULL,
    head_epoch  INTEGER NOT NULL,
    head_offset INTEGER NOT NULL,
    events      INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    UNIQUE (tenant, channel)
);

-- `stored` is one event, delimited by itself (see `embedded/history/row.rs`), so that a range of
-- them can be read as one value.
CREATE TABLE events (
    channel_id INTEGER NOT NULL,
    epoch      INTEGER NOT NULL,
    offset     INTEGER NOT NULL,
    time_ms    INTEGER NOT NULL,
    stored     BLOB    NOT NULL,
    PRIMARY KEY (channel_id, epoch, offset)
) WITHOUT ROWID;

-- The window of duplicates: one row a batch, 32 bytes a record (offset, log time, key). `total`
-- counts the records of all rows up to this one, removed ones too; `time_ms` is the newest record's.
CREATE TABLE windows (
    stream_id   INTEGER NOT NULL,
    last_offset INTEGER NOT NULL,
    total       INTEGER NOT NULL,
    time_ms     INTEGER NOT NULL,
    packed      BLOB    NOT NULL,
    PRIMARY KEY (stream_id, last_offset)
) WITHOUT ROWID;

-- Acknowledged positions, merged by generation, then position.
CREATE TABLE acknowledged (
    tenant     TEXT    NOT NULL,
    user       TEXT    NOT NULL,
    subscriber TEXT    NOT NULL,
    channel    TEXT    NOT NULL,
    generation INTEGER NOT NULL,
    log        TEXT    NOT NULL,
    partition  INTEGER NOT NULL,
    epoch      INTEGER NOT NULL,
    passed     INTEGER NOT NULL,
    PRIMARY KEY (tenant, user, subscriber, channel)
) WITHOUT ROWID;
