-- What came of a letter after it was sent. `attempt`: the attempt its saga minted for it the last time; `sent_at`: it is on its way, was sent, and its outcome
-- is waited for; `stage`: of the replay of many it set out in; `died_again`: how often it died after it was sent back.
ALTER TABLE dead_letters ADD COLUMN attempt    TEXT;
ALTER TABLE dead_letters ADD COLUMN sent_at    INTEGER;
ALTER TABLE dead_letters ADD COLUMN stage      INTEGER;
ALTER TABLE dead_letters ADD COLUMN died_again INTEGER NOT NULL DEFAULT 0;
CREATE INDEX dead_letters_awaited   ON dead_letters (id) WHERE state = 'replaying' AND sent_at IS NOT NULL;
CREATE INDEX dead_letters_by_saga   ON dead_letters (saga, at, id) WHERE saga IS NOT NULL;
CREATE INDEX dead_letters_by_change ON dead_letters (state, changed_at, id);

-- What happened to a letter after it was taken in, in order: who sent it and what came of that, deaths after the first, discards. `death`: the id of a
-- death, so that one that is taken in twice is one; with it what the message was when it died: `properties`, and `body` where it is another one than before.
CREATE TABLE dead_history (
    letter     BLOB    NOT NULL,
    n          INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    what       TEXT    NOT NULL,
    by         TEXT    NOT NULL,
    why        TEXT    NOT NULL,
    text       TEXT    NOT NULL,
    death      BLOB,
    properties TEXT,
    body       BLOB,
    PRIMARY KEY (letter, n)
) STRICT;
CREATE UNIQUE INDEX dead_history_by_death ON dead_history (death) WHERE death IS NOT NULL;
