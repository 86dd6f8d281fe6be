-- The newest event of each key of a feed, or its removal: then `weight` is NULL. Keys and bodies are any bytes.
CREATE TABLE feed_values (
    channel_id bigint  NOT NULL,
    passed     bigint  NOT NULL,
    time_ms    bigint  NOT NULL,
    weight     bigint,
    epoch      integer NOT NULL,
    key        bytea   NOT NULL,
    id         text    NOT NULL,
    body       bytea   NOT NULL,
    PRIMARY KEY (channel_id, key)
) WITH (fillfactor = 70);
CREATE INDEX feed_values_by_place ON feed_values (channel_id, epoch, passed);
CREATE INDEX feed_removals ON feed_values (time_ms) WHERE weight IS NULL;

-- A feed's removals at or below may be gone.
CREATE TABLE feed_floors (
    channel_id bigint  NOT NULL PRIMARY KEY,
    epoch      integer NOT NULL,
    passed     bigint  NOT NULL
);

-- Writes the rows of a batch in the transaction of the batch whose outcome this is: called in
-- `commit_batch`'s statement. Each key of a channel stands once in the arrays; lower rows change nothing.
CREATE FUNCTION store_feeds(
    p_outcome text, p_log_id smallint, p_epoch integer, p_tenants text[], p_names text[], p_keys bytea[],
    p_offsets bigint[], p_times bigint[], p_weights bigint[], p_ids text[], p_bodies bytea[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF p_outcome <> 'stored' OR cardinality(p_keys) = 0 THEN
        RETURN;
    END IF;
    INSERT INTO feed_values AS f (channel_id, key, epoch, passed, time_ms, weight, id, body)
    SELECT c.id, n.key, p_epoch, n.passed, n.time_ms, n.weight, n.id, n.body
      FROM unnest(p_tenants, p_names, p_keys, p_offsets, p_times, p_weights, p_ids, p_bodies)
           n (tenant, name, key, passed, time_ms, weight, id, body)
      JOIN channels c ON c.log_id = p_log_id AND c.tenant = n.tenant AND c.name = n.name
     ORDER BY c.id, n.key
    ON CONFLICT (channel_id, key) DO UPDATE
       SET epoch = excluded.epoch, passed = excluded.passed, time_ms = excluded.time_ms,
           weight = excluded.weight, id = excluded.id, body = excluded.body
     WHERE (excluded.epoch, excluded.passed) > (f.epoch, f.passed);
END
$$;

-- Takes removals away that are older than any event, and raises their feeds' floors.
CREATE FUNCTION prune_removals(p_oldest_ms bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_pruned bigint;
BEGIN
    WITH pruned AS (
        DELETE FROM feed_values WHERE weight IS NULL AND time_ms < p_oldest_ms
        RETURNING channel_id, epoch, passed
    ), raised AS (
        INSERT INTO feed_floors AS f (channel_id, epoch, passed)
        SELECT DISTINCT ON (channel_id) channel_id, epoch, passed FROM pruned
         ORDER BY channel_id, epoch DESC, passed DESC
        ON CONFLICT (channel_id) DO UPDATE SET epoch = excluded.epoch, passed = excluded.passed
         WHERE (excluded.epoch, excluded.passed) > (f.epoch, f.passed)
    )
    SELECT count(*) INTO v_pruned FROM pruned;
    RETURN v_pruned;
END
$$;
