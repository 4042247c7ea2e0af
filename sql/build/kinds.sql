-- What is built in a dataset, and as what.
SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = :dataset
