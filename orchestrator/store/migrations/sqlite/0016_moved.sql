-- Where this file was moved to. There is a row from the moment its import into a database begins: from then on nobody drives the file. It goes when that import
-- comes to nothing, and is `done` when the database has everything. At most one row.
CREATE TABLE moved (
    one   INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    place TEXT    NOT NULL,
    at    INTEGER NOT NULL,
    done  INTEGER NOT NULL
) STRICT;
