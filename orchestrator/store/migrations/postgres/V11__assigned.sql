-- Whose a work item is (the empty text: nobody's), when it should be done, and to how many it was escalated while nobody has taken it. What was opened
-- before is nobody's and due at no time. Each list has an index of its own, told by an expression that no other list names.
ALTER TABLE work_items ADD COLUMN assignee  text   COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE work_items ADD COLUMN due_at    bigint;
ALTER TABLE work_items ADD COLUMN escalated bigint NOT NULL DEFAULT 0;
CREATE INDEX work_items_whose     ON work_items (assignee, opened_at, saga, number) WHERE coalesce(closed_at, 0) = 0;
CREATE INDEX work_items_due       ON work_items (due_at, saga, number)              WHERE coalesce(closed_at, 0) = 0 AND due_at IS NOT NULL;
CREATE INDEX work_items_escalated ON work_items (opened_at, saga, number)           WHERE coalesce(closed_at, 0) = 0 AND escalated > 0;

-- What a batch changes of work items beside opening and closing them: a list of {saga, number, item, assignee, due_at, escalated}. Called after
-- `commit_batch_5` in the same statement, and so behind its fence and its new rows.
CREATE FUNCTION change_work_items(b_changes text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT * FROM jsonb_to_recordset(b_changes::jsonb)
        AS c (saga uuid, number bigint, item text, assignee text, due_at bigint, escalated bigint)
    LOOP
        UPDATE work_items w SET item = one.item, assignee = one.assignee, due_at = one.due_at, escalated = one.escalated
            WHERE w.saga = one.saga AND w.number = one.number;
    END LOOP;
END
$$;
