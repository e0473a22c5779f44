-- Of a saga whose records were taken out its row stays, so that its id is never another saga's. `archive`: the file they lie in.
ALTER TABLE sagas ADD COLUMN purged_at INTEGER;
ALTER TABLE sagas ADD COLUMN archive TEXT;

-- Lists leave such rows out, and so do their indexes.
DROP INDEX sagas_by_start;
DROP INDEX sagas_by_status;
DROP INDEX sagas_by_definition;
CREATE INDEX sagas_by_start      ON sagas (started_at, id) WHERE purged_at IS NULL;
CREATE INDEX sagas_by_status     ON sagas (status, started_at, id) WHERE purged_at IS NULL;
CREATE INDEX sagas_by_definition ON sagas (definition, started_at, id) WHERE purged_at IS NULL;

-- Those that have ended, oldest first.
CREATE INDEX sagas_ended ON sagas (partition, ended_at, id) WHERE active = 0 AND purged_at IS NULL;
