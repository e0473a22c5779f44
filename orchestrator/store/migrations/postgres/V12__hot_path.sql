-- Whoever commits knows most sagas by their numbers: what it says of those by number is not looked up by id, record by record. New sagas come with numbers that
-- were drawn before. Orchestrators of the version before go on beside us: their `commit_batch_5` and its types stay as they are, and draw from the same sequence.
CREATE TYPE batch_saga_12 AS (
    number bigint, id uuid, slice smallint, definition text, version bigint, status text, active boolean, paused boolean, labels text, label_keys uuid[],
    started_by text, started_at bigint, changed_at bigint, ended_at bigint
);

-- One batch of a partition's owner, in place of `commit_batch_5`. An array that is empty may be null, which costs least; nothing is asked of one that is.
-- `b_new`: sagas that are not there, with the numbers they get. `b_known`: sagas that are there, by number. `b_sagas`: of which that is not known, by id.
-- `r_…`: the log's rows, column by column, since arrays of plain values cost a fraction of an array of rows; the saga of each by number, or by id where that is null.
--
-- No row is twice in one array: whoever calls has folded them. The first thing done is the fence: under another epoch, or by another connection
-- of the same owner, nothing else is tried.
--
-- Rows are looked up one by one, by a subquery or in a loop, never by a join: a join that was planned while a table was empty may read all of it
-- when it has grown.
CREATE FUNCTION commit_batch_12(
    of_partition smallint, of_epoch bigint, of_writer bigint, published bigint,
    b_new batch_saga_12[], b_known batch_saga_12[], b_sagas batch_saga_12[],
    r_log_seqs bigint[], r_numbers bigint[], r_ids uuid[], r_saga_seqs bigint[], r_entries text[],
    b_cold batch_cold[], b_snapshots batch_snapshot[],
    b_unsent_gone uuid[], b_unsent batch_unsent[], b_unserved_gone batch_unserved[], b_unserved batch_unserved[],
    b_steps_gone batch_step[], b_steps batch_subscription[], b_steps_searched batch_step[],
    b_items_closed batch_closing[], b_items batch_item[], b_letters batch_letter_5[]
) RETURNS void LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    touched bigint;
    one record;
    total bigint;
