-- What came out of a queue of dead letters and is not known to be acknowledged: one that the broker delivers again is the one it was, also of those that nobody
-- named. `print`: all that it is. Few: a row goes when its message is acknowledged.
CREATE TABLE dead_arrivals (
    id    BLOB    NOT NULL PRIMARY KEY,
    queue TEXT    NOT NULL,
    print BLOB    NOT NULL,
    at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX dead_arrivals_by_print ON dead_arrivals (queue, print);
CREATE INDEX dead_arrivals_by_age   ON dead_arrivals (queue, at);

-- When a letter died the last time: lists, groups, hours and alerts go by that. The triggers that count go first: what they counted is counted anew.
DROP TRIGGER dead_group_added;
DROP TRIGGER dead_group_removed;
DROP TRIGGER dead_group_left;
DROP TRIGGER dead_group_back;
ALTER TABLE dead_letters ADD COLUMN died_at INTEGER;
ALTER TABLE dead_letters ADD COLUMN seen_at INTEGER GENERATED ALWAYS AS (coalesce(died_at, at)) VIRTUAL;
UPDATE dead_letters SET died_at = (SELECT max(h.at) FROM dead_history h WHERE h.letter = dead_letters.id AND h.what = 'died') WHERE died_again > 0;
DROP INDEX dead_letters_by_age;
DROP INDEX dead_letters_by_state;
DROP INDEX dead_letters_by_group;
DROP INDEX dead_letters_dead_by_group;
CREATE INDEX dead_letters_by_age        ON dead_letters (seen_at, id);
CREATE INDEX dead_letters_by_state      ON dead_letters (state, seen_at, id);
CREATE INDEX dead_letters_by_group      ON dead_letters (grp, seen_at, id, state);
CREATE INDEX dead_letters_dead_by_group ON dead_letters (grp, seen_at, id) WHERE state = 'dead';
DELETE FROM dead_group_hours;
INSERT INTO dead_group_hours (grp, hour, partition, n)
    SELECT grp, seen_at / 3600000, partition, count(*) FROM dead_letters WHERE state = 'dead' GROUP BY 1, 2, 3;
CREATE TRIGGER dead_group_added AFTER INSERT ON dead_letters WHEN NEW.state = 'dead' BEGIN
    INSERT INTO dead_group_hours (grp, hour, partition, n) VALUES (NEW.grp, coalesce(NEW.died_at, NEW.at) / 3600000, NEW.partition, 1)
        ON CONFLICT (grp, hour, partition) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER dead_group_removed AFTER DELETE ON dead_letters WHEN OLD.state = 'dead' BEGIN
    UPDATE dead_group_hours SET n = n - 1 WHERE grp = OLD.grp AND hour = coalesce(OLD.died_at, OLD.at) / 3600000 AND partition = OLD.partition;
    DELETE FROM dead_group_hours WHERE grp = OLD.grp AND hour = coalesce(OLD.died_at, OLD.at) / 3600000 AND partition = OLD.partition AND n <= 0;
END;
-- One update: a letter that dies again moves to another hour, whether or not it was dead before.
CREATE TRIGGER dead_group_moved AFTER UPDATE OF state, died_at ON dead_letters
    WHEN (OLD.state = 'dead' OR NEW.state = 'dead') AND (OLD.state <> NEW.state OR OLD.died_at IS NOT NEW.died_at) BEGIN
    UPDATE dead_group_hours SET n = n - 1
        WHERE OLD.state = 'dead' AND grp = OLD.grp AND hour = coalesce(OLD.died_at, OLD.at) / 3600000 AND partition = OLD.partition;
    INSERT INTO dead_group_hours (grp, hour, partition, n) SELECT NEW.grp, coalesce(NEW.died_at, NEW.at) / 3600000, NEW.partition, 1 WHERE NEW.state = 'dead'
        ON CONFLICT (grp, hour, partition) DO UPDATE SET n = n + 1;
    DELETE FROM dead_group_hours
        WHERE OLD.state = 'dead' AND grp = OLD.grp AND hour = coalesce(OLD.died_at, OLD.at) / 3600000 AND partition = OLD.partition AND n <= 0;
END;
