-- name: is_worthwhile
-- One row if a table is large enough that a join with it is worth two processes of a PostgreSQL server,
-- and if the server may use them: a function's query is run by several since version 14.
SELECT c.relname
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = :dataset AND c.relname = :table AND PG_RELATION_SIZE(c.oid) >= :bytes_min
  AND CAST(CURRENT_SETTING('server_version_num') AS INTEGER) >= 140000
  AND CAST(CURRENT_SETTING('max_parallel_workers_per_gather') AS INTEGER) > 0
  AND EXISTS (
    SELECT 1 FROM pg_catalog.pg_language AS l
    WHERE l.lanname = 'plpgsql' AND HAS_LANGUAGE_PRIVILEGE(l.oid, 'USAGE')
  )

-- name: half
-- The rows of a table or a query whose key has a negative hash: equal keys have equal ones.
SELECT h.* FROM halved AS h WHERE (HASHTEXTEXTENDED(CAST(h._ AS TEXT), 0) < 0) IS TRUE

-- name: other_half
-- The other rows, with those whose key is NULL.
SELECT h.* FROM halved AS h WHERE (HASHTEXTEXTENDED(CAST(h._ AS TEXT), 0) < 0) IS NOT TRUE

-- name: create_cost
-- Creates a function of this session: what the server estimates that a statement costs.
CREATE OR REPLACE FUNCTION pg_temp.tr__cost_of(statement TEXT) RETURNS DOUBLE PRECISION LANGUAGE plpgsql AS '
DECLARE plan JSON;
BEGIN
  EXECUTE ''EXPLAIN (FORMAT JSON) '' || statement INTO plan;
  RETURN plan -> 0 -> ''Plan'' ->> ''Total Cost'';
END'

-- name: create_rows
-- Creates a function of this session: the rows of a query, which has the columns of a table.
CREATE OR REPLACE FUNCTION pg_temp.tr__rows_of(query TEXT, columns ANYELEMENT) RETURNS TABLE (r ANYELEMENT) LANGUAGE plpgsql AS '
BEGIN
  RETURN QUERY EXECUTE query;
END'

-- name: costs
-- What a statement costs, and what the one in its place does.
SELECT pg_temp.tr__cost_of(:one), pg_temp.tr__cost_of(:other)

-- name: fill
-- Fills a table with the rows of a query, which several processes of the server may compute. Its second
-- argument is the row of the table's type that gives the columns.
INSERT INTO filled
SELECT * FROM pg_temp.tr__rows_of(:query, (SELECT tr__row FROM filled AS row LIMIT 1)) AS r
