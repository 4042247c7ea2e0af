-- A column that the mapping does not name any more.
ALTER TABLE altered DROP COLUMN _
