-- What sagas take before their first step: a row for each thing of each. Who has it (`held`, `spent`) stands before who waits, in the order they came.
-- `ticket`: the place among all that ever waited. `root`: the saga at the top, in whose name locks are held. `told`: what the saga knows (1: that it is
-- held back, 2: that it was admitted). `until`: until when what was begun counts.
CREATE TABLE reservations (
    kind        text     COLLATE "C" NOT NULL,
    name        text     COLLATE "C" NOT NULL,
    state       text     COLLATE "C" NOT NULL,
    ticket      bigint   NOT NULL,
    saga        uuid     NOT NULL,
    root        uuid     NOT NULL,
    max         bigint   NOT NULL,
    per_ms      bigint,
    let_through boolean  NOT NULL DEFAULT false,
    fence       bigint,
    asked_at    bigint   NOT NULL,
    held_at     bigint,
    until       bigint,
    told        smallint NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, name, state, ticket, saga)
);
CREATE UNIQUE INDEX reservations_by_saga ON reservations (saga, kind, name);
CREATE INDEX reservations_by_root ON reservations (root);
CREATE INDEX reservations_waiting ON reservations (ticket, saga) WHERE held_at IS NULL;
CREATE INDEX reservations_spent   ON reservations (until) WHERE until IS NOT NULL;
CREATE INDEX reservations_untold  ON reservations (ticket, saga) WHERE told < 2 AND state <> 'waiting';

-- Numbers given, as a ticket or with a lock: each is higher than all before it, whatever was let go since.
CREATE SEQUENCE reservation_numbers;

-- What a batch changes of it: a list of {saga, at, what, …}. Called after `commit_batch` in the same statement, and so behind its fence and its rows of sagas.
-- Whoever changes these rows, or looks at the waiting, holds one advisory lock until that is committed: tickets are in the order of commits, and of a saga and
-- the one above it that end at once the second sees the first.
CREATE FUNCTION change_reservations(b_changes text) RETURNS void LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    one record;
    number bigint;
BEGIN
    -- most that ends has nothing to let go
    IF NOT EXISTS (SELECT 1 FROM jsonb_to_recordset(b_changes::jsonb) AS c (saga uuid, what text)
        WHERE c.what = 'wanted' OR EXISTS (SELECT 1 FROM reservations r WHERE r.saga = c.saga)
        OR EXISTS (SELECT 1 FROM reservations r WHERE r.root = c.saga)) THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(4774189773973618695);
    FOR one IN SELECT * FROM jsonb_to_recordset(b_changes::jsonb)
        AS c (saga uuid, at bigint, what text, root uuid, wants jsonb, lock text)
    LOOP
        CASE one.what
        WHEN 'wanted' THEN
            number := nextval('reservation_numbers');
            INSERT INTO reservations (kind, name, state, ticket, saga, root, max, per_ms, asked_at)
                SELECT w.kind, w.name, 'waiting', number, one.saga, one.root, w.max, w.per_ms, one.at
                FROM jsonb_to_recordset(one.wants) AS w (kind text, name text, max bigint, per_ms bigint)
                ON CONFLICT (saga, kind, name) DO NOTHING;
        WHEN 'told' THEN
            UPDATE reservations SET told = 2 WHERE saga = one.saga;
        WHEN 'asked' THEN
            -- it waits although it may have been admitted: whatever it was told, it does not know
            UPDATE reservations SET told = 0 WHERE saga = one.saga AND state <> 'waiting';
        WHEN 'held-back' THEN
            UPDATE reservations SET told = greatest(told, 1::smallint) WHERE saga = one.saga;
        WHEN 'let-through' THEN
            UPDATE reservations SET let_through = true WHERE saga = one.saga AND kind = 'blast-radius';
        WHEN 'broken' THEN
            DELETE FROM reservations WHERE kind = 'lock' AND name = one.lock AND state = 'held'
                AND root = (SELECT b.root FROM reservations b WHERE b.saga = one.saga AND b.kind = 'lock' AND b.name = one.lock AND b.state = 'held');
        WHEN 'over' THEN
            DELETE FROM reservations WHERE saga = one.saga AND (state = 'waiting' OR (state = 'held' AND kind <> 'lock'));
            DELETE FROM reservations r WHERE (r.saga = one.saga OR r.root = one.saga) AND r.state = 'held'
                AND NOT EXISTS (SELECT 1 FROM sagas s WHERE s.id = r.saga AND s.active)
                AND NOT EXISTS (SELECT 1 FROM sagas s WHERE s.id = r.root AND s.active);
            UPDATE reservations SET told = 2 WHERE saga = one.saga;
        ELSE
            NULL;
        END CASE;
    END LOOP;
END
$$;
