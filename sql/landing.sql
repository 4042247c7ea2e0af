-- name: get_memory_limit
-- The memory limit and the threads of this session, and whether it works in a DuckLake.
SELECT
  CURRENT_SETTING('memory_limit'),
  CURRENT_SETTING('threads'),
  EXISTS (SELECT 1 FROM DUCKDB_DATABASES() AS d WHERE d.type = 'ducklake')

-- name: set_memory_limit
-- Sets the memory limit of this session.
SET memory_limit = :memory_limit

-- name: set_threads
-- Sets the threads of this session.
SET threads = :threads

-- name: clear
-- Empties a staging table.
DELETE FROM side WHERE TRUE

-- name: drop
-- Removes a staging table.
DROP TABLE IF EXISTS side

-- name: count_duplicates
-- The number of surplus rows of a first load: rows whose id another row has.
SELECT COUNT(*) - COUNT(DISTINCT id) FROM landed

-- name: create_newest
-- Creates a table with the newest row of each id that landed more than once.
CREATE TABLE side AS
SELECT EACH_COLUMN(columns, _)
FROM (
  SELECT
    EACH_COLUMN(columns, t._),
    ROW_NUMBER() OVER (PARTITION BY t.id ORDER BY EACH_COLUMN(cursor, t._) DESC) AS _n
  FROM landed AS t
  WHERE t.id IN (SELECT d.id FROM landed AS d GROUP BY d.id HAVING COUNT(*) > 1)
) AS numbered
WHERE _n = 1

-- name: delete_duplicates
-- Deletes all rows of the ids in the staging table.
DELETE FROM landed WHERE id IN (SELECT s.id FROM side AS s)

-- name: insert_newest
-- Inserts one row for each of these ids.
INSERT INTO landed (columns)
SELECT EACH_COLUMN(columns, s._) FROM side AS s

-- name: apply_fresh
-- Updates columns that were read again for all rows; only rows that differ are written.
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

-- name: apply_fresh (mariadb)
-- The same by a join.
UPDATE landed AS t
JOIN (
  SELECT * FROM (
    SELECT
      EACH_COLUMN(keys, f._),
      EACH_COLUMN(columns, f._),
      ROW_NUMBER() OVER (PARTITION BY EACH_COLUMN(keys, f._) ORDER BY EACH_COLUMN(keys, f._)) AS _n
    FROM fresh AS f
  ) AS numbered
  WHERE _n = 1
) AS s ON EVERY_COLUMN(keys, t._ = s._)
SET EACH_COLUMN(columns, t._ = s._)
WHERE ANY_COLUMN(columns, NOT t._ <=> s._)

-- name: has_rows
-- One row if the staging table has rows.
SELECT 1 FROM side LIMIT 1

-- name: has_live_rows
-- One row if any row of the object is not deleted.
SELECT 1 FROM landed WHERE NOT is_deleted LIMIT 1

-- name: live_row
-- A table, and 1 if any of its rows is not deleted, else 0.
SELECT CAST(:table AS TEXT) AS table_name, COUNT(*) AS live_rows
FROM (SELECT 1 AS live_row FROM landed WHERE NOT is_deleted LIMIT 1) AS l

-- name: live_tables
-- The tables of several that have a row which is not deleted.
SELECT t.table_name FROM each_table AS t WHERE t.live_rows > 0

-- name: flag_deleted
-- Flags rows in Salesforce's log of deletions, which are no longer in its recycle bin.
UPDATE landed SET is_deleted = TRUE, _hard_deleted = TRUE
WHERE NOT is_deleted AND id IN (SELECT d.id FROM deletions AS d WHERE d.object = :object)

-- name: remove_deleted
-- Deletes rows in Salesforce's log of deletions.
DELETE FROM landed
WHERE id IN (SELECT d.id FROM deletions AS d WHERE d.object = :object)

-- name: remove_flagged
-- Deletes rows that are flagged as deleted, after the setting changed to removing them.
DELETE FROM landed WHERE is_deleted

-- name: clear_deletions
-- Empties the log of deletions of an object.
DELETE FROM deletions WHERE object = :object

-- name: flag_vanished
-- Flags rows whose id is no longer in Salesforce, not even in its recycle bin.
UPDATE landed SET is_deleted = TRUE, _hard_deleted = TRUE
WHERE NOT _hard_deleted AND id NOT IN (SELECT i.id FROM ids AS i)

-- name: remove_vanished
-- Deletes rows whose id is no longer in Salesforce.
DELETE FROM landed WHERE id NOT IN (SELECT i.id FROM ids AS i)

-- name: count_missing
-- The number of rows that Salesforce had before the window ended and that never landed.
SELECT COUNT(*)
FROM ids AS i
WHERE EVERY_COLUMN(cursor, i._ < :before)
  AND i.id NOT IN (SELECT t.id FROM landed AS t)

-- name: stored_state
-- The state that the newest complete load of a pipeline left, in dlt's own format.
SELECT s.engine_version, s.state, s._dlt_load_id
FROM states AS s
JOIN loads AS l ON l.load_id = s._dlt_load_id
WHERE s.pipeline_name = :pipeline AND l.status = 0
ORDER BY l.load_id DESC
LIMIT 1

-- name: stored_schema
-- The newest schema of a source that dlt has stored.
SELECT v.engine_version, v.schema, v.version_hash
FROM versions AS v
WHERE v.schema_name = :schema
ORDER BY v.inserted_at DESC
LIMIT 1

-- name: delete_changed
-- Deletes the rows whose ids are in a file of changed rows.
DELETE FROM landed WHERE id IN (SELECT r.id FROM READ_PARQUET(:file) AS r)

-- name: insert_changed
-- Inserts the newest row of each id of a file, without deleted ones where they are removed.
INSERT INTO landed BY NAME
SELECT r.*
FROM READ_PARQUET(:file) AS r
WHERE NOT (:removes AND r.is_deleted)
QUALIFY ROW_NUMBER() OVER (PARTITION BY r.id ORDER BY EACH_COLUMN(cursor, r._) DESC) = 1

-- name: insert_distinct
-- Inserts the rows of a file that has each id once, without deleted ones where they are removed.
INSERT INTO landed BY NAME
SELECT r.* FROM READ_PARQUET(:file) AS r WHERE NOT (:removes AND r.is_deleted)

-- name: flag_deleted_in_file
-- Flags rows whose ids are in a file of deleted ones, which are no longer in the recycle bin.
UPDATE landed SET is_deleted = TRUE, _hard_deleted = TRUE
WHERE NOT is_deleted AND id IN (SELECT d.id FROM READ_PARQUET(:file) AS d)

-- name: remove_deleted_in_file
-- Deletes rows whose ids are in a file of deleted ones.
DELETE FROM landed WHERE id IN (SELECT d.id FROM READ_PARQUET(:file) AS d)

-- name: save_load
-- Records a load as dlt does.
INSERT INTO loads (load_id, schema_name, status, inserted_at, schema_version_hash)
VALUES (:load_id, :schema, 0, :now, :schema_hash)

-- name: save_state
-- Records the state of a pipeline as dlt does.
INSERT INTO states
  (version, engine_version, pipeline_name, state, created_at, version_hash, _dlt_load_id, _dlt_id)
VALUES
  (:version, :engine, :pipeline, :state, :now, :state_hash, :load_id, :row_id)
