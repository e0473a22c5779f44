-- What a letter is about, read out of it at its intake, so that it is found by that: null where it does not say, and in letters of before.
ALTER TABLE dead_letters ADD COLUMN pool           TEXT;
ALTER TABLE dead_letters ADD COLUMN task_type      TEXT;
ALTER TABLE dead_letters ADD COLUMN event_type     TEXT;
ALTER TABLE dead_letters ADD COLUMN definition     TEXT;
ALTER TABLE dead_letters ADD COLUMN worker         TEXT;
-- How often it had been sent back to work before it died this time; `edition`: which copy of it is sent now, 0 being the original, which stays as it came.
ALTER TABLE dead_letters ADD COLUMN replays_before INTEGER NOT NULL DEFAULT 0;
ALTER TABLE dead_letters ADD COLUMN edition        INTEGER NOT NULL DEFAULT 0;
CREATE INDEX dead_letters_dead_by_group ON dead_letters (grp, at, id) WHERE state = 'dead';

-- Edited copies of letters. `body`: null where it is the original's. `difference`: to the copy before it, for people.
CREATE TABLE dead_edits (
    letter     BLOB    NOT NULL,
    edition    INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    by         TEXT    NOT NULL,
    why        TEXT    NOT NULL,
    action     BLOB    NOT NULL,
    difference TEXT    NOT NULL,
    properties TEXT    NOT NULL,
    body       BLOB,
    PRIMARY KEY (letter, edition)
) STRICT;

-- How many letters that are dead were taken in in which hour, by group: nobody counts a million rows to see them.
CREATE TABLE dead_group_hours (
    grp       TEXT    NOT NULL,
    hour      INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    n         INTEGER NOT NULL,
    PRIMARY KEY (grp, hour, partition)
) STRICT, WITHOUT ROWID;
INSERT INTO dead_group_hours (grp, hour, partition, n)
    SELECT grp, at / 3600000, partition, count(*) FROM dead_letters WHERE state = 'dead' GROUP BY 1, 2, 3;
CREATE TRIGGER dead_group_added AFTER INSERT ON dead_letters WHEN NEW.state = 'dead' BEGIN
    INSERT INTO dead_group_hours (grp, hour, partition, n) VALUES (NEW.grp, NEW.at / 3600000, NEW.partition, 1)
        ON CONFLICT (grp, hour, partition) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER dead_group_removed AFTER DELETE ON dead_letters WHEN OLD.state = 'dead' BEGIN
    UPDATE dead_group_hours SET n = n - 1 WHERE grp = OLD.grp AND hour = OLD.at / 3600000 AND partition = OLD.partition;
    DELETE FROM dead_group_hours WHERE grp = OLD.grp AND hour = OLD.at / 3600000 AND partition = OLD.partition AND n <= 0;
END;
CREATE TRIGGER dead_group_left AFTER UPDATE OF state ON dead_letters WHEN OLD.state = 'dead' AND NEW.state <> 'dead' BEGIN
    UPDATE dead_group_hours SET n = n - 1 WHERE grp = OLD.grp AND hour = OLD.at / 3600000 AND partition = OLD.partition;
    DELETE FROM dead_group_hours WHERE grp = OLD.grp AND hour = OLD.at / 3600000 AND partition = OLD.partition AND n <= 0;
END;
CREATE TRIGGER dead_group_back AFTER UPDATE OF state ON dead_letters WHEN OLD.state <> 'dead' AND NEW.state = 'dead' BEGIN
    INSERT INTO dead_group_hours (grp, hour, partition, n) VALUES (NEW.grp, NEW.at / 3600000, NEW.partition, 1)
        ON CONFLICT (grp, hour, partition) DO UPDATE SET n = n + 1;
END;
