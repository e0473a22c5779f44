-- What came out of a queue of dead letters and is not known to be acknowledged: one that the broker delivers again is the one it was, also of those that nobody
-- named. `print`: all that it is. Few: a row goes when its message is acknowledged.
CREATE TABLE dead_arrivals (
    id    uuid   NOT NULL PRIMARY KEY,
    queue text   COLLATE "C" NOT NULL,
    print uuid   NOT NULL,
    at    bigint NOT NULL
);
CREATE INDEX dead_arrivals_by_print ON dead_arrivals (queue, print);
CREATE INDEX dead_arrivals_by_age   ON dead_arrivals (queue, at);

-- When a letter died the last time: lists, groups, hours and alerts go by that. What was counted by the hour is counted anew.
DROP TRIGGER dead_letters_counted ON dead_letters;
ALTER TABLE dead_letters ADD COLUMN died_at bigint;
UPDATE dead_letters SET died_at = (SELECT max(h.at) FROM dead_history h WHERE h.letter = dead_letters.id AND h.what = 'died') WHERE died_again > 0;
-- No column of its own: that would write the whole table anew. The indexes of before stay for the orchestrators of before.
CREATE INDEX dead_letters_seen          ON dead_letters (coalesce(died_at, at), id);
CREATE INDEX dead_letters_state_seen    ON dead_letters (state, coalesce(died_at, at), id);
CREATE INDEX dead_letters_group_seen    ON dead_letters (grp, coalesce(died_at, at), id, state);
CREATE INDEX dead_letters_dead_seen     ON dead_letters (grp, coalesce(died_at, at), id) WHERE state = 'dead';
DELETE FROM dead_group_hours;
INSERT INTO dead_group_hours (grp, hour, partition, n)
    SELECT grp, coalesce(died_at, at) / 3600000, partition, count(*) FROM dead_letters WHERE state = 'dead' GROUP BY 1, 2, 3;

-- Rows of groups are touched after `letters.dead` of their partition, which whoever touches them holds: so nobody waits for another in a circle.
CREATE OR REPLACE FUNCTION count_dead_letter() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    is_later boolean := TG_OP = 'UPDATE' AND OLD.died_at IS DISTINCT FROM NEW.died_at;
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
    ELSIF is_later AND NEW.state = 'dead' THEN
        PERFORM 1 FROM counts WHERE partition = NEW.partition AND name = 'letters.dead' FOR UPDATE;
    END IF;
    IF TG_OP <> 'INSERT' AND OLD.state = 'dead' AND (TG_OP = 'DELETE' OR NEW.state <> 'dead' OR is_later) THEN
        PERFORM add_group_hour(OLD.grp, coalesce(OLD.died_at, OLD.at), OLD.partition, -1);
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.state = 'dead' AND (TG_OP = 'INSERT' OR OLD.state <> 'dead' OR is_later) THEN
        PERFORM add_group_hour(NEW.grp, coalesce(NEW.died_at, NEW.at), NEW.partition, 1);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER dead_letters_counted AFTER INSERT OR DELETE OR UPDATE OF state, died_at ON dead_letters
    FOR EACH ROW EXECUTE FUNCTION count_dead_letter();
