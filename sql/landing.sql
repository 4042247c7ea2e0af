-- name: get_memory_limit
-- What this session may use of the machine.
SELECT CURRENT_SETTING('memory_limit'), CURRENT_SETTING('threads')

-- name: set_memory_limit
-- What this session may use of the machine from now on.
SET memory_limit = :memory_limit

-- name: set_threads
-- How many threads a load may use.
SET threads = :threads

-- name: clear
-- Empties a table beside the landed one.
DELETE FROM side WHERE TRUE

-- name: apply_fresh
-- Columns that were read anew for every row; only rows that differ are written.
MERGE INTO landed AS t
USING (
  SELECT * FROM (
    SELECT
      EACH_COLUMN(keys, f._),
      EACH_COLUMN(columns, f._),
      ROW_NUMBER() OVER (PARTITION BY EACH_COLUMN(keys, f._) ORDER BY EACH_COLUMN(keys, f._)) AS _n
    FROM fresh AS f
  ) AS numbered
  WHERE _n = 1
) AS s
ON EVERY_COLUMN(keys, t._ = s._)
WHEN MATCHED AND ANY_COLUMN(columns, t._ IS DISTINCT FROM s._) THEN
  UPDATE SET EACH_COLUMN(columns, _ = s._)

-- name: has_rows
-- One row if there is any.
SELECT 1 FROM side LIMIT 1

-- name: has_live_rows
-- One row if any row of the object is not deleted.
SELECT 1 FROM landed WHERE NOT is_deleted LIMIT 1

-- name: flag_deleted
-- In Salesforce's log of deletions, and no longer in its recycle bin.
UPDATE landed SET is_deleted = TRUE, _hard_deleted = TRUE
WHERE NOT is_deleted AND id IN (SELECT d.id FROM deletions AS d WHERE d.object = :object)

-- name: remove_deleted
-- In Salesforce's log of deletions.
DELETE FROM landed
WHERE id IN (SELECT d.id FROM deletions AS d WHERE d.object = :object)

-- name: remove_flagged
-- Kept and marked before; rows that are deleted are removed from now on.
DELETE FROM landed WHERE is_deleted

-- name: clear_deletions
-- Forgets what the log of deletions said of an object.
DELETE FROM deletions WHERE object = :object

-- name: flag_vanished
-- Salesforce no longer has the id, not even in its recycle bin.
UPDATE landed SET is_deleted = TRUE, _hard_deleted = TRUE
WHERE NOT _hard_deleted AND id NOT IN (SELECT i.id FROM ids AS i)

-- name: remove_vanished
-- Salesforce no longer has the id.
DELETE FROM landed WHERE id NOT IN (SELECT i.id FROM ids AS i)

-- name: count_missing
-- Rows that Salesforce has had since before the window ended, and that never landed.
SELECT COUNT(*)
FROM ids AS i
WHERE EVERY_COLUMN(cursor, i._ < :before)
  AND i.id NOT IN (SELECT t.id FROM landed AS t)
