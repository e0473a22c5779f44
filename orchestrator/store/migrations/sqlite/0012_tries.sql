-- The letters whose saga minted an attempt for them, by its step: one that dies again is found by that, however many letters its saga has.
CREATE INDEX dead_letters_tried ON dead_letters (saga, json_extract(attempt, '$.step'), coalesce(json_extract(attempt, '$.item'), -1)) WHERE attempt IS NOT NULL;
-- What set out and of which nobody has written down whether it was sent: few, however many are waited for.
CREATE INDEX dead_letters_set_out ON dead_letters (state, operation, at, id) WHERE state = 'replaying' AND sent_at IS NULL;
-- What a stage of a replay of many waits for.
CREATE INDEX dead_letters_awaited_by_stage ON dead_letters (operation, stage, sent_at) WHERE state = 'replaying' AND sent_at IS NOT NULL;
