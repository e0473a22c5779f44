-- What came of a letter after it was sent. `attempt`: the attempt its saga minted for it the last time; `sent_at`: it is on its way, was sent, and its outcome
-- is waited for; `stage`: of the replay of many it set out in; `died_again`: how often it died after it was sent back.
ALTER TABLE dead_letters
    ADD COLUMN attempt    text,
    ADD COLUMN sent_at    bigint,
    ADD COLUMN stage      bigint,
    ADD COLUMN died_again bigint NOT NULL DEFAULT 0;
CREATE INDEX dead_letters_awaited   ON dead_letters (id) WHERE state = 'replaying' AND sent_at IS NOT NULL;
CREATE INDEX dead_letters_by_saga   ON dead_letters (saga, at, id) WHERE saga IS NOT NULL;
CREATE INDEX dead_letters_by_change ON dead_letters (state, changed_at, id);

-- What happened to a letter after it was taken in, in order: who sent it and what came of that, deaths after the first, discards. `death`: the id of a
-- death, so that one that is taken in twice is one; with it what the message was when it died: `properties`, and `body` where it is another one than before.
CREATE TABLE dead_history (
    letter     uuid   NOT NULL,
    n          bigint NOT NULL,
    at         bigint NOT NULL,
    what       text   NOT NULL,
    by         text   NOT NULL,
    why        text   NOT NULL,
    text       text   NOT NULL,
    death      uuid,
    properties text,
    body       bytea,
    PRIMARY KEY (letter, n)
);
CREATE UNIQUE INDEX dead_history_by_death ON dead_history (death) WHERE death IS NOT NULL;
