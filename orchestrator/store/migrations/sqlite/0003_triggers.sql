-- What begins sagas by itself: events that were taken in, keys that join them, schedules, and what the queue of triggers is bound to.

-- Each event once, by source and id, with what it causes. `done`: all of that is committed.
CREATE TABLE events (
    seq         INTEGER PRIMARY KEY,
    source      TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    type        TEXT    NOT NULL,
    received_at INTEGER NOT NULL,
    done        INTEGER NOT NULL,
    effects     TEXT    NOT NULL,
    body        TEXT    NOT NULL,
    UNIQUE (source, id)
) STRICT;
CREATE INDEX events_by_age  ON events (received_at, seq);
CREATE INDEX events_by_type ON events (type, received_at, seq);
CREATE INDEX events_undone  ON events (seq) WHERE done = 0;

-- Which saga further hits of a key join: while it has not ended, and until then.
CREATE TABLE keys (
    definition TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    saga       BLOB    NOT NULL,
    until      INTEGER NOT NULL,
    PRIMARY KEY (definition, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_by_until ON keys (until, definition, key);

-- How far each schedule has come. `rule` is what it was reckoned by: another rule begins anew.
CREATE TABLE schedules (
    definition TEXT    NOT NULL,
    trigger_no INTEGER NOT NULL,
    rule       TEXT    NOT NULL,
    after      INTEGER NOT NULL,
    last_at    INTEGER,
    last_saga  BLOB,
    paused     INTEGER NOT NULL,
    PRIMARY KEY (definition, trigger_no)
) STRICT, WITHOUT ROWID;

-- What the queue of triggers may be bound to: written before it is bound, taken out after it is unbound.
CREATE TABLE bindings (
    pattern TEXT NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;
