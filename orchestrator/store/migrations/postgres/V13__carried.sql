-- After an import what was on its way to the orchestrator of the file lies in the inbox of the first partition, in whichever partition its saga lies now. There is a
-- row until whoever drives the first one has read that inbox once and passed on what belongs to others: until then nobody takes a verdict from time. At most one row.
CREATE TABLE carried (
    one smallint NOT NULL PRIMARY KEY CHECK (one = 1)
);
