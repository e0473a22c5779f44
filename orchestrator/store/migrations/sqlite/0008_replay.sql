-- What has become of a dead letter since it was taken in. `state`: dead, replaying, resolved, discarded. `replays`: how often it was sent back to work.
-- `action`: the id of what changed it last; `operation`: the replay of many it belongs to, or belonged to last. `grp`: letters of one cause share it.
ALTER TABLE dead_letters ADD COLUMN grp        TEXT    NOT NULL DEFAULT '';
ALTER TABLE dead_letters ADD COLUMN replays    INTEGER NOT NULL DEFAULT 0;
ALTER TABLE dead_letters ADD COLUMN changed_at INTEGER;
ALTER TABLE dead_letters ADD COLUMN changed_by TEXT;
ALTER TABLE dead_letters ADD COLUMN why        TEXT;
ALTER TABLE dead_letters ADD COLUMN note       TEXT;
ALTER TABLE dead_letters ADD COLUMN action     BLOB;
ALTER TABLE dead_letters ADD COLUMN operation  BLOB;
ALTER TABLE dead_letters ADD COLUMN outcome    TEXT;
-- those of before are told apart by their reason alone
UPDATE dead_letters SET grp = 'before-' || reason;
CREATE INDEX dead_letters_by_state ON dead_letters (state, at, id);
CREATE INDEX dead_letters_by_group ON dead_letters (grp, at, id, state);

-- Replays of many, each a document that is changed together with the letters it speaks of.
CREATE TABLE dead_operations (
    id      BLOB    NOT NULL PRIMARY KEY,
    made_at INTEGER NOT NULL,
    state   TEXT    NOT NULL,
    body    TEXT    NOT NULL
) STRICT;
CREATE INDEX dead_operations_by_age   ON dead_operations (made_at, id);
CREATE INDEX dead_operations_by_state ON dead_operations (state, made_at, id);

-- How many stand where, whoever moves or removes them.
INSERT INTO counts (partition, name, n) SELECT partition, 'letters.' || state, count(*) FROM dead_letters GROUP BY partition, state;
CREATE TRIGGER dead_letters_added AFTER INSERT ON dead_letters BEGIN
    INSERT INTO counts (partition, name, n) VALUES (NEW.partition, 'letters.' || NEW.state, 1)
        ON CONFLICT (partition, name) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER dead_letters_removed AFTER DELETE ON dead_letters BEGIN
    UPDATE counts SET n = n - 1 WHERE partition = OLD.partition AND name = 'letters.' || OLD.state;
END;
CREATE TRIGGER dead_letters_moved AFTER UPDATE OF state ON dead_letters WHEN OLD.state <> NEW.state BEGIN
    UPDATE counts SET n = n - 1 WHERE partition = OLD.partition AND name = 'letters.' || OLD.state;
    INSERT INTO counts (partition, name, n) VALUES (NEW.partition, 'letters.' || NEW.state, 1)
        ON CONFLICT (partition, name) DO UPDATE SET n = n + 1;
END;
