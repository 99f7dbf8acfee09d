-- What our own clock said when the engine had concluded the incident: how long it took is to be seen
-- afterwards. It is told by no rule and stands in no id. NULL: from before this was kept.
ALTER TABLE incident ADD COLUMN concluded_at INTEGER;
