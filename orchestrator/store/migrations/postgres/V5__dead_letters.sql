-- What a letter is about, read out of it at its intake, so that it is found by that: null where it does not say, and in letters of before.
-- `replays_before`: how often it had been sent back to work before it died this time. `edition`: which copy of it is sent now, 0 being the original,
-- which stays as it came.
ALTER TABLE dead_letters
    ADD COLUMN pool           text,
    ADD COLUMN task_type      text,
    ADD COLUMN event_type     text,
    ADD COLUMN definition     text,
    ADD COLUMN worker         text,
    ADD COLUMN replays_before bigint NOT NULL DEFAULT 0,
    ADD COLUMN edition        bigint NOT NULL DEFAULT 0;
CREATE INDEX dead_letters_dead_by_group ON dead_letters (grp, at, id) WHERE state = 'dead';

-- Edited copies of letters. `body`: null where it is the original's. `difference`: to the copy before it, for people.
CREATE TABLE dead_edits (
    letter     uuid   NOT NULL,
    edition    bigint NOT NULL,
    at         bigint NOT NULL,
    by         text   NOT NULL,
    why        text   NOT NULL,
    action     uuid   NOT NULL,
    difference text   NOT NULL,
    properties text   NOT NULL,
    body       bytea,
    PRIMARY KEY (letter, edition)
);

-- How many letters that are dead were taken in in which hour, by group: nobody counts a million rows to see them.
CREATE TABLE dead_group_hours (
    grp       text COLLATE "C" NOT NULL,
    hour      bigint   NOT NULL,
    partition smallint NOT NULL,
    n         bigint   NOT NULL,
    PRIMARY KEY (grp, hour, partition)
);
INSERT INTO dead_group_hours (grp, hour, partition, n)
    SELECT grp, at / 3600000, partition, count(*) FROM dead_letters WHERE state = 'dead' GROUP BY 1, 2, 3;

CREATE FUNCTION add_group_hour(of_grp text, of_at bigint, of_partition smallint, more bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO dead_group_hours AS h (grp, hour, partition, n) VALUES (of_grp, of_at / 3600000, of_partition, more)
        ON CONFLICT (grp, hour, partition) DO UPDATE SET n = h.n + excluded.n;
    IF more < 0 THEN
        DELETE FROM dead_group_hours WHERE grp = of_grp AND hour = of_at / 3600000 AND partition = of_partition AND n <= 0;
    END IF;
END
$$;

-- Rows of groups are touched after `letters.dead` of their partition, which whoever touches them holds: so nobody waits for another in a circle.
CREATE OR REPLACE FUNCTION count_dead_letter() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM add_count(NEW.partition, 'letters.' || NEW.state, 1);
    ELSIF TG_OP = 'DELETE' THEN
        PERFORM add_count(OLD.partition, 'letters.' || OLD.state, -1);
    ELSIF OLD.state COLLATE "C" < NEW.state COLLATE "C" THEN
        PERFORM add_count(OLD.partition, 'letters.' || OLD.state, -1);
        PERFORM add_count(NEW.partition, 'letters.' || NEW.state, 1);
    ELSIF OLD.state <> NEW.state THEN
        PERFORM add_count(NEW.partition, 'letters.' || NEW.state, 1);
        PERFORM add_count(OLD.partition, 'letters.' || OLD.state, -1);
    END IF;
    IF TG_OP <> 'INSERT' AND OLD.state = 'dead' AND (TG_OP = 'DELETE' OR NEW.state <> 'dead') THEN
        PERFORM add_group_hour(OLD.grp, OLD.at, OLD.partition, -1);
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.state = 'dead' AND (TG_OP = 'INSERT' OR OLD.state <> 'dead') THEN
        PERFORM add_group_hour(NEW.grp, NEW.at, NEW.partition, 1);
    END IF;
    RETURN NULL;
END
$$;

-- A letter brings what it is about. Orchestrators of the version before go on beside us: their `commit_batch` and its types stay as they are, since a
-- type that grows refuses every commit of whoever does not know what it has grown by. Ours is one of its own, made of theirs.
CREATE TYPE batch_letter_5 AS (
    id uuid, at bigint, reason text, error text, queue text, exchange text, key text, message_id text, kind text, saga uuid,
    properties text, body bytea, grp text, pool text, task_type text, event_type text, definition text, worker text, replays_before bigint
);
DO $do$
DECLARE
    one record;
    text_of text;
    changed integer := 0;
BEGIN
    FOR one IN SELECT p.oid FROM pg_proc p WHERE p.proname = 'commit_batch' AND p.pronamespace = current_schema()::regnamespace LOOP
        text_of := pg_get_functiondef(one.oid);
        IF position('properties, body, grp)' IN text_of) > 0 AND position('b.properties, b.body, b.grp' IN text_of) > 0
            AND position('commit_batch(' IN text_of) > 0 AND position('b_letters batch_letter[]' IN text_of) > 0 THEN
            text_of := replace(text_of, 'commit_batch(', 'commit_batch_5(');
            text_of := replace(text_of, 'b_letters batch_letter[]', 'b_letters batch_letter_5[]');
            text_of := replace(text_of, 'properties, body, grp)', 'properties, body, grp, pool, task_type, event_type, definition, worker, replays_before)');
            EXECUTE replace(text_of, 'b.properties, b.body, b.grp',
                'b.properties, b.body, b.grp, b.pool, b.task_type, b.event_type, b.definition, b.worker, coalesce(b.replays_before, 0)');
            changed := changed + 1;
        END IF;
    END LOOP;
    IF changed <> 1 THEN
        RAISE EXCEPTION 'commit_batch does not write dead letters as this migration knows it';
    END IF;
END
$do$;
