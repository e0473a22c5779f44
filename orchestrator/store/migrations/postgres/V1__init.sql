-- What orchestrators keep. The log (`records`) is the truth; every other table is derived from it or stands beside it.
-- Instants are milliseconds since 1970 UTC (but leases, which are the database's own clock), states are words, documents are JSON text.
-- Words that are compared or sorted have the collation "C": their order is that of their bytes, wherever the server runs.

-- Who owns which part of the sagas, for how long. The epoch and the writer fence every commit; the watermark says how far the log is known to
-- be published. Written by every commit: the pages have room for the new versions of their few rows.
CREATE TABLE partitions (
    id          smallint PRIMARY KEY,
    epoch       bigint   NOT NULL,
    owner       text     NOT NULL,
    lease_until timestamptz,
    -- the connection of the owner that may commit: counted up by each new one, so that what an old one still has under way is refused
    writer      bigint   NOT NULL DEFAULT 0,
    watermark   bigint   NOT NULL DEFAULT 0,
    log_rows    bigint   NOT NULL DEFAULT 0
) WITH (fillfactor = 10);

-- Which partition has which slice of the sagas. One partition has all of them so far.
CREATE TABLE slices (
    slice     smallint PRIMARY KEY,
    partition smallint NOT NULL
);
INSERT INTO slices (slice, partition) SELECT slice, 0 FROM generate_series(0, 255) AS slice;

-- One row for each saga: where it stands and what it is searched by. Written when it starts and when its status changes.
CREATE TABLE sagas (
    number      bigint   GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id          uuid     NOT NULL UNIQUE,
    partition   smallint NOT NULL,
    slice       smallint NOT NULL,
    definition  text     COLLATE "C" NOT NULL,
    version     bigint   NOT NULL,
    status      text     COLLATE "C" NOT NULL,
    active      boolean  NOT NULL,
    paused      boolean  NOT NULL,
    labels      text     NOT NULL,
    label_keys  uuid[]   NOT NULL,
    started_by  text     NOT NULL,
    started_at  bigint   NOT NULL,
    changed_at  bigint   NOT NULL,
    ended_at    bigint,
    cold        boolean  NOT NULL DEFAULT false,
    wake_at     bigint
) WITH (fillfactor = 85);
-- The conditions hold for every row. They are there for the planner: only a list that repeats one runs along that index, whatever the statistics say.
CREATE INDEX sagas_by_start      ON sagas (started_at, id) WHERE number > 0;
CREATE INDEX sagas_by_status     ON sagas (status, started_at, id) WHERE slice >= 0;
CREATE INDEX sagas_by_definition ON sagas (definition, started_at, id) WHERE version >= 0;
CREATE INDEX sagas_hot           ON sagas (partition, id) WHERE active AND NOT cold;
CREATE INDEX sagas_wake          ON sagas (partition, wake_at, id) WHERE wake_at IS NOT NULL;

-- What sagas are labelled with: `key` is derived from name and value, which may be longer than an index takes.
CREATE TABLE saga_labels (
    key        uuid   NOT NULL,
    started_at bigint NOT NULL,
    saga       uuid   NOT NULL,
    PRIMARY KEY (key, started_at, saga)
);

-- Labels never change in the life of a saga; should a row say otherwise, it is found by what it says.
CREATE FUNCTION sagas_relabel() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM saga_labels WHERE key = ANY (OLD.label_keys) AND started_at = OLD.started_at AND saga = OLD.id;
    INSERT INTO saga_labels (key, started_at, saga) SELECT k.key, NEW.started_at, NEW.id FROM unnest(NEW.label_keys) AS k (key)
        ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER sagas_relabel AFTER UPDATE OF label_keys, started_at ON sagas FOR EACH ROW
    WHEN (OLD.label_keys IS DISTINCT FROM NEW.label_keys OR OLD.started_at <> NEW.started_at)
    EXECUTE FUNCTION sagas_relabel();

-- The log, append-only, dense in each partition. The saga is named by its number: ids are random, and an index over them would touch a page of
-- its own for nearly every row.
CREATE TABLE records (
    partition smallint NOT NULL,
    log_seq   bigint   NOT NULL,
    saga      bigint   NOT NULL,
    saga_seq  bigint   NOT NULL,
    entry     text     NOT NULL,
    PRIMARY KEY (partition, log_seq)
);
CREATE UNIQUE INDEX records_of_saga ON records (saga, saga_seq);

-- A saga's state at one point of its log, so that reading it folds few records.
CREATE TABLE snapshots (
    saga    uuid   PRIMARY KEY,
    seq     bigint NOT NULL,
    version bigint NOT NULL,
    state   text   NOT NULL
);

-- Tasks the broker did not confirm: to be sent again. The id is that of the message.
CREATE TABLE unsent (
    id        uuid     PRIMARY KEY,
    partition smallint NOT NULL,
    saga      uuid     NOT NULL,
    since     bigint   NOT NULL,
    attempt   text     NOT NULL
);
CREATE INDEX unsent_by_age ON unsent (partition, since, id);

-- Sagas with a step whose task type nobody serves.
CREATE TABLE unserved (
    partition smallint NOT NULL,
    task_type text     COLLATE "C" NOT NULL,
    saga      uuid     NOT NULL,
    PRIMARY KEY (partition, task_type, saga)
);

-- Steps that wait for events. `searched`: the events kept when it began have been looked through, and what fitted is committed.
CREATE TABLE subscriptions (
    partition smallint NOT NULL,
    saga      uuid     NOT NULL,
    step      text     COLLATE "C" NOT NULL,
    event     text     COLLATE "C" NOT NULL,
    since     bigint   NOT NULL,
    searched  boolean  NOT NULL,
    PRIMARY KEY (saga, step)
);
CREATE INDEX subscriptions_by_event   ON subscriptions (event, saga, step);
CREATE INDEX subscriptions_unsearched ON subscriptions (partition, saga, step) WHERE NOT searched;

CREATE TABLE work_items (
    partition smallint NOT NULL,
    saga      uuid     NOT NULL,
    number    bigint   NOT NULL,
    opened_at bigint   NOT NULL,
    kind      text     COLLATE "C" NOT NULL,
    owner     text     NOT NULL,
    item      text     NOT NULL,
    closed_at bigint,
    closed_by text,
    PRIMARY KEY (saga, number)
);
CREATE INDEX work_items_by_age ON work_items (opened_at, saga, number) WHERE number >= 0;
CREATE INDEX work_items_open   ON work_items (opened_at, saga, number) WHERE closed_at IS NULL;

-- Messages nobody could use, whole.
CREATE TABLE dead_letters (
    id         uuid     PRIMARY KEY,
    partition  smallint NOT NULL,
    at         bigint   NOT NULL,
    state      text     NOT NULL DEFAULT 'dead',
    reason     text     NOT NULL,
    error      text     NOT NULL,
    queue      text     NOT NULL,
    exchange   text     NOT NULL,
    key        text     NOT NULL,
    message_id text,
    kind       text,
    saga       uuid,
    properties text     NOT NULL,
    body       bytea    NOT NULL
);
CREATE INDEX dead_letters_by_age ON dead_letters (at, id);

-- Registered definitions, immutable.
CREATE TABLE definitions (
    name          text   COLLATE "C" NOT NULL,
    version       bigint NOT NULL,
    source        text   NOT NULL,
    registered_at bigint NOT NULL,
    registered_by text   NOT NULL,
    PRIMARY KEY (name, version)
);

-- The catalogue: what workers announced.
CREATE TABLE task_types (
    task_type text   COLLATE "C" PRIMARY KEY,
    manifest  text   NOT NULL,
    at        bigint NOT NULL
);

-- How many rows there are, kept by every commit, so that a page of figures does not count a table.
CREATE TABLE counts (
    partition smallint NOT NULL,
    name      text     COLLATE "C" NOT NULL,
    n         bigint   NOT NULL,
    PRIMARY KEY (partition, name)
) WITH (fillfactor = 10);

-- Each event once, with what it causes; `digest` is that of source and id, which may be longer than an index takes. `done`: all of that is
-- committed.
CREATE TABLE events (
    seq         bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest      bytea   NOT NULL UNIQUE,
    type        text    COLLATE "C" NOT NULL,
    received_at bigint  NOT NULL,
    done        boolean NOT NULL,
    effects     text    NOT NULL,
    body        text    NOT NULL
);
CREATE INDEX events_by_age  ON events (received_at, seq) WHERE seq > 0;
CREATE INDEX events_by_type ON events (type, received_at, seq);
CREATE INDEX events_undone  ON events (seq) WHERE NOT done;

-- Which saga further hits of a key join: while it has not ended, and until then. `digest` is that of the key.
CREATE TABLE keys (
    definition text   COLLATE "C" NOT NULL,
    digest     bytea  NOT NULL,
    key        text   NOT NULL,
    saga       uuid   NOT NULL,
    until      bigint NOT NULL,
    PRIMARY KEY (definition, digest)
);
CREATE INDEX keys_by_until ON keys (until, definition, digest);

-- How far each schedule has come, by its expression and zone; and what was left out, and why.
CREATE TABLE schedules (
    definition  text    COLLATE "C" NOT NULL,
    name        text    COLLATE "C" NOT NULL,
    trigger_no  bigint  NOT NULL,
    after       bigint  NOT NULL,
    last_at     bigint,
    last_saga   uuid,
    paused      boolean NOT NULL,
    skipped     bigint  NOT NULL,
    skipped_at  bigint,
    skipped_why text,
    PRIMARY KEY (definition, name)
);

-- What the queue of triggers may be bound to: written before it is bound, taken out after it is unbound.
CREATE TABLE bindings (
    pattern text COLLATE "C" PRIMARY KEY
);

-- The named tokens of the HTTP API. Of a token only its SHA-256 is kept: whoever reads this database cannot use it.
CREATE TABLE tokens (
    name       text  COLLATE "C" PRIMARY KEY,
    role       text  NOT NULL,
    hash       bytea NOT NULL UNIQUE,
    made_at    bigint NOT NULL,
    made_by    text  NOT NULL,
    expires_at bigint
);

-- What an orchestrator tries alone, since the message it came in was delivered again and again. A row whose try came to an end is taken
-- away: what stays are tries over which a process died.
CREATE TABLE suspects (
    message uuid   NOT NULL,
    part    bigint NOT NULL,
    tries   bigint NOT NULL,
    at      bigint NOT NULL,
    PRIMARY KEY (message, part)
);

-- One batch of a partition's owner. A batch is one call, and so one statement, one transaction and one round trip.
CREATE TYPE batch_saga AS (
    id uuid, slice smallint, definition text, version bigint, status text, active boolean, paused boolean, labels text, label_keys uuid[],
    started_by text, started_at bigint, changed_at bigint, ended_at bigint
);
CREATE TYPE batch_row AS (log_seq bigint, saga uuid, saga_seq bigint, entry text);
CREATE TYPE batch_cold AS (saga uuid, cold boolean, wake_at bigint);
CREATE TYPE batch_snapshot AS (saga uuid, seq bigint, version bigint, state text);
CREATE TYPE batch_unsent AS (id uuid, saga uuid, since bigint, attempt text);
CREATE TYPE batch_unserved AS (task_type text, saga uuid);
CREATE TYPE batch_step AS (saga uuid, step text);
CREATE TYPE batch_subscription AS (saga uuid, step text, event text, since bigint, searched boolean);
CREATE TYPE batch_item AS (
    saga uuid, number bigint, opened_at bigint, kind text, owner text, item text, closed_at bigint, closed_by text
);
CREATE TYPE batch_closing AS (saga uuid, number bigint, closed_at bigint, closed_by text);
CREATE TYPE batch_letter AS (
    id uuid, at bigint, reason text, error text, queue text, exchange text, key text, message_id text, kind text, saga uuid,
    properties text, body bytea
);

CREATE FUNCTION add_count(of_partition smallint, of_name text, more bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF more <> 0 THEN
        INSERT INTO counts (partition, name, n) VALUES (of_partition, of_name, more)
            ON CONFLICT (partition, name) DO UPDATE SET n = counts.n + excluded.n;
    END IF;
END
$$;

-- No row is twice in one array: whoever calls has folded them. The first thing done is the fence: under another epoch, or by another connection
-- of the same owner, nothing else is tried.
--
-- Rows are looked up one by one, by a subquery or in a loop, never by a join: a join that was planned while a table was empty may read all of it
-- when it has grown.
CREATE FUNCTION commit_batch(
    of_partition smallint, of_epoch bigint, of_writer bigint, published bigint,
    b_sagas batch_saga[], b_rows batch_row[], b_cold batch_cold[], b_snapshots batch_snapshot[],
    b_unsent_gone uuid[], b_unsent batch_unsent[], b_unserved_gone batch_unserved[], b_unserved batch_unserved[],
    b_steps_gone batch_step[], b_steps batch_subscription[], b_steps_searched batch_step[],
    b_items_closed batch_closing[], b_items batch_item[], b_letters batch_letter[]
) RETURNS void LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    touched bigint;
    one record;
    total bigint;
BEGIN
    UPDATE partitions SET watermark = published, log_rows = log_rows + cardinality(b_rows)
        WHERE id = of_partition AND epoch = of_epoch AND writer = of_writer;
    GET DIAGNOSTICS touched = ROW_COUNT;
    IF touched <> 1 THEN
        RAISE EXCEPTION 'partition % is owned no more under epoch % by writer %', of_partition, of_epoch, of_writer USING ERRCODE = 'BT001';
    END IF;

    IF cardinality(b_sagas) > 0 THEN
        INSERT INTO counts (partition, name, n)
            SELECT of_partition, 'saga.' || moved.status, sum(moved.n) FROM (
                SELECT (SELECT s.status FROM sagas s WHERE s.id = b.id) AS status, -1 AS n FROM unnest(b_sagas) AS b
                UNION ALL SELECT b.status, 1 FROM unnest(b_sagas) AS b
            ) AS moved WHERE moved.status IS NOT NULL GROUP BY moved.status HAVING sum(moved.n) <> 0
            ON CONFLICT (partition, name) DO UPDATE SET n = counts.n + excluded.n;
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
    IF cardinality(b_rows) > 0 THEN
        -- a saga without a row has no number: NOT NULL refuses its records
        INSERT INTO records (partition, log_seq, saga, saga_seq, entry)
            SELECT of_partition, b.log_seq, (SELECT s.number FROM sagas s WHERE s.id = b.saga), b.saga_seq, b.entry
            FROM unnest(b_rows) AS b;
    END IF;
    FOR one IN SELECT * FROM unnest(b_cold) LOOP
        UPDATE sagas SET cold = one.cold, wake_at = one.wake_at WHERE id = one.saga;
    END LOOP;
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
    FOR one IN SELECT * FROM unnest(b_unserved_gone) LOOP
        DELETE FROM unserved WHERE partition = of_partition AND task_type = one.task_type AND saga = one.saga;
    END LOOP;
    IF cardinality(b_unserved) > 0 THEN
        INSERT INTO unserved (partition, task_type, saga) SELECT of_partition, b.task_type, b.saga FROM unnest(b_unserved) AS b
            ON CONFLICT DO NOTHING;
    END IF;
    FOR one IN SELECT * FROM unnest(b_steps_gone) LOOP
        DELETE FROM subscriptions WHERE saga = one.saga AND step = one.step;
    END LOOP;
    IF cardinality(b_steps) > 0 THEN
        INSERT INTO subscriptions (partition, saga, step, event, since, searched)
            SELECT of_partition, b.saga, b.step, b.event, b.since, b.searched FROM unnest(b_steps) AS b
            ON CONFLICT (saga, step) DO UPDATE SET event = excluded.event, since = excluded.since, searched = excluded.searched;
    END IF;
    FOR one IN SELECT * FROM unnest(b_steps_searched) LOOP
        UPDATE subscriptions SET searched = true WHERE saga = one.saga AND step = one.step;
    END LOOP;
    total := 0;
    FOR one IN SELECT * FROM unnest(b_items_closed) LOOP
        UPDATE work_items SET closed_at = one.closed_at, closed_by = one.closed_by
            WHERE saga = one.saga AND number = one.number AND closed_at IS NULL;
        GET DIAGNOSTICS touched = ROW_COUNT;
        total := total + touched;
    END LOOP;
    PERFORM add_count(of_partition, 'work_items_open', -total);
    IF cardinality(b_items) > 0 THEN
        INSERT INTO work_items (partition, saga, number, opened_at, kind, owner, item, closed_at, closed_by)
            SELECT of_partition, b.saga, b.number, b.opened_at, b.kind, b.owner, b.item, b.closed_at, b.closed_by FROM unnest(b_items) AS b;
        PERFORM add_count(of_partition, 'work_items_open', (SELECT count(*) FROM unnest(b_items) AS b WHERE b.closed_at IS NULL));
    END IF;
    IF cardinality(b_letters) > 0 THEN
        INSERT INTO dead_letters (id, partition, at, reason, error, queue, exchange, key, message_id, kind, saga, properties, body)
            SELECT b.id, of_partition, b.at, b.reason, b.error, b.queue, b.exchange, b.key, b.message_id, b.kind, b.saga, b.properties, b.body
            FROM unnest(b_letters) AS b ON CONFLICT (id) DO NOTHING;
        GET DIAGNOSTICS touched = ROW_COUNT;
        PERFORM add_count(of_partition, 'dead_letters', touched);
    END IF;
END
$$;

-- For people at the command line: the log with the sagas' ids.
CREATE VIEW log AS
    SELECT r.partition, r.log_seq, s.id AS saga, r.saga_seq, r.entry FROM records r JOIN sagas s ON s.number = r.saga;
