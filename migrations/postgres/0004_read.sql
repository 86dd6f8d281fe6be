-- Readings of one channel. STABLE: all their statements see the snapshot of the statement that calls
-- them. Each names the days that it needs as constants, so that only their tables are planned,
-- locked and opened, whatever others come and go. Days are taken a few at a time, more each time.

-- A channel's oldest events after a position up to its head, in order, of one epoch only: no chain
-- goes on into the next. No more than `p_max_events`, and about `p_max_bytes`, but one at least.
CREATE FUNCTION read_events(
    p_log_id smallint, p_partition integer, p_channel_id bigint, p_head_epoch integer, p_head_passed bigint,
    p_after_epoch integer, p_after_passed bigint, p_oldest_ms bigint, p_max_events bigint, p_max_bytes bigint
) RETURNS TABLE (epoch integer, passed bigint, time_ms bigint, prev_epoch integer, prev_passed bigint, id text, body bytea)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    v_epoch integer;
    v_days integer[];
    v_after bigint;
    v_from integer;
    v_to integer;
    v_step integer;
    v_left bigint := p_max_events;
    v_bytes bigint := 0;
BEGIN
    FOR v_epoch, v_days IN
        SELECT s.epoch, array_agg(s.day ORDER BY s.day) FROM spans s
         WHERE s.log_id = p_log_id AND s.partition = p_partition
           AND (s.epoch, s.highest) > (p_after_epoch, p_after_passed)
           AND (s.epoch, s.lowest) <= (p_head_epoch, p_head_passed)
           AND s.day >= p_oldest_ms / 86400000
         GROUP BY s.epoch ORDER BY s.epoch
    LOOP
        v_after := CASE WHEN v_epoch = p_after_epoch THEN p_after_passed ELSE -1 END;
        v_from := 1;
        v_step := 1;
        WHILE v_from <= cardinality(v_days) LOOP
            v_to := least(v_from + v_step - 1, cardinality(v_days));
            FOR epoch, passed, time_ms, prev_epoch, prev_passed, id, body IN EXECUTE format(
                'SELECT epoch, passed, time_ms, prev_epoch, prev_passed, id, body FROM events
                  WHERE channel_id = $1 AND epoch = $2 AND passed > $3 AND time_ms >= %s AND time_ms < %s
                  ORDER BY passed LIMIT %s',
                greatest(v_days[v_from] * 86400000::bigint, p_oldest_ms), (v_days[v_to] + 1) * 86400000::bigint, v_left)
                USING p_channel_id, v_epoch, v_after
            LOOP
                v_bytes := v_bytes + octet_length(body) + octet_length(id) + 160;
                IF v_bytes > p_max_bytes AND v_left < p_max_events THEN
                    RETURN;
                END IF;
                RETURN NEXT;
                v_left := v_left - 1;
            END LOOP;
            IF v_left <= 0 THEN
                RETURN;
            END IF;
            v_from := v_to + 1;
            v_step := v_step * 4;
        END LOOP;
        IF v_left < p_max_events THEN
            RETURN;
        END IF;
    END LOOP;
END
$$;

-- Just before a channel's `p_count`th newest event; before all of them, if there are fewer.
CREATE FUNCTION before_newest(
    p_log_id smallint, p_partition integer, p_channel_id bigint, p_head_epoch integer, p_head_passed bigint,
    p_oldest_ms bigint, p_count bigint, OUT after_epoch integer, OUT after_passed bigint
) LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_epoch integer;
    v_days integer[];
    v_from integer;
    v_to integer;
    v_step integer;
    v_found bigint;
    v_lowest bigint;
    v_left bigint := p_count;
BEGIN
    after_epoch := p_head_epoch;
    after_passed := p_head_passed;
    FOR v_epoch, v_days IN
        SELECT s.epoch, array_agg(s.day ORDER BY s.day DESC) FROM spans s
         WHERE s.log_id = p_log_id AND s.partition = p_partition
           AND (s.epoch, s.lowest) <= (p_head_epoch, p_head_passed) AND s.day >= p_oldest_ms / 86400000
         GROUP BY s.epoch ORDER BY s.epoch DESC
    LOOP
        v_from := 1;
        v_step := 1;
        WHILE v_from <= cardinality(v_days) AND v_left > 0 LOOP
            v_to := least(v_from + v_step - 1, cardinality(v_days));
            EXECUTE format(
                'SELECT count(*), min(passed) FROM (SELECT passed FROM events
                  WHERE channel_id = $1 AND epoch = $2 AND time_ms >= %s AND time_ms < %s
                  ORDER BY passed DESC LIMIT %s) newest',
                v_days[v_to] * 86400000::bigint, (v_days[v_from] + 1) * 86400000::bigint, v_left)
                INTO v_found, v_lowest USING p_channel_id, v_epoch;
            IF v_found > 0 THEN
                after_epoch := v_epoch;
                after_passed := v_lowest - 1;
                v_left := v_left - v_found;
            END IF;
            v_from := v_to + 1;
            v_step := v_step * 4;
        END LOOP;
    END LOOP;
END
$$;
