-- name: kinds
-- What is built in a dataset, and as what.
SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = :dataset

-- name: drop_view
-- The model as it was built before.
DROP VIEW IF EXISTS built

-- name: drop_table
-- The model as it was built before.
DROP TABLE IF EXISTS built

-- name: create_view
-- A model as a view, for people and tools that look into the warehouse.
CREATE VIEW built AS SELECT * FROM model AS m

-- name: create_table
-- A model as a table.
CREATE TABLE built AS SELECT * FROM model AS m
