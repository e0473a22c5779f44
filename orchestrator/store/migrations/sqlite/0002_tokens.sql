-- The named tokens of the HTTP API. Of a token only its SHA-256 is kept: whoever reads this file cannot use it.
CREATE TABLE tokens (
    name       TEXT    NOT NULL PRIMARY KEY,
    role       TEXT    NOT NULL,
    hash       BLOB    NOT NULL UNIQUE,
    made_at    INTEGER NOT NULL,
    made_by    TEXT    NOT NULL,
    expires_at INTEGER
) STRICT;
