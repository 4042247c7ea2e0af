-- One row if the dataset exists.
SELECT schema_name FROM information_schema.schemata WHERE schema_name = :dataset
