-- name: kinds
-- The names and types of the tables and views in a dataset.
SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = :dataset

-- name: kinds (snowflake)
-- The names, in lower case, and types of the tables and views in a dataset.
SELECT LOWER(table_name), table_type
FROM information_schema.tables
WHERE table_schema = UPPER(:dataset)
UNION
SELECT LOWER(table_name), 'VIEW'
FROM information_schema.views
WHERE table_schema = UPPER(:dataset)

-- name: definitions
-- The views of a dataset with their SQL, as DuckDB writes it.
SELECT v.view_name, v.sql FROM duckdb_views() AS v WHERE v.schema_name = :dataset ORDER BY 1

-- name: drop_view
-- Drops a model that was built as a view.
DROP VIEW IF EXISTS built

-- name: drop_table
-- Drops a model that was built as a table.
DROP TABLE IF EXISTS built

-- name: create_view
-- Creates a model as a view, for people and tools that query the warehouse.
CREATE VIEW built AS SELECT * FROM model AS m

-- name: create_table
-- Creates a model as a table.
CREATE TABLE built AS SELECT * FROM model AS m
