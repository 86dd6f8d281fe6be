-- The history: what a region's routers stored of its logs, and how far subscribers say they are.
-- It lives in one schema, which the connection's search_path names. Times are the log's append times
-- in milliseconds since 1970; days count from 1970 in UTC.

-- A log by its name; `id` only keeps rows short.
CREATE TABLE logs (
    id   smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE
);

-- Which incarnation of a log each epoch is: a history never serves two.
CREATE TABLE incarnations (
    log_id         smallint NOT NULL REFERENCES logs,
    epoch          integer  NOT NULL,
    identity       text     NOT NULL,
    partitions     bigint   NOT NULL,
    window_records bigint   NOT NULL,
    window_ms      bigint   NOT NULL,
    PRIMARY KEY (log_id, epoch)
);

-- A partition of an epoch. `fence` is the owner's number; `passed`, `kept_*` and `fingerprint` are
-- NULL until the first batch: the last record worked off, the last event kept, and the fingerprint of
-- the record at `passed`. `begins` is the first record of the epoch that this view covers.
-- `recorded` counts the records that the window was ever given.
CREATE TABLE streams (
    id          integer  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    log_id      smallint NOT NULL REFERENCES logs,
    epoch       integer  NOT NULL,
    partition   integer  NOT NULL,
    fence       bigint   NOT NULL,
    passed      bigint,
    kept_epoch  integer,
    kept_passed bigint,
    fingerprint bytea,
    begins      bigint   NOT NULL DEFAULT 0,
    recorded    bigint   NOT NULL DEFAULT 0,
    UNIQUE (log_id, epoch, partition)
) WITH (fillfactor = 50);

-- A channel and its newest event's place, which outlives the events. No index holds the head: it
-- changes with every batch, and an update that changes no index stays in its page.
CREATE TABLE channels (
    id          bigint   GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    log_id      smallint NOT NULL REFERENCES logs,
    partition   integer  NOT NULL,
    tenant      text COLLATE "C" NOT NULL,
    name        text COLLATE "C" NOT NULL,
    head_epoch  integer  NOT NULL,
    head_passed bigint   NOT NULL,
    UNIQUE (log_id, tenant, name)
) WITH (fillfactor = 70);
CREATE INDEX channels_of_partition ON channels (log_id, partition);

-- One table a day of the log's time (see `add_partition`). `passed` is the event's offset.
-- `prev_epoch` is 0 for a channel's first event and -1 where no store could tell the predecessor.
-- `body` is the record's versioned body as the log held it: any bytes.
CREATE TABLE events (
    time_ms     bigint   NOT NULL,
    passed      bigint   NOT NULL,
    channel_id  bigint   NOT NULL,
    prev_passed bigint   NOT NULL,
    epoch       integer  NOT NULL,
    partition   integer  NOT NULL,
    prev_epoch  integer  NOT NULL,
    log_id      smallint NOT NULL,
    id          text     NOT NULL,
    body        bytea    NOT NULL,
    PRIMARY KEY (time_ms, log_id, epoch, partition, passed)
) PARTITION BY RANGE (time_ms);
-- With the time, finding the newest N needs no event itself.
CREATE INDEX events_of_channel ON events (channel_id, epoch, passed) INCLUDE (time_ms);

-- Which offsets of a stream each day holds: names the tables that a read needs.
CREATE TABLE spans (
    log_id    smallint NOT NULL,
    epoch     integer  NOT NULL,
    partition integer  NOT NULL,
    day       integer  NOT NULL,
    lowest    bigint   NOT NULL,
    highest   bigint   NOT NULL,
    PRIMARY KEY (log_id, partition, epoch, day)
) WITH (fillfactor = 50);

-- The window of duplicates: one row a batch, 32 bytes a record (offset, log time, key). `total`
-- counts the records of all rows up to this one, removed ones too; `time_ms` is the newest record's.
CREATE TABLE windows (
    stream_id integer NOT NULL,
    passed    bigint  NOT NULL,
    total     bigint  NOT NULL,
    time_ms   bigint  NOT NULL,
    packed    bytea   NOT NULL,
    PRIMARY KEY (stream_id, passed)
);
-- Hashes do not shrink.
ALTER TABLE windows ALTER COLUMN packed SET STORAGE EXTERNAL;

-- Acknowledged positions, merged by generation, then position.
CREATE TABLE acknowledged (
    tenant     text COLLATE "C" NOT NULL,
    user_id    text COLLATE "C" NOT NULL,
    subscriber text COLLATE "C" NOT NULL,
    channel    text COLLATE "C" NOT NULL,
    log        text COLLATE "C" NOT NULL,
    generation bigint  NOT NULL,
    partition  bigint  NOT NULL,
    epoch      bigint  NOT NULL,
    passed     bigint  NOT NULL,
    PRIMARY KEY (tenant, user_id, subscriber, channel)
) WITH (fillfactor = 70);
