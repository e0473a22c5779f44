-- What operators did. `body` is the canonical form of the row, which is what `hash` is over; all else is read out of it, so that a list cannot say
-- anything else than what was hashed; a character that no text here may hold is read as another. Rows are only ever added.
CREATE TABLE audit (
    seq     bigint PRIMARY KEY,
    body    text   NOT NULL,
    hash    text   COLLATE "C" NOT NULL UNIQUE,
    at      bigint NOT NULL GENERATED ALWAYS AS ((replace(body, '\u0000', '\u0001')::json ->> 'at')::bigint) STORED,
    who     text   COLLATE "C" NOT NULL GENERATED ALWAYS AS (replace(body, '\u0000', '\u0001')::json ->> 'who') STORED,
    action  text   COLLATE "C" NOT NULL GENERATED ALWAYS AS (replace(body, '\u0000', '\u0001')::json ->> 'action') STORED,
    object  text   COLLATE "C" NOT NULL GENERATED ALWAYS AS (replace(body, '\u0000', '\u0001')::json ->> 'object') STORED,
    phase   text   COLLATE "C" NOT NULL GENERATED ALWAYS AS (replace(body, '\u0000', '\u0001')::json ->> 'phase') STORED,
    answers bigint GENERATED ALWAYS AS ((replace(body, '\u0000', '\u0001')::json ->> 'of')::bigint) STORED
);
CREATE INDEX audit_by_age    ON audit (at, seq);
CREATE INDEX audit_by_who    ON audit (who, at, seq);
CREATE INDEX audit_by_action ON audit (action, at, seq);
CREATE INDEX audit_by_object ON audit (object, at, seq);
CREATE INDEX audit_by_answer ON audit (answers) WHERE answers IS NOT NULL;
CREATE FUNCTION audit_is_only_added_to() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of the audit log never change and never go';
END
$$;
CREATE TRIGGER audit_never_changes BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_is_only_added_to();
CREATE TRIGGER audit_never_goes BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_is_only_added_to();

-- What needs a person, or did. `revision` counts changes: whoever changes one says which he saw. `body` has all of it; `unsaid`: an event of it is
-- still to be published.
CREATE TABLE alerts (
    id        uuid    PRIMARY KEY,
    key       text    COLLATE "C" NOT NULL UNIQUE,
    kind      text    COLLATE "C" NOT NULL,
    state     text    COLLATE "C" NOT NULL,
    opened_at bigint  NOT NULL,
    revision  bigint  NOT NULL,
    unsaid    boolean NOT NULL,
    body      text    NOT NULL
);
CREATE INDEX alerts_by_age    ON alerts (opened_at, id);
CREATE INDEX alerts_by_state  ON alerts (state, opened_at, id);
CREATE INDEX alerts_unsaid    ON alerts (opened_at, id) WHERE unsaid;
