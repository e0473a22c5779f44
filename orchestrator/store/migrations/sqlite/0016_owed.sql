-- Events and words to other sagas that the broker did not confirm: to be published again. The id is that of the message, `what` the message as JSON. What waits
-- in one `lane` goes where the others of it go, so that one of it is tried for all; its place there is since when it waits, and its id.
CREATE TABLE owed (
    id        BLOB    NOT NULL PRIMARY KEY,
    partition INTEGER NOT NULL,
    lane      TEXT    NOT NULL,
    saga      BLOB    NOT NULL,
    since     INTEGER NOT NULL,
    what      TEXT    NOT NULL
) STRICT;
CREATE INDEX owed_by_lane ON owed (partition, lane, since, id);
