-- What an orchestrator tries alone, since the message it came in was delivered again and again. A row whose try came to an end is taken
-- away: what stays are tries over which a process died.
CREATE TABLE suspects (
    message BLOB    NOT NULL,
    part    INTEGER NOT NULL,
    tries   INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (message, part)
) STRICT, WITHOUT ROWID;
