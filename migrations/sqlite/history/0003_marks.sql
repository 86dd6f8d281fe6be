-- The highest place of each source partition whose events this stream holds: what lies at or below it
-- is a repeat of a bridge. Moves in the checkpoint's transaction.
CREATE TABLE marks (
    stream_id        INTEGER NOT NULL,
    source           TEXT    NOT NULL,
    source_partition INTEGER NOT NULL,
    generation       INTEGER NOT NULL,
    source_offset    INTEGER NOT NULL,
    event_index      INTEGER NOT NULL,
    PRIMARY KEY (stream_id, source, source_partition)
) WITHOUT ROWID;
