-- Acknowledged positions on their way between the regions of one folder: of each key the last, in the
-- order in which they came. `place` rises with each.
CREATE TABLE acks (
    place INTEGER PRIMARY KEY,
    key   BLOB    NOT NULL UNIQUE,
    value BLOB    NOT NULL
);
