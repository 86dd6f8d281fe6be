-- One batch of a router, whole or not at all: a call is a transaction of its own.
--
-- `outcome` is `stored` (also of a batch that was stored before), `fenced`, or `overlaps`: a part of the
-- batch is stored, through `through`, and nothing was done. `p_first` is the lowest offset in the
-- batch. The arrays of channels hold each channel once, with its newest event in the batch; the
-- events name their channel by its place there, from 1.
CREATE FUNCTION commit_batch(
    p_log_id smallint, p_epoch integer, p_partition integer, p_fence bigint,
    p_first bigint, p_passed bigint, p_kept_epoch integer, p_kept_passed bigint,
    p_fingerprint bytea, p_begins bigint,
    p_window_passed bigint, p_window_records bigint, p_window_ms bigint, p_window bytea,
    p_tenants text[], p_names text[], p_heads bigint[],
    p_channels integer[], p_offsets bigint[], p_times bigint[],
    p_prev_epochs integer[], p_prev_passed bigint[], p_ids text[], p_bodies bytea[],
    OUT outcome text, OUT through bigint
) LANGUAGE plpgsql AS $$
DECLARE
    v_stream_id integer;
    v_recorded bigint;
    v_ids bigint[];
    v_head_epochs integer[];
    v_head_passed bigint[];
BEGIN
    -- Before anything else: holds off a claim until the end, and finds out whether one came first.
    UPDATE streams SET passed = p_passed, kept_epoch = p_kept_epoch, kept_passed = p_kept_passed,
           fingerprint = p_fingerprint, begins = p_begins, recorded = recorded + p_window_records
     WHERE log_id = p_log_id AND epoch = p_epoch AND partition = p_partition AND fence = p_fence
       AND (passed IS NULL OR (passed < p_first AND passed < p_passed))
    RETURNING id, recorded INTO v_stream_id, v_recorded;
    IF NOT FOUND THEN
        SELECT passed INTO through FROM streams
         WHERE log_id = p_log_id AND epoch = p_epoch AND partition = p_partition AND fence = p_fence;
        outcome := CASE WHEN NOT FOUND THEN 'fenced' WHEN through >= p_passed THEN 'stored' ELSE 'overlaps' END;
        RETURN;
    END IF;

    IF p_window_records > 0 THEN
        INSERT INTO windows VALUES (v_stream_id, p_window_passed, v_recorded, p_window_ms, p_window);
    END IF;
    outcome := 'stored';
    IF cardinality(p_offsets) = 0 THEN
        RETURN;
    END IF;

    -- The channels' heads before this batch; 0 for a new channel.
    SELECT array_agg(c.id ORDER BY k.n), array_agg(coalesce(c.head_epoch, 0) ORDER BY k.n),
           array_agg(coalesce(c.head_passed, -1) ORDER BY k.n)
      INTO v_ids, v_head_epochs, v_head_passed
      FROM unnest(p_tenants, p_names) WITH ORDINALITY k (tenant, name, n)
      LEFT JOIN channels c ON c.log_id = p_log_id AND c.tenant = k.tenant AND c.name = k.name;
    IF array_position(v_ids, NULL) IS NOT NULL THEN
        INSERT INTO channels (log_id, partition, tenant, name, head_epoch, head_passed)
        SELECT p_log_id, p_partition, k.tenant, k.name, p_epoch, k.head
          FROM unnest(p_tenants, p_names, p_heads, v_ids) k (tenant, name, head, id)
         WHERE k.id IS NULL;
        SELECT array_agg(c.id ORDER BY k.n) INTO v_ids
          FROM unnest(p_tenants, p_names) WITH ORDINALITY k (tenant, name, n)
          JOIN channels c ON c.log_id = p_log_id AND c.tenant = k.tenant AND c.name = k.name;
    END IF;

    -- A predecessor that no store could tell is the head, as far as the view covers it.
    INSERT INTO events (time_ms, passed, channel_id, prev_passed, epoch, partition, prev_epoch, log_id, id, body)
    SELECT e.time_ms, e.passed, v_ids[e.channel],
           CASE WHEN v.vouched THEN v_head_passed[e.channel] ELSE e.prev_passed END, p_epoch, p_partition,
           CASE WHEN v.vouched THEN v_head_epochs[e.channel] ELSE e.prev_epoch END, p_log_id, e.id, e.body
      FROM unnest(p_channels, p_offsets, p_times, p_prev_epochs, p_prev_passed, p_ids, p_bodies)
           e (channel, passed, time_ms, prev_epoch, prev_passed, id, body)
     CROSS JOIN LATERAL (SELECT e.prev_epoch = -1 AND v_head_epochs[e.channel] > 0 AND (p_begins = 0
           OR (v_head_epochs[e.channel], v_head_passed[e.channel]) >= (p_epoch, p_begins)) AS vouched) v;

    UPDATE channels c SET partition = p_partition, head_epoch = p_epoch, head_passed = k.head
      FROM unnest(v_ids, p_heads) k (id, head)
     WHERE c.id = k.id AND (c.head_epoch, c.head_passed) < (p_epoch, k.head);

    INSERT INTO spans AS s (log_id, epoch, partition, day, lowest, highest)
    SELECT p_log_id, p_epoch, p_partition, e.time_ms / 86400000, min(e.passed), max(e.passed)
      FROM unnest(p_offsets, p_times) e (passed, time_ms)
     GROUP BY 4 ORDER BY 4
    ON CONFLICT (log_id, partition, epoch, day) DO UPDATE
       SET lowest = least(s.lowest, excluded.lowest), highest = greatest(s.highest, excluded.highest);
END
$$;
