-- Building the indexes anew takes as long as it takes, once.
SET LOCAL statement_timeout = 0;

-- Of a saga whose records were taken out its row stays, so that its id is never another saga's. `archive`: the file they lie in.
ALTER TABLE sagas ADD COLUMN purged_at bigint, ADD COLUMN archive text;

-- Lists leave such rows out, and so do their indexes.
DROP INDEX sagas_by_start;
DROP INDEX sagas_by_status;
DROP INDEX sagas_by_definition;
CREATE INDEX sagas_by_start      ON sagas (started_at, id) WHERE number > 0 AND purged_at IS NULL;
CREATE INDEX sagas_by_status     ON sagas (status, started_at, id) WHERE slice >= 0 AND purged_at IS NULL;
CREATE INDEX sagas_by_definition ON sagas (definition, started_at, id) WHERE version >= 0 AND purged_at IS NULL;

-- Those that have ended, oldest first.
CREATE INDEX sagas_ended ON sagas (partition, ended_at, id) WHERE NOT active AND purged_at IS NULL;

CREATE TYPE batch_purge AS (saga uuid, log_seq bigint, ended_before bigint, purged_at bigint, archive text);

-- Takes the records of ended sagas out, each only if it has ended for long enough, nobody has to decide anything about it, and all its records are
-- among those that lie elsewhere and are published. Called after `commit_batch` in the same statement, and so behind its fence.
CREATE FUNCTION purge_sagas(of_partition smallint, b_purged batch_purge[]) RETURNS void LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    touched bigint;
    published bigint;
    one record;
    gone record;
    rows_gone bigint := 0;
    sagas_gone bigint := 0;
BEGIN
    SELECT watermark INTO published FROM partitions WHERE id = of_partition;
    FOR one IN SELECT * FROM unnest(b_purged) LOOP
        SELECT s.number, s.status INTO gone FROM sagas s
            WHERE s.id = one.saga AND s.partition = of_partition AND NOT s.active AND s.purged_at IS NULL AND s.ended_at < one.ended_before
            AND NOT EXISTS (SELECT 1 FROM work_items w WHERE w.saga = s.id AND w.closed_at IS NULL)
            AND NOT EXISTS (SELECT 1 FROM records r WHERE r.saga = s.number AND r.log_seq > least(one.log_seq, published));
        CONTINUE WHEN NOT FOUND;
        DELETE FROM records WHERE saga = gone.number;
        GET DIAGNOSTICS touched = ROW_COUNT;
        rows_gone := rows_gone + touched;
        sagas_gone := sagas_gone + 1;
        DELETE FROM snapshots WHERE saga = one.saga;
        DELETE FROM work_items WHERE saga = one.saga;
        DELETE FROM subscriptions WHERE saga = one.saga;
        -- its labels leave their index by the trigger
        UPDATE sagas SET purged_at = one.purged_at, archive = one.archive, labels = '{}', label_keys = '{}', cold = false, wake_at = NULL
            WHERE number = gone.number;
        PERFORM add_count(of_partition, 'saga.' || gone.status, -1::bigint);
    END LOOP;
    PERFORM add_count(of_partition, 'purged', sagas_gone);
    IF rows_gone > 0 THEN
        UPDATE partitions SET log_rows = log_rows - rows_gone WHERE id = of_partition;
    END IF;
END
$$;
