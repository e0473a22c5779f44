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

-- Where this file was moved to. There is a row from the moment its import into a database begins: from then on nobody drives the file. It goes when that import
-- comes to nothing, and is `done` when the database has everything. At most one row.
CREATE TABLE moved (
    one   INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    place TEXT    NOT NULL,
    at    INTEGER NOT NULL,
    done  INTEGER NOT NULL
) STRICT;
