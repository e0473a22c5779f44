-- What operators did. `body` is the canonical form of the row, which is what `hash` is over; all else is read out of it, so that a list cannot say
-- anything else than what was hashed. Rows are only ever added.
CREATE TABLE audit (
    seq     INTEGER NOT NULL PRIMARY KEY,
    body    TEXT    NOT NULL,
    hash    TEXT    NOT NULL UNIQUE,
    at      INTEGER NOT NULL GENERATED ALWAYS AS (json_extract(body, '$.at')) VIRTUAL,
    who     TEXT    NOT NULL GENERATED ALWAYS AS (json_extract(body, '$.who')) VIRTUAL,
    action  TEXT    NOT NULL GENERATED ALWAYS AS (json_extract(body, '$.action')) VIRTUAL,
    object  TEXT    NOT NULL GENERATED ALWAYS AS (json_extract(body, '$.object')) VIRTUAL,
    phase   TEXT    NOT NULL GENERATED ALWAYS AS (json_extract(body, '$.phase')) VIRTUAL,
    answers INTEGER GENERATED ALWAYS AS (json_extract(body, '$.of')) VIRTUAL
) STRICT;
CREATE INDEX audit_by_age    ON audit (at, seq);
CREATE INDEX audit_by_who    ON audit (who, at, seq);
CREATE INDEX audit_by_action ON audit (action, at, seq);
CREATE INDEX audit_by_object ON audit (object, at, seq);
CREATE INDEX audit_by_answer ON audit (answers) WHERE answers IS NOT NULL;
CREATE TRIGGER audit_never_changes BEFORE UPDATE ON audit BEGIN
    SELECT raise(ABORT, 'rows of the audit log never change');
END;
CREATE TRIGGER audit_never_goes BEFORE DELETE ON audit BEGIN
    SELECT raise(ABORT, 'rows of the audit log never go');
END;
CREATE TRIGGER audit_is_dense BEFORE INSERT ON audit WHEN NEW.seq <> 1 + coalesce((SELECT max(seq) FROM audit), 0) BEGIN
    SELECT raise(ABORT, 'a row of the audit log is added behind the last one');
END;

-- What needs a person, or did. `revision` counts changes: whoever changes one says which he saw. `body` has all of it; `unsaid`: an event of it is
-- still to be published.
CREATE TABLE alerts (
    id        BLOB    NOT NULL PRIMARY KEY,
    key       TEXT    NOT NULL UNIQUE,
    kind      TEXT    NOT NULL,
    state     TEXT    NOT NULL,
    opened_at INTEGER NOT NULL,
    revision  INTEGER NOT NULL,
    unsaid    INTEGER NOT NULL,
    body      TEXT    NOT NULL
) STRICT;
CREATE INDEX alerts_by_age    ON alerts (opened_at, id);
CREATE INDEX alerts_by_state  ON alerts (state, opened_at, id);
CREATE INDEX alerts_unsaid    ON alerts (opened_at, id) WHERE unsaid = 1;
