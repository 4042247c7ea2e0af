-- The tables and views of a dataset.
SELECT table_name FROM information_schema.tables WHERE table_schema = :dataset
