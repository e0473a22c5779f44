-- Steps that wait for events. `searched`: the events kept when it began have been looked through, and what fitted is committed.
CREATE TABLE subscriptions (
    partition INTEGER NOT NULL,
    saga      BLOB    NOT NULL,
    step      TEXT    NOT NULL,
    event     TEXT    NOT NULL,
    since     INTEGER NOT NULL,
    searched  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (saga, step)
) STRICT, WITHOUT ROWID;
CREATE INDEX subscriptions_by_event   ON subscriptions (event, saga, step);
CREATE INDEX subscriptions_unsearched ON subscriptions (partition, saga, step) WHERE searched = 0;
