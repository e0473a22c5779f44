-- What has become of a dead letter since it was taken in. `state`: dead, replaying, resolved, discarded. `replays`: how often it was sent back to work.
-- `action`: the id of what changed it last; `operation`: the replay of many it belongs to, or belonged to last. `grp`: letters of one cause share it.
ALTER TABLE dead_letters
    ADD COLUMN grp        text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN replays    bigint NOT NULL DEFAULT 0,
    ADD COLUMN changed_at bigint,
    ADD COLUMN changed_by text,
    ADD COLUMN why        text,
    ADD COLUMN note       text,
    ADD COLUMN action     uuid,
    ADD COLUMN operation  uuid,
    ADD COLUMN outcome    text;
-- those of before are told apart by their reason alone
UPDATE dead_letters SET grp = 'before-' || reason;
CREATE INDEX dead_letters_by_state ON dead_letters (state, at, id);
CREATE INDEX dead_letters_by_group ON dead_letters (grp, at, id, state);

-- Replays of many, each a document that is changed together with the letters it speaks of.
CREATE TABLE dead_operations (
    id      uuid   PRIMARY KEY,
    made_at bigint NOT NULL,
    state   text   NOT NULL,
    body    text   NOT NULL
);
CREATE INDEX dead_operations_by_age   ON dead_operations (made_at, id);
CREATE INDEX dead_operations_by_state ON dead_operations (state, made_at, id);

-- How many stand where, whoever moves or removes them. Rows of counts are touched in the order of their names: two that move letters never wait for each other.
INSERT INTO counts (partition, name, n) SELECT partition, 'letters.' || state, count(*) FROM dead_letters GROUP BY partition, state;
CREATE FUNCTION count_dead_letter() RETURNS trigger LANGUAGE plpgsql AS $$
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
    RETURN NULL;
END
$$;
CREATE TRIGGER dead_letters_counted AFTER INSERT OR DELETE OR UPDATE OF state ON dead_letters
    FOR EACH ROW EXECUTE FUNCTION count_dead_letter();

-- A letter brings its group. `commit_batch` is changed where it stands, so that nothing else another version has made of it is lost.
ALTER TYPE batch_letter ADD ATTRIBUTE grp text;
DO $do$
DECLARE
    one record;
    text_of text;
    changed integer := 0;
BEGIN
    FOR one IN SELECT p.oid FROM pg_proc p WHERE p.proname = 'commit_batch' AND p.pronamespace = current_schema()::regnamespace LOOP
        text_of := pg_get_functiondef(one.oid);
        IF position('kind, saga, properties, body)' IN text_of) > 0 AND position('b.properties, b.body' IN text_of) > 0 THEN
            text_of := replace(text_of, 'kind, saga, properties, body)', 'kind, saga, properties, body, grp)');
            EXECUTE replace(text_of, 'b.properties, b.body', 'b.properties, b.body, b.grp');
            changed := changed + 1;
        END IF;
    END LOOP;
    IF changed = 0 THEN
        RAISE EXCEPTION 'commit_batch does not write dead letters as this migration knows it';
    END IF;
END
$do$;
