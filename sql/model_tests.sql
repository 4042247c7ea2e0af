-- name: create_given
-- A table that a test gives, with each column in the type that the test says. A column of the type
-- "NULL" has no values, and can be compared with a value of any type.
CREATE OR REPLACE VIEW given AS
SELECT r.* FROM (SELECT UNNEST(FROM_JSON_STRICT(:rows, :types)) AS r) AS unnested

-- name: create_before
-- The members of a test as last delivered. A column that a row leaves out, so that it is not in
-- `tr_given`, has the value that the member has today.
CREATE OR REPLACE TABLE snapshot AS
SELECT
  EACH_COLUMN(keys, CAST(b._ AS _TYPE)),
  EACH_COLUMN(
    columns, CASE WHEN CONTAINS(b.tr_given, '_LABEL') THEN CAST(b._ AS _TYPE) ELSE m._ END
  ),
  CAST(1 AS BIGINT) AS _v, CAST(:since AS TIMESTAMPTZ) AS _since, FALSE AS _gone
FROM before AS b
LEFT JOIN model AS m ON EVERY_COLUMN(keys, m._ = CAST(b._ AS _TYPE))

-- name: drop_before
-- Forgets the members of an earlier test.
DROP TABLE IF EXISTS snapshot

-- name: rows
-- The rows that a model gives.
SELECT m.* FROM model AS m LIMIT :rows_max
