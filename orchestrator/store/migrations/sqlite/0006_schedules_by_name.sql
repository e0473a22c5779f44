-- A schedule goes by its expression and zone, not by its place in the definition: a new version may order them otherwise. Beside it stands what
-- was left out, and why.
CREATE TABLE schedules_by_name (
    definition  TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    trigger_no  INTEGER NOT NULL,
    after       INTEGER NOT NULL,
    last_at     INTEGER,
    last_saga   BLOB,
    paused      INTEGER NOT NULL,
    skipped     INTEGER NOT NULL DEFAULT 0,
    skipped_at  INTEGER,
    skipped_why TEXT,
    PRIMARY KEY (definition, name)
) STRICT, WITHOUT ROWID;

-- The second of several with the same expression and zone is called `… (2)`.
INSERT INTO schedules_by_name (definition, name, trigger_no, after, last_at, last_saga, paused)
SELECT definition, rule || CASE nth WHEN 1 THEN '' ELSE ' (' || nth || ')' END, trigger_no, after, last_at, last_saga, paused
FROM (SELECT *, row_number() OVER (PARTITION BY definition, rule ORDER BY trigger_no) AS nth FROM schedules);

DROP TABLE schedules;
ALTER TABLE schedules_by_name RENAME TO schedules;
