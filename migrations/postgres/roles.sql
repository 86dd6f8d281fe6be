-- Roles that may do no more than they must. Not a migration: whoever owns the schema runs it after the
-- first `meridian migrate` and may run it again; it needs CREATEROLE for the first time. A schema
-- with another name stands in the places of `SCHEMA meridian` and `search_path = meridian`.
--
--   meridian_router  stores events, claims partitions, looks up heads
--   meridian_edge    reads, and merges acknowledged positions
--   meridian_upkeep  owns the days' tables: makes and drops them. A router takes it on by SET ROLE,
--                    for upkeep only (`upkeep_role`), so that no other statement of its can drop a table
--   meridian_copy    reads everything, for another region that is seeded from this one
--
-- Logins are yours to make:  CREATE ROLE router1 LOGIN PASSWORD '…' IN ROLE meridian_router;
DO $$
BEGIN
    IF to_regrole('meridian_upkeep') IS NULL THEN
        CREATE ROLE meridian_upkeep;
    END IF;
    IF to_regrole('meridian_router') IS NULL THEN
        CREATE ROLE meridian_router NOINHERIT;
    END IF;
    IF to_regrole('meridian_edge') IS NULL THEN
        CREATE ROLE meridian_edge;
    END IF;
    IF to_regrole('meridian_copy') IS NULL THEN
        CREATE ROLE meridian_copy;
    END IF;
END
$$;
GRANT meridian_upkeep TO meridian_router;
-- Later migrations change the tables that it owns.
GRANT meridian_upkeep TO CURRENT_USER;

SET search_path = meridian;
GRANT USAGE ON SCHEMA meridian TO meridian_router, meridian_edge, meridian_upkeep, meridian_copy;
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA meridian FROM PUBLIC;

GRANT SELECT ON _sqlx_migrations, logs, incarnations, streams, channels, events, spans, acknowledged, halts,
    feed_values, feed_floors TO meridian_router, meridian_edge;
GRANT EXECUTE ON FUNCTION read_events, before_newest TO meridian_router, meridian_edge;
GRANT INSERT, UPDATE ON acknowledged TO meridian_router, meridian_edge;

GRANT INSERT ON logs, incarnations, events TO meridian_router;
GRANT INSERT, UPDATE ON streams, channels, spans TO meridian_router;
GRANT SELECT, INSERT ON windows TO meridian_router;
GRANT SELECT, INSERT, UPDATE ON marks, feed_values TO meridian_router;
GRANT INSERT, UPDATE, DELETE ON halts TO meridian_router;
GRANT EXECUTE ON FUNCTION commit_batch, store_marks, store_feeds TO meridian_router;

GRANT SELECT ON _sqlx_migrations, logs, incarnations, streams, channels, events, spans, windows, marks,
    acknowledged, feed_values, feed_floors TO meridian_copy;

GRANT CREATE ON SCHEMA meridian TO meridian_upkeep;
GRANT SELECT ON days, streams, incarnations TO meridian_upkeep;
GRANT SELECT, DELETE ON spans, windows TO meridian_upkeep;
GRANT SELECT, DELETE ON feed_values TO meridian_upkeep;
GRANT SELECT, INSERT, UPDATE ON feed_floors TO meridian_upkeep;
GRANT EXECUTE ON FUNCTION partition_name, add_partition, prune_removals TO meridian_upkeep;
DO $$
DECLARE
    v_name text;
BEGIN
    FOR v_name IN SELECT name FROM days UNION ALL SELECT 'events' LOOP
        EXECUTE format('ALTER TABLE %I OWNER TO meridian_upkeep', v_name);
    END LOOP;
END
$$;
