-- What an orchestrator keeps. The log (`records`) is the truth; every other table is derived from it or stands beside it.
-- Ids are 16 bytes, instants are milliseconds since 1970 UTC, states are words, documents are JSON text.

-- Who owns which part of the sagas. The epoch fences every commit; the watermark says how far the log is known to be published.
CREATE TABLE partitions (
    id          INTEGER PRIMARY KEY,
    epoch       INTEGER NOT NULL,
    owner       TEXT    NOT NULL,
    lease_until INTEGER,
    watermark   INTEGER NOT NULL DEFAULT 0
) STRICT;

-- One row for each saga: where it stands and what it is searched by. Written when it starts and when its status changes.
CREATE TABLE sagas (
    number      INTEGER PRIMARY KEY,
    id          BLOB    NOT NULL UNIQUE,
    partition   INTEGER NOT NULL,
    slice       INTEGER NOT NULL,
    definition  TEXT    NOT NULL,
    version     INTEGER NOT NULL,
    status      TEXT    NOT NULL,
    active      INTEGER NOT NULL,
    paused      INTEGER NOT NULL,
    labels      TEXT    NOT NULL,
    started_by  TEXT    NOT NULL,
    started_at  INTEGER NOT NULL,
    changed_at  INTEGER NOT NULL,
    ended_at    INTEGER,
    cold        INTEGER NOT NULL DEFAULT 0,
    wake_at     INTEGER
) STRICT;
CREATE INDEX sagas_by_start      ON sagas (started_at, id);
CREATE INDEX sagas_by_status     ON sagas (status, started_at, id);
CREATE INDEX sagas_by_definition ON sagas (definition, started_at, id);
CREATE INDEX sagas_hot           ON sagas (partition, id) WHERE active = 1 AND cold = 0;
CREATE INDEX sagas_wake          ON sagas (partition, wake_at, id) WHERE wake_at IS NOT NULL;

CREATE TABLE saga_labels (
    name       TEXT    NOT NULL,
    value      TEXT    NOT NULL,
    started_at INTEGER NOT NULL,
    saga       BLOB    NOT NULL,
    PRIMARY KEY (name, value, started_at, saga)
) STRICT, WITHOUT ROWID;

-- The log, append-only. Partition and place in it are one number, so that a row is written at the end of one tree. The saga is named by
-- its number here: ids are random, and an index over them would touch a page of its own for nearly every row.
CREATE TABLE records (
    id        INTEGER PRIMARY KEY,
    partition INTEGER GENERATED ALWAYS AS (id >> 48) VIRTUAL,
    log_seq   INTEGER GENERATED ALWAYS AS (id & 281474976710655) VIRTUAL,
    saga      INTEGER NOT NULL,
    saga_seq  INTEGER NOT NULL,
    entry     TEXT    NOT NULL
) STRICT;
CREATE UNIQUE INDEX records_of_saga ON records (saga, saga_seq);

-- A saga's state at one point of its log, so that reading it folds few records.
CREATE TABLE snapshots (
    saga    BLOB    NOT NULL PRIMARY KEY,
    seq     INTEGER NOT NULL,
    version INTEGER NOT NULL,
    state   TEXT    NOT NULL
) STRICT;

-- Tasks the broker did not confirm: to be sent again. The id is that of the message.
CREATE TABLE unsent (
    id        BLOB    NOT NULL PRIMARY KEY,
    partition INTEGER NOT NULL,
    saga      BLOB    NOT NULL,
    since     INTEGER NOT NULL,
    attempt   TEXT    NOT NULL
) STRICT;
CREATE INDEX unsent_by_age ON unsent (partition, since, id);

-- Sagas with a step whose task type nobody serves.
CREATE TABLE unserved (
    partition INTEGER NOT NULL,
    task_type TEXT    NOT NULL,
    saga      BLOB    NOT NULL,
    PRIMARY KEY (partition, task_type, saga)
) STRICT, WITHOUT ROWID;

CREATE TABLE work_items (
    partition INTEGER NOT NULL,
    saga      BLOB    NOT NULL,
    number    INTEGER NOT NULL,
    opened_at INTEGER NOT NULL,
    owner     TEXT    NOT NULL,
    item      TEXT    NOT NULL,
    closed_at INTEGER,
    closed_by TEXT,
    PRIMARY KEY (saga, number)
) STRICT;
CREATE INDEX work_items_by_age ON work_items (opened_at, saga, number);
CREATE INDEX work_items_open   ON work_items (opened_at, saga, number) WHERE closed_at IS NULL;

-- Messages nobody could use, whole.
CREATE TABLE dead_letters (
    id         BLOB    NOT NULL PRIMARY KEY,
    partition  INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    state      TEXT    NOT NULL DEFAULT 'dead',
    reason     TEXT    NOT NULL,
    error      TEXT    NOT NULL,
    queue      TEXT    NOT NULL,
    exchange   TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    message_id TEXT,
    kind       TEXT,
    saga       BLOB,
    properties TEXT    NOT NULL,
    body       BLOB    NOT NULL
) STRICT;
CREATE INDEX dead_letters_by_age ON dead_letters (at, id);

-- Registered definitions, immutable.
CREATE TABLE definitions (
    name          TEXT    NOT NULL,
    version       INTEGER NOT NULL,
    source        TEXT    NOT NULL,
    registered_at INTEGER NOT NULL,
    registered_by TEXT    NOT NULL,
    PRIMARY KEY (name, version)
) STRICT;

-- The catalogue: what workers announced.
CREATE TABLE task_types (
    task_type TEXT    NOT NULL PRIMARY KEY,
    manifest  TEXT    NOT NULL,
    at        INTEGER NOT NULL
) STRICT;

-- How many rows there are, kept by every commit, so that a page of figures does not count a table.
CREATE TABLE counts (
    partition INTEGER NOT NULL,
    name      TEXT    NOT NULL,
    n         INTEGER NOT NULL,
    PRIMARY KEY (partition, name)
) STRICT, WITHOUT ROWID;

-- For people at the command line: the log with readable saga ids.
CREATE VIEW log AS
    SELECT r.partition, r.log_seq, lower(hex(s.id)) AS saga, r.saga_seq, r.entry FROM records r JOIN sagas s ON s.number = r.saga;
