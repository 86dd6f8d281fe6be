-- The newest event of each key of a feed, or its removal: then `weight` is NULL. Moves in the transaction of
-- the batch that holds the event. `stored` as in `events`.
CREATE TABLE feed_values (
    channel_id INTEGER NOT NULL,
    key        BLOB    NOT NULL,
    epoch      INTEGER NOT NULL,
    offset     INTEGER NOT NULL,
    weight     INTEGER,
    stored     BLOB    NOT NULL,
    PRIMARY KEY (channel_id, key)
) WITHOUT ROWID;
CREATE INDEX feed_values_by_place ON feed_values (channel_id, epoch, offset);
-- Removals at or below may be gone.
ALTER TABLE channels ADD COLUMN floor_epoch INTEGER;
ALTER TABLE channels ADD COLUMN floor_offset INTEGER;
