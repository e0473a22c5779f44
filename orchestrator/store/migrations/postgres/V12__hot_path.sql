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
-- of the same owner, nothing else is tried. The lease is as long from that statement on as after a renewal, unless the partition was given up meanwhile: who commits
-- is there. While a batch is under way its row is locked, so that nobody takes the partition, and no renewal gets through either.
--
-- Rows are looked up one by one, by a subquery or in a loop, never by a join: a join that was planned while a table was empty may read all of it
-- when it has grown.
CREATE FUNCTION commit_batch_12(
    of_partition smallint, of_epoch bigint, of_writer bigint, published bigint, of_lease_ms double precision,
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
    UPDATE partitions SET watermark = published, log_rows = log_rows + coalesce(cardinality(r_log_seqs), 0),
            lease_until = CASE WHEN lease_until IS NULL THEN NULL ELSE clock_timestamp() + of_lease_ms * interval '1 millisecond' END
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

-- Whoever looks at the waiting does so in one call, and so in one round trip: the advisory lock, for which the batches of every partition wait, is held while the
-- server works and never while a process is waited for that may have been stopped. The rule is that of `baton_driver::reservations`; `postgres/reservations.rs` has
-- each of these queries as well, where a test reads their plans.
--
-- `p_after`: the ticket behind which it is looked; null: from the beginning. `told`: who was admitted, in the order they came, and, from the beginning, who was before
-- and has not said that it knows. `fence_…`: the numbers of their locks. `held_back`: who waits for nothing but the end of a time. `next_ticket`: where the next look
-- goes on; null: this one came to the end. `wake_at`: when the next time is over, then.
CREATE FUNCTION admit_reservations_12(
    p_now bigint, p_after bigint, p_page bigint, p_over bigint,
    OUT o_told uuid[], OUT o_held_back uuid[], OUT o_next_ticket bigint, OUT o_wake_at bigint,
    OUT o_fence_sagas uuid[], OUT o_fence_names text[], OUT o_fences bigint[]
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    p_from bigint := coalesce(p_after, 0);
    p_upto bigint := 9223372036854775807;
    one record;
    seen bigint;
    last_ticket bigint;
    to_give uuid[];
    to_give_tickets bigint[];
    to_give_below boolean[];
    given uuid[] := '{}';
    given_tickets bigint[] := '{}';
BEGIN
    PERFORM pg_advisory_xact_lock(4774189773973618695);
    -- what was begun is forgotten only when its saga knows that it was: nothing else says so to one that wants nothing beside
    DELETE FROM reservations WHERE ctid = ANY (ARRAY
        (SELECT ctid FROM reservations WHERE until <= p_now AND told = 2 ORDER BY until LIMIT p_over));
    LOOP
        -- who is given a lock lets in whoever shares a root with him; of the sagas of the first look, so that it ends
        o_held_back := '{}';
        to_give := '{}';
        to_give_tickets := '{}';
        to_give_below := '{}';
        seen := 0;
        last_ticket := 0;
        FOR one IN SELECT p.saga, p.ticket, f.is_full, f.by_time, f.untold, f.is_below
            FROM (SELECT ticket, saga FROM reservations WHERE held_at IS NULL AND ticket > p_from AND ticket <= p_upto GROUP BY ticket, saga ORDER BY ticket, saga LIMIT p_page) p
            CROSS JOIN LATERAL (SELECT bool_or(w.is_full) AS is_full, bool_and(w.kind = 'blast-radius' OR NOT w.is_full) AS by_time, bool_and(w.told = 0) AS untold,
                bool_or(w.is_below) AS is_below FROM (SELECT r.kind, r.told, r.saga <> r.root AS is_below,
                NOT r.let_through AND NOT (r.kind = 'lock' AND EXISTS (SELECT 1 FROM reservations h WHERE h.kind = 'lock' AND h.name = r.name AND h.state = 'held' AND h.root = r.root))
                AND (SELECT count(*) FROM (
                    SELECT 1 FROM reservations h WHERE h.kind = r.kind AND h.name = r.name AND h.state = 'held' AND h.saga <> r.saga AND (r.kind <> 'lock' OR h.root <> r.root)
                    UNION ALL SELECT 1 FROM reservations h WHERE h.kind = r.kind AND h.name = r.name AND h.state = 'spent' AND h.saga <> r.saga
                    UNION ALL SELECT 1 FROM reservations h WHERE h.kind = r.kind AND h.name = r.name AND h.state = 'waiting' AND h.ticket < r.ticket AND r.saga = r.root AND (r.kind <> 'lock' OR h.root <> r.root)
                    LIMIT r.max) taken) >= r.max AS is_full
                FROM reservations r WHERE r.saga = p.saga OFFSET 0) w) f
            ORDER BY p.ticket, p.saga LOOP
            seen := seen + 1;
            last_ticket := one.ticket;
            IF NOT one.is_full THEN
                to_give := array_append(to_give, one.saga);
                to_give_tickets := array_append(to_give_tickets, one.ticket);
                to_give_below := array_append(to_give_below, one.is_below);
            ELSIF one.by_time AND one.untold THEN
                o_held_back := array_append(o_held_back, one.saga);
            END IF;
        END LOOP;
        p_upto := last_ticket;
        IF cardinality(given) = 0 AND seen = p_page THEN
            o_next_ticket := last_ticket;
        END IF;
        EXIT WHEN cardinality(to_give) = 0;
        FOR place IN 1 .. cardinality(to_give) LOOP
            -- what goes past the line was looked at without those before it, some of whom have something now
            EXIT WHEN place > 1 AND to_give_below[place];
            UPDATE reservations r SET state = CASE WHEN per_ms IS NULL THEN 'held' ELSE 'spent' END, held_at = p_now::bigint, until = p_now::bigint + per_ms,
                fence = CASE WHEN kind = 'lock' THEN coalesce((SELECT h.fence FROM reservations h WHERE h.kind = 'lock' AND h.name = r.name AND h.state = 'held' AND h.root = r.root LIMIT 1),
                    nextval('reservation_numbers')) END
                WHERE saga = to_give[place];
            given := array_append(given, to_give[place]);
            given_tickets := array_append(given_tickets, to_give_tickets[place]);
        END LOOP;
    END LOOP;
    o_told := (SELECT coalesce(array_agg(g.saga ORDER BY g.ticket, g.saga), '{}') FROM unnest(given_tickets, given) AS g (ticket, saga));
    IF p_after IS NULL THEN
        FOR one IN SELECT saga FROM reservations WHERE told < 2 AND state <> 'waiting' AND ticket > 0 GROUP BY ticket, saga ORDER BY ticket, saga LIMIT p_page LOOP
            IF NOT one.saga = ANY (o_told) THEN
                o_told := array_append(o_told, one.saga);
            END IF;
        END LOOP;
    END IF;
    o_fence_sagas := '{}';
    o_fence_names := '{}';
    o_fences := '{}';
    IF cardinality(o_told) > 0 THEN
        FOR one IN SELECT saga, name, fence FROM reservations WHERE saga = ANY (o_told) AND kind = 'lock' AND fence IS NOT NULL LOOP
            o_fence_sagas := array_append(o_fence_sagas, one.saga);
            o_fence_names := array_append(o_fence_names, one.name);
            o_fences := array_append(o_fences, one.fence);
        END LOOP;
    END IF;
    IF o_next_ticket IS NULL THEN
        o_wake_at := (SELECT min(until) FROM reservations WHERE until > p_now);
    END IF;
END
$$;

-- Lets go of what is held by sagas that have ended with all above them, where that was not seen when they did.
CREATE FUNCTION tidy_reservations_12() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(4774189773973618695);
    DELETE FROM reservations r WHERE r.state = 'held'
        AND NOT EXISTS (SELECT 1 FROM sagas s WHERE s.id = r.saga AND s.active) AND NOT EXISTS (SELECT 1 FROM sagas s WHERE s.id = r.root AND s.active);
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
