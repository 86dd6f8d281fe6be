-- The highest place of each source partition whose events a stream holds: what lies at or below it is a
-- repeat of a bridge, at any age.
CREATE TABLE marks (
    stream_id        integer NOT NULL,
    source           text COLLATE "C" NOT NULL,
    source_partition bigint  NOT NULL,
    generation       bigint  NOT NULL,
    source_offset    bigint  NOT NULL,
    event_index      bigint  NOT NULL,
    PRIMARY KEY (stream_id, source, source_partition)
) WITH (fillfactor = 50);

-- Raises marks in the transaction of the batch whose outcome this is: called in `commit_batch`'s
-- statement. Each source partition stands once in the arrays; lower marks change nothing.
CREATE FUNCTION store_marks(
    p_outcome text, p_log_id smallint, p_epoch integer, p_partition integer,
    p_sources text[], p_source_partitions bigint[], p_generations bigint[], p_offsets bigint[], p_indexes bigint[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF p_outcome <> 'stored' OR cardinality(p_sources) = 0 THEN
        RETURN;
    END IF;
    INSERT INTO marks AS m (stream_id, source, source_partition, generation, source_offset, event_index)
    SELECT s.id, n.* FROM streams s
     CROSS JOIN unnest(p_sources, p_source_partitions, p_generations, p_offsets, p_indexes) n
     WHERE s.log_id = p_log_id AND s.epoch = p_epoch AND s.partition = p_partition
    ON CONFLICT (stream_id, source, source_partition) DO UPDATE
       SET generation = excluded.generation, source_offset = excluded.source_offset,
           event_index = excluded.event_index
     WHERE (excluded.generation, excluded.source_offset, excluded.event_index)
           > (m.generation, m.source_offset, m.event_index);
END
$$;