BEGIN
    UPDATE partitions SET watermark = published, log_rows = log_rows + coalesce(cardinality(r_log_seqs), 0)
        WHERE id = of_partition AND epoch = of_epoch AND writer = of_writer;
    GET DIAGNOSTICS touched = ROW_COUNT;
    IF touched <> 1 THEN
        RAISE EXCEPTION 'partition % is owned no more under epoch % by writer %', of_partition, of_epoch, of_writer USING ERRCODE = 'BT001';
    END IF;

    IF cardinality(b_new) > 0 OR cardinality(b_known) > 0 OR cardinality(b_sagas) > 0 THEN
        INSERT INTO counts (partition, name, n)
            SELECT of_partition, 'saga.' || moved.status, sum(moved.n) FROM (
                SELECT b.status, 1 AS n FROM unnest(b_new) AS b
                UNION ALL SELECT (SELECT s.status FROM sagas s WHERE s.number = b.number), -1 FROM unnest(b_known) AS b
                UNION ALL SELECT b.status, 1 FROM unnest(b_known) AS b
                UNION ALL SELECT (SELECT s.status FROM sagas s WHERE s.id = b.id), -1 FROM unnest(b_sagas) AS b
                UNION ALL SELECT b.status, 1 FROM unnest(b_sagas) AS b
            ) AS moved WHERE moved.status IS NOT NULL GROUP BY moved.status HAVING sum(moved.n) <> 0
            ON CONFLICT (partition, name) DO UPDATE SET n = counts.n + excluded.n;
    END IF;
    IF cardinality(b_new) > 0 THEN
        INSERT INTO saga_labels (key, started_at, saga)
            SELECT k.key, b.started_at, b.id FROM unnest(b_new) AS b CROSS JOIN LATERAL unnest(b.label_keys) AS k (key);
        INSERT INTO sagas (number, id, partition, slice, definition, version, status, active, paused, labels, label_keys, started_by, started_at,
                changed_at, ended_at) OVERRIDING SYSTEM VALUE
            SELECT b.number, b.id, of_partition, b.slice, b.definition, b.version, b.status, b.active, b.paused, b.labels, b.label_keys, b.started_by,
                b.started_at, b.changed_at, b.ended_at FROM unnest(b_new) AS b;
    END IF;
    IF cardinality(b_known) > 0 THEN
        INSERT INTO sagas (number, id, partition, slice, definition, version, status, active, paused, labels, label_keys, started_by, started_at,
                changed_at, ended_at) OVERRIDING SYSTEM VALUE
            SELECT b.number, b.id, of_partition, b.slice, b.definition, b.version, b.status, b.active, b.paused, b.labels, b.label_keys, b.started_by,
                b.started_at, b.changed_at, b.ended_at FROM unnest(b_known) AS b
            ON CONFLICT (number) DO UPDATE SET slice = excluded.slice, definition = excluded.definition, version = excluded.version,
                status = excluded.status, active = excluded.active, paused = excluded.paused, labels = excluded.labels,
                label_keys = excluded.label_keys, started_by = excluded.started_by, started_at = excluded.started_at,
                changed_at = excluded.changed_at, ended_at = excluded.ended_at;
    END IF;
    IF cardinality(b_sagas) > 0 THEN
        INSERT INTO saga_labels (key, started_at, saga)
            SELECT k.key, b.started_at, b.id FROM unnest(b_sagas) AS b CROSS JOIN LATERAL unnest(b.label_keys) AS k (key)
            WHERE (SELECT s.number FROM sagas s WHERE s.id = b.id) IS NULL;
        INSERT INTO sagas (id, partition, slice, definition, version, status, active, paused, labels, label_keys, started_by, started_at,
                changed_at, ended_at)
            SELECT b.id, of_partition, b.slice, b.definition, b.version, b.status, b.active, b.paused, b.labels, b.label_keys, b.started_by,
                b.started_at, b.changed_at, b.ended_at FROM unnest(b_sagas) AS b
            ON CONFLICT (id) DO UPDATE SET slice = excluded.slice, definition = excluded.definition, version = excluded.version,
                status = excluded.status, active = excluded.active, paused = excluded.paused, labels = excluded.labels,
                label_keys = excluded.label_keys, started_by = excluded.started_by, started_at = excluded.started_at,
                changed_at = excluded.changed_at, ended_at = excluded.ended_at;
    END IF;
    IF cardinality(r_log_seqs) > 0 THEN
        -- a saga without a row has no number: NOT NULL refuses its records
        INSERT INTO records (partition, log_seq, saga, saga_seq, entry)
            SELECT of_partition, r_log_seqs[r.n], coalesce(r_numbers[r.n], (SELECT s.number FROM sagas s WHERE s.id = r_ids[r.n])), r_saga_seqs[r.n], r_entries[r.n]
            FROM generate_series(1, cardinality(r_log_seqs)) AS r (n);
    END IF;
    IF cardinality(b_cold) > 0 THEN
        FOR one IN SELECT * FROM unnest(b_cold) LOOP
            UPDATE sagas SET cold = one.cold, wake_at = one.wake_at WHERE id = one.saga;
        END LOOP;
    END IF;
    IF cardinality(b_snapshots) > 0 THEN
        INSERT INTO snapshots (saga, seq, version, state) SELECT b.saga, b.seq, b.version, b.state FROM unnest(b_snapshots) AS b
            ON CONFLICT (saga) DO UPDATE SET seq = excluded.seq, version = excluded.version, state = excluded.state;
    END IF;
    -- what is both removed and added stays: a task held once too often is looked at again, one forgotten is lost
    IF cardinality(b_unsent_gone) > 0 THEN
        DELETE FROM unsent WHERE id = ANY (b_unsent_gone);
        GET DIAGNOSTICS touched = ROW_COUNT;
        PERFORM add_count(of_partition, 'unsent', -touched);
    END IF;
    IF cardinality(b_unsent) > 0 THEN
        INSERT INTO unsent (id, partition, saga, since, attempt)
            SELECT b.id, of_partition, b.saga, b.since, b.attempt FROM unnest(b_unsent) AS b ON CONFLICT (id) DO NOTHING;
        GET DIAGNOSTICS touched = ROW_COUNT;
        PERFORM add_count(of_partition, 'unsent', touched);
    END IF;
    IF cardinality(b_unserved_gone) > 0 THEN
        FOR one IN SELECT * FROM unnest(b_unserved_gone) LOOP
            DELETE FROM unserved WHERE partition = of_partition AND task_type = one.task_type AND saga = one.saga;
        END LOOP;
    END IF;
    IF cardinality(b_unserved) > 0 THEN
        INSERT INTO unserved (partition, task_type, saga) SELECT of_partition, b.task_type, b.saga FROM unnest(b_unserved) AS b
            ON CONFLICT DO NOTHING;
    END IF;
    IF cardinality(b_steps_gone) > 0 THEN
        FOR one IN SELECT * FROM unnest(b_steps_gone) LOOP
            DELETE FROM subscriptions WHERE saga = one.saga AND step = one.step;
        END LOOP;
    END IF;
    IF cardinality(b_steps) > 0 THEN
        INSERT INTO subscriptions (partition, saga, step, event, since, searched)
            SELECT of_partition, b.saga, b.step, b.event, b.since, b.searched FROM unnest(b_steps) AS b
            ON CONFLICT (saga, step) DO UPDATE SET event = excluded.event, since = excluded.since, searched = excluded.searched;
    END IF;
    IF cardinality(b_steps_searched) > 0 THEN
        FOR one IN SELECT * FROM unnest(b_steps_searched) LOOP
            UPDATE subscriptions SET searched = true WHERE saga = one.saga AND step = one.step;
        END LOOP;
    END IF;
    IF cardinality(b_items_closed) > 0 THEN
        total := 0;
        FOR one IN SELECT * FROM unnest(b_items_closed) LOOP
            UPDATE work_items SET closed_at = one.closed_at, closed_by = one.closed_by
                WHERE saga = one.saga AND number = one.number AND closed_at IS NULL;
            GET DIAGNOSTICS touched = ROW_COUNT;
            total := total + touched;
        END LOOP;
        PERFORM add_count(of_partition, 'work_items_open', -total);
    END IF;
    IF cardinality(b_items) > 0 THEN
        INSERT INTO work_items (partition, saga, number, opened_at, kind, owner, item, closed_at, closed_by)
            SELECT of_partition, b.saga, b.number, b.opened_at, b.kind, b.owner, b.item, b.closed_at, b.closed_by FROM unnest(b_items) AS b;
        PERFORM add_count(of_partition, 'work_items_open', (SELECT count(*) FROM unnest(b_items) AS b WHERE b.closed_at IS NULL));
    END IF;
    IF cardinality(b_letters) > 0 THEN
        INSERT INTO dead_letters (id, partition, at, reason, error, queue, exchange, key, message_id, kind, saga, properties, body, grp, pool,
                task_type, event_type, definition, worker, replays_before)
            SELECT b.id, of_partition, b.at, b.reason, b.error, b.queue, b.exchange, b.key, b.message_id, b.kind, b.saga, b.properties, b.body, b.grp, b.pool,
                b.task_type, b.event_type, b.definition, b.worker, coalesce(b.replays_before, 0)
            FROM unnest(b_letters) AS b ON CONFLICT (id) DO NOTHING;
        GET DIAGNOSTICS touched = ROW_COUNT;
        PERFORM add_count(of_partition, 'dead_letters', touched);
    END IF;
END
$$;

-- Plans do not depend on statistics, and those of whole documents say nothing: to sort thirty thousand of them each time a young table has grown by a tenth costs
-- as much as thousands of steps. Nothing is read or written anew by this.
ALTER TABLE records   ALTER COLUMN entry   SET STATISTICS 0;
ALTER TABLE snapshots ALTER COLUMN state   SET STATISTICS 0;
ALTER TABLE events    ALTER COLUMN effects SET STATISTICS 0, ALTER COLUMN body SET STATISTICS 0;
ALTER TABLE sagas     ALTER COLUMN labels  SET STATISTICS 0, ALTER COLUMN label_keys SET STATISTICS 0, ALTER COLUMN started_by SET STATISTICS 0;
ALTER TABLE records SET (autovacuum_analyze_scale_factor = 1.0);
ALTER TABLE sagas   SET (autovacuum_analyze_scale_factor = 1.0);
