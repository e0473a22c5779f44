-- What sagas take before their first step: a row for each thing of each. Who has it (`held`, `spent`) stands before who waits, in the order they came.
-- `ticket`: the place among all that ever waited. `root`: the saga at the top, in whose name locks are held. `told`: what the saga knows (1: that it is
-- held back, 2: that it was admitted). `until`: until when what was begun counts.
CREATE TABLE reservations (
    kind        TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    ticket      INTEGER NOT NULL,
    saga        BLOB    NOT NULL,
    root        BLOB    NOT NULL,
    max         INTEGER NOT NULL,
    per_ms      INTEGER,
    let_through INTEGER NOT NULL DEFAULT 0,
    fence       INTEGER,
    asked_at    INTEGER NOT NULL,
    held_at     INTEGER,
    until       INTEGER,
    told        INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, name, state, ticket, saga)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX reservations_by_saga ON reservations (saga, kind, name);
CREATE INDEX reservations_by_root ON reservations (root);
CREATE INDEX reservations_waiting ON reservations (ticket, saga) WHERE held_at IS NULL;
CREATE INDEX reservations_spent   ON reservations (until) WHERE until IS NOT NULL;
CREATE INDEX reservations_untold  ON reservations (ticket, saga) WHERE told < 2 AND state <> 'waiting';

-- The last number given, as a ticket or with a lock: each is higher than all before it, whatever was let go since.
CREATE TABLE reservation_numbers (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    n   INTEGER NOT NULL
) STRICT;
INSERT INTO reservation_numbers (one, n) VALUES (1, 0);
