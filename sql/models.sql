-- name: kinds
-- The names and types of the tables and views in a dataset.
SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = :dataset

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
