-- Why the region halted an epoch of a log, by the partition where a router found it. It stays until a
-- router goes on with that partition, or the next epoch does; meanwhile no edge takes a publish.
CREATE TABLE halts (
    log_id    smallint NOT NULL REFERENCES logs,
    epoch     integer  NOT NULL,
    partition integer  NOT NULL,
    why       text     NOT NULL,
    -- Another number each time that it is found.
    found     bigint   GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (log_id, epoch, partition)
);
