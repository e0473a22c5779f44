-- Whose a work item is (the empty text: nobody's), when it should be done, and to how many it was escalated while nobody has taken it. What was opened
-- before is nobody's and due at no time. Each list has an index of its own, told by an expression that no other list names.
ALTER TABLE work_items ADD COLUMN assignee  TEXT    NOT NULL DEFAULT '';
ALTER TABLE work_items ADD COLUMN due_at    INTEGER;
ALTER TABLE work_items ADD COLUMN escalated INTEGER NOT NULL DEFAULT 0;
CREATE INDEX work_items_whose     ON work_items (assignee, opened_at, saga, number) WHERE coalesce(closed_at, 0) = 0;
CREATE INDEX work_items_due       ON work_items (due_at, saga, number)              WHERE coalesce(closed_at, 0) = 0 AND due_at IS NOT NULL;
CREATE INDEX work_items_escalated ON work_items (opened_at, saga, number)           WHERE coalesce(closed_at, 0) = 0 AND escalated > 0;
