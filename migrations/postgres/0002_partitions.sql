-- The days of `events` as tables.

-- The table of a day: events_YYYYMMDD.
CREATE FUNCTION partition_name(p_day integer) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT 'events_' || to_char(date '1970-01-01' + p_day, 'YYYYMMDD')
$$;

-- Makes a day's table and attaches it, unless that is done. Attaching an empty table takes no lock that
-- a reader or a writer waits for. What is left of a table that is detached, or is being detached, is
-- past every policy: it makes room.
CREATE FUNCTION add_partition(p_day integer) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_name text := partition_name(p_day);
    v_lowest bigint := p_day::bigint * 86400000;
    v_detaching boolean;
BEGIN
    -- One at a time, so that the second finds the first one's table.
    PERFORM pg_advisory_xact_lock(hashtextextended('meridian partitions ' || current_schema(), 0));
    SELECT inhdetachpending INTO v_detaching FROM pg_inherits
     WHERE inhrelid = to_regclass(v_name) AND inhparent = 'events'::regclass;
    IF NOT v_detaching THEN
        RETURN false;
    END IF;
    IF v_detaching THEN
        EXECUTE format('ALTER TABLE events DETACH PARTITION %I FINALIZE', v_name);
    END IF;
    EXECUTE format('DROP TABLE IF EXISTS %I', v_name);
    EXECUTE format('CREATE TABLE %I (LIKE events INCLUDING DEFAULTS INCLUDING STORAGE INCLUDING COMPRESSION)', v_name);
    EXECUTE format('ALTER TABLE events ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
                   v_name, v_lowest, v_lowest + 86400000);
    RETURN true;
END
$$;

-- The days that have a table, and how far its removal has come.
CREATE VIEW days AS
    SELECT to_date(substr(c.relname, 8), 'YYYYMMDD') - date '1970-01-01' AS day, c.relname::text AS name,
           i.inhrelid IS NOT NULL AS attached, coalesce(i.inhdetachpending, false) AS detaching
    FROM pg_class c
    LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND i.inhparent = 'events'::regclass
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
      AND c.relname ~ '^events_[0-9]{8,}$';
