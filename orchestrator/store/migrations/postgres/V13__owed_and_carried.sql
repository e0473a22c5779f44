-- Events and words to other sagas that the broker did not confirm: to be published again. The id is that of the message, `what` the message as JSON. What waits
-- in one `lane` goes where the others of it go, so that one of it is tried for all; its place there is since when it waits, and its id. An orchestrator of the
-- version before knows nothing of it: what stands here waits until one of this version drives the partition.
CREATE TABLE owed (
    id        uuid     PRIMARY KEY,
    partition smallint NOT NULL,
    lane      text     COLLATE "C" NOT NULL,
    saga      uuid     NOT NULL,
    since     bigint   NOT NULL,
    what      text     NOT NULL
);
CREATE INDEX owed_by_lane ON owed (partition, lane, since, id);

-- What a batch changes of it: `gone`, a list of ids, and `new`, a list of {id, lane, saga, since, what}. Called after `commit_batch_12` in the same statement,
-- and so behind its fence. What is both removed and added stays: what is published once too often is known by its id, what is forgotten is lost.
CREATE FUNCTION change_owed(of_partition smallint, b_changes text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    changes jsonb := b_changes::jsonb;
    touched bigint;
BEGIN
    DELETE FROM owed o WHERE o.id = ANY (ARRAY(SELECT g.id::uuid FROM jsonb_array_elements_text(changes -> 'gone') AS g (id)));
    GET DIAGNOSTICS touched = ROW_COUNT;
    PERFORM add_count(of_partition, 'owed', -touched);
    INSERT INTO owed (id, partition, lane, saga, since, what)
        SELECT n.id, of_partition, n.lane, n.saga, n.since, n.what
        FROM jsonb_to_recordset(changes -> 'new') AS n (id uuid, lane text, saga uuid, since bigint, what text)
        ON CONFLICT (id) DO NOTHING;
    GET DIAGNOSTICS touched = ROW_COUNT;
    PERFORM add_count(of_partition, 'owed', touched);
END
$$;

-- After an import what was on its way to the orchestrator of the file lies in the inbox of the first partition, in whichever partition its saga lies now. There is a
-- row until whoever drives the first one has read that inbox once and passed on what belongs to others: until then nobody takes a verdict from time. At most one row.
CREATE TABLE carried (
    one smallint NOT NULL PRIMARY KEY CHECK (one = 1)
);
